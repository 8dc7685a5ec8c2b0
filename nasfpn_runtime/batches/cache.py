"""Pictures of a split, kept in memory as far as they fit."""

from __future__ import annotations

import threading
from typing import TypeVar

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.mindrecord import source
from nasfpn_runtime.pictures.image import Pixels, Placement, fit_size, place, read_image
from nasfpn_runtime.recipe.settings import Data

CACHE_BYTES = 2 << 30

_T = TypeVar("_T")


class Pictures:
    """Pictures of a split, as stored or fitted, kept while they fit in ``cache_bytes``.

    Threads may share one. They may then read a picture twice, and get the same pixels.
    """

    def __init__(
        self,
        split: Split,
        size: tuple[int, int],
        data: Data,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.split, self.size, self.data = split, size, data
        self._fitted: dict[int, tuple[Pixels, Placement]] = {}
        self._stored: dict[int, Pixels] = {}
        self._left = cache_bytes
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> tuple[Pixels, Placement]:
        """Return picture ``index`` as ``image.fit`` does.

        Raises:
            DataError: the picture cannot be read.
        """
        if index in self._fitted:
            return self._fitted[index]
        pair = self.data.fitted(self._read(index), self.size)
        self._keep(self._fitted, index, pair, pair[0].nbytes)
        return pair

    def stored(self, index: int) -> Pixels:
        """Return picture ``index`` as ``image.read_image`` does.

        Raises:
            DataError: the picture cannot be read.
        """
        if index in self._stored:
            return self._stored[index]
        image = self._read(index)
        self._keep(self._stored, index, image, image.nbytes)
        return image

    def frame(self, index: int, coarsest_stride: int) -> tuple[int, int]:
        """Return the (height, width) that picture ``index`` is padded to for scoring."""
        if self.data.pad == "image":
            return self.size
        sample, data = self.split.samples[index], self.data
        stored = (sample.height, sample.width)
        placement = place(stored, self.size, data.fit, round_up=data.round_up)
        return fit_size((placement.height, placement.width), coarsest_stride)

    def _read(self, index: int) -> Pixels:
        with self._lock:  # nothing says that threads may share MindSpore's reader of shards
            found = source(self.split.samples[index].path)
        return read_image(found)

    def _keep(self, kept: dict[int, _T], index: int, value: _T, size: int) -> None:
        with self._lock:
            if index not in kept and size <= self._left:
                kept[index] = value
                self._left -= size
