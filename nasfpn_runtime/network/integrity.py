"""Whether the content of a checkpoint file can be trusted: its checksum and its numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TAG, _TAIL = b"crc_num", 17  # MindSpore ends a file with the tag and ten bytes (serialization.py)


def has_checksum(path: Path) -> bool:
    """Return whether a MindSpore checkpoint ends with a checksum.

    ``mindspore.load_checkpoint(crc_check=True)`` does not check a file that has none.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read().startswith(_TAG)


def first_non_finite(arrays: Iterable[tuple[str, NDArray[Any]]]) -> tuple[str, float] | None:
    """Return the name of the first array with a NaN or an infinity, and that number.

    Returns:
        None if all numbers are finite. Arrays of integers are not looked at.
    """
    for name, array in arrays:
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            return name, float(array[~np.isfinite(array)].flat[0])
    return None
