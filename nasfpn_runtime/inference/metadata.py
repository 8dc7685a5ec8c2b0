"""Read the text entries of ONNX and MINDIR files without ONNX or MindSpore.

Both formats are protocol buffers whose field 14 holds pairs of strings: ``metadata_props`` of
ONNX's ``ModelProto`` (onnx.proto) and ``user_info`` of MindSpore's (mind_ir.proto). Weights are
skipped, not read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nasfpn_runtime.errors import CheckpointError

_ENTRIES = 14  # number of the field with the text entries
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_LONGEST = 1 << 24  # bytes; this project never writes a longer entry


@dataclass(frozen=True)
class Entry:
    """A text entry of a file.

    Attributes:
        key: its name.
        text: its value.
        start: position in the file of the first byte of its value.
    """

    key: str
    text: str
    start: int


def read_entries(path: Path) -> dict[str, Entry]:
    """Return the text entries of an ONNX or MINDIR file by key.

    Raises:
        CheckpointError: the file is missing, truncated or of another format.
    """
    try:
        with path.open("rb") as file:
            end = os.fstat(file.fileno()).st_size
            entries = [_read_pair(file, length) for length in _find_entries(file, end)]
            return {entry.key: entry for entry in entries}
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"{path} is not a complete exported file: {error}") from None


def _find_entries(file: BinaryIO, end: int) -> Iterator[int]:
    """Yield the length in bytes of each entry, with the file positioned at its first byte."""
    while (start := file.tell()) < end:
        field, kind, length = _read_head(file)
        if kind == _BYTES and field == _ENTRIES:
            if length > _LONGEST:
                raise ValueError(f"a text entry has {length} bytes, more than {_LONGEST}")
            yield length
            continue
        file.seek(length, os.SEEK_CUR)
        if file.tell() > end or file.tell() <= start:
            raise EOFError("it ends too early")


def _read_head(file: BinaryIO) -> tuple[int, int, int]:
    """Return a field's number, its wire type and the number of bytes that follow."""
    key = _read_varint(file)
    field, kind = key >> 3, key & 7
    if kind == _VARINT:
        _read_varint(file)
        return field, kind, 0
    sizes = {_FIXED64: 8, _FIXED32: 4}
    length = _read_varint(file) if kind == _BYTES else sizes.get(kind)
    if length is None or not field:
        raise ValueError("it is not a protocol buffer")
    return field, kind, length


def _read_pair(file: BinaryIO, length: int) -> Entry:
    """Read an entry: its field 1 is the key, its field 2 the value."""
    end, parts, start = file.tell() + length, {1: "", 2: ""}, file.tell()
    while file.tell() < end:
        field, kind, size = _read_head(file)
        text = file.read(size if kind == _BYTES else 0)
        if field not in parts or len(text) != size or file.tell() > end:
            raise ValueError("a text entry is not a pair of texts")
        parts[field] = text.decode()
        start = file.tell() - size if field == 2 else start
    return Entry(parts[1], parts[2], start)


def _read_varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends too early")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("it is not a protocol buffer")
