"""Text entries of ONNX and MINDIR files, read without either's library.

Both are protocol buffers whose field 14 holds pairs of strings: ``metadata_props`` of ONNX's
``ModelProto`` (onnx.proto) and ``user_info`` of MindSpore's (mind_ir.proto). Weights are
skipped, not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nasfpn_runtime.errors import CheckpointError

_ENTRIES = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protocol buffers, wire types
_LONGEST = 1 << 24  # of an entry: a text of that length is none of ours


def read_entries(path: Path) -> dict[str, str]:
    """Return the text entries of a file.

    Raises:
        CheckpointError: missing, truncated or no such file.
    """
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            return dict(_pair(file, length) for length in _entries(file, end))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path} is not a whole exported file: {error}") from None


def _entries(file: BinaryIO, end: int) -> Iterator[int]:
    """Yield the length of each entry, the file standing at its beginning."""
    while (start := file.tell()) < end:
        field, kind, length = _head(file)
        if kind == _BYTES and field == _ENTRIES:
            if length > _LONGEST:
                raise ValueError(f"a text of {length} bytes")
            yield length
            continue
        file.seek(length, os.SEEK_CUR)
        if file.tell() > end or file.tell() <= start:
            raise EOFError("it ends too early")


def _head(file: BinaryIO) -> tuple[int, int, int]:
    """Return a field's number and wire type, and how many bytes follow."""
    key = _varint(file)
    field, kind = key >> 3, key & 7
    if kind == _VARINT:
        _varint(file)
        return field, kind, 0
    sizes = {_FIXED64: 8, _FIXED32: 4}
    length = _varint(file) if kind == _BYTES else sizes.get(kind)
    if length is None or not field:
        raise ValueError("not a protocol buffer")
    return field, kind, length


def _pair(file: BinaryIO, length: int) -> tuple[str, str]:
    """Read an entry: field 1 is the key, field 2 the value."""
    end, parts = file.tell() + length, {1: "", 2: ""}
    while file.tell() < end:
        field, kind, size = _head(file)
        text = file.read(size if kind == _BYTES else 0)
        if field not in parts or len(text) != size or file.tell() > end:
            raise ValueError("an entry is not two texts")
        parts[field] = text.decode()
    return parts[1], parts[2]


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends too early")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("not a protocol buffer")
