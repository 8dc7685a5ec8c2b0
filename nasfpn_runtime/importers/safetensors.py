"""The safetensors format: 8 bytes with the length of the header, a JSON header, the tensors.

It is read here because the package's own numpy reader does not support bfloat16. Source of the
format: the README of github.com/huggingface/safetensors.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.documents import parse_json
from nasfpn_runtime.errors import CheckpointError, DocumentError

MAX_HEADER = 100_000_000  # bytes; the limit of the format
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name; bfloat16 becomes float32.

    Raises:
        CheckpointError: the header or an entry does not fit the file.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MAX_HEADER, len(content) - 8):
        raise CheckpointError(
            f"cannot read {path} as a complete checkpoint: its header exceeds the file"
        )
    try:
        header = parse_json(content[8 : 8 + length], "its header")
        header.pop("__metadata__", None)
        entries = dict(header.items())
    except (DocumentError, AttributeError) as error:
        raise CheckpointError(f"cannot read {path} as a complete checkpoint: {error}") from None
    data = memoryview(content)[8 + length :]
    return {name: _array(data, entry, f"{path}: {name}") for name, entry in entries.items()}


def _array(data: memoryview, entry: Any, where: str) -> NDArray[Any]:
    try:
        kind, shape = entry["dtype"], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        dtype = np.dtype(DTYPES[kind])
        fits = (
            all(type(n) is int and n >= 0 for n in (*shape, begin, end))
            and end <= len(data)
            and end - begin == math.prod(shape) * dtype.itemsize
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"a tensor must have dtype, shape and data_offsets, got {error!r} (at {where})"
        ) from None
    if not fits:
        raise CheckpointError(f"a tensor must lie within the file, got {entry} (at {where})")
    array = np.frombuffer(data[begin:end], dtype).reshape(shape)
    if kind == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array
