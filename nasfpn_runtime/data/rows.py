"""Rows of MindRecord shards: the encoded bytes of one image each."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nasfpn_runtime.errors import DataError, first_line

INDEX = "mindrecord.json"

_lock = threading.Lock()  # MindSpore does not say that threads may share a reader of shards


@dataclass(frozen=True)
class Row:
    """An image in a shard.

    Attributes:
        files: the shards of its split.
        number: index of the row, counted through all shards.
        name: name of the image file it was made from.
        length: size of that file in bytes.
    """

    files: tuple[str, ...]
    number: int
    name: str
    length: int

    def read_bytes(self) -> bytes:
        """Return the content of the image file, as ``Path.read_bytes`` does.

        Raises:
            DataError: the shard cannot be read.
        """
        try:
            with _lock:
                (value,) = open_shards(self.files, ("image",), os.getpid())[self.number]
        except RuntimeError as error:  # MindSpore's
            raise DataError(f"cannot read shard: {first_line(error)} (at {self})") from error
        content: bytes = value.item()
        return content.ljust(self.length, b"\0")  # MindDataset drops zeros at the end

    def __str__(self) -> str:
        return f"{self.name} in {Path(self.files[0]).parent / INDEX}"


@lru_cache(maxsize=16)
def open_shards(files: tuple[str, ...], columns: tuple[str, ...], process: int) -> Any:
    """Return MindSpore's reader of some columns of the shards.

    Args:
        process: id of the calling process. A reader does not survive a fork, so each process
            gets its own.
    """
    import mindspore.dataset

    return mindspore.dataset.MindDataset(
        list(files), columns_list=list(columns), shuffle=False, num_parallel_workers=1
    )
