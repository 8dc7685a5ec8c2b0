"""The MindSpore side: build, train, score and deploy any genome. See README.md for a map."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

from nasfpn_runtime.cluster.isa import guard_isa

if TYPE_CHECKING:
    from nasfpn_runtime.inference.detector import Detector
    from nasfpn_runtime.network.build import build_network, build_pyramid

__all__ = ["Detector", "build_network", "build_pyramid"]

# Old names, with their present places; removed in version 0.3.
_RENAMED = {
    "build_detector": "nasfpn_runtime.build_network",
    "checkpoint": "nasfpn_runtime.network.checkpoint",
}

# The only work done at import. It must come before the process runs its first convolution.
guard_isa()


def __getattr__(name: str) -> Any:
    # Imported on first use, so that reading a recipe does not load MindSpore.
    if name == "Detector":
        from nasfpn_runtime.inference import detector

        return detector.Detector
    if name in _RENAMED:
        from nasfpn_runtime.errors import warn_renamed

        warn_renamed(f"nasfpn_runtime.{name}", _RENAMED[name])
        return pkgutil.resolve_name(_RENAMED[name])
    if name in __all__:
        from nasfpn_runtime.network import build

        return getattr(build, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
