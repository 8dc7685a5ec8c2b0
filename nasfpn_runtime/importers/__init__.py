"""Checkpoints and settings of other implementations, read as ours.

A *source* is an implementation whose checkpoints are read: mmdetection, the model zoo, TF,
torchvision, mindcv. Each spells the names of its parameters in its own way.

- ``readers.py``, ``safetensors.py``: a file of any framework -> arrays by name.
- ``parameters.py``: one of our parameter names -> its path, taken apart into fields.
- ``spellings.py``: the table of sources; a path -> the names it has in a source.
- ``load.py``: arrays by a source's names -> the parameters of a network.
- ``convert.py``: all of these in turn; a checkpoint of ours comes out.
- ``zoo_keys.py``, ``zoo_config.py``: the model zoo's settings -> a recipe.
"""

from __future__ import annotations

import pkgutil
from typing import Any

# Names that this package exported, with their present places; removed in version 0.3.
_RENAMED = {
    "SOURCES": f"{__name__}.spellings.SOURCES",
    "Loaded": f"{__name__}.load.LoadResult",
    "load_state": f"{__name__}.load.load_state",
    "read_arrays": f"{__name__}.readers.read_arrays",
}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nasfpn_runtime.errors import warn_renamed

    warn_renamed(f"{__name__}.{name}", _RENAMED[name])
    return pkgutil.resolve_name(_RENAMED[name])
