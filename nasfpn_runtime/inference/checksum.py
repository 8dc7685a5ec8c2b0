"""The checksum of exported files, which tells whether a file is as it was written.

It is the SHA-256 of the whole file with the checksum's own digits replaced by zeros, and it is
stored in the description inside the file (``description.py``). So neither ONNX nor MindSpore is
needed to check it, and no byte of the file is left out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.inference.metadata import Entry

KEY = "sha256"
BLANK = "0" * 64  # the digits while the checksum is computed
_FIELD = f'"{KEY}": "'
_BLOCK = 1 << 20  # bytes read at a time


def write_checksum(path: Path, entry: Entry) -> None:
    """Replace the blank checksum in an entry of a file by the file's.

    Raises:
        ValueError: the entry has no checksum field.
    """
    start = _find_digits(entry)
    digits = _digest(path, start)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(digits.encode())


def check_checksum(path: Path, entry: Entry, digits: str) -> None:
    """Check a file against the checksum in one of its entries.

    Args:
        digits: the checksum as it is stored.

    Raises:
        CheckpointError: the file is not as it was written, or cannot be read.
    """
    try:
        intact = digits == _digest(path, _find_digits(entry))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        intact = False
    if not intact:
        raise CheckpointError(
            f"cannot use {path}: its content does not match the checksum in it, so it was damaged "
            "or changed after it was exported; export it again"
        )


def _find_digits(entry: Entry) -> int:
    """Return the position of the checksum's first digit in the file."""
    before, field, _ = entry.text.partition(_FIELD)
    if not field:
        raise ValueError(f"the entry {entry.key} has no {KEY}")
    return entry.start + len((before + field).encode())


def _digest(path: Path, start: int) -> str:
    """Return the SHA-256 of a file with the digits at ``start`` taken as ``BLANK``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        left = start
        while block := file.read(min(_BLOCK, left)):
            digest.update(block)
            left -= len(block)
        digest.update(BLANK.encode())
        file.seek(start + len(BLANK))
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
