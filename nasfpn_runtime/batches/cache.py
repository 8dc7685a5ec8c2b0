"""A memory cache of the images of a split."""

from __future__ import annotations

import threading
from typing import TypeVar

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.pictures.image import Pixels, Placement, place
from nasfpn_runtime.recipe.settings import Data

CACHE_BYTES = 2 << 30

_T = TypeVar("_T")


class Pictures:
    """Images of a split, as stored or fitted, cached until ``cache_bytes`` are used.

    Threads may share an instance. Two of them may then read the same image at the same time, and
    get the same pixels.
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
        """Return image ``index`` fitted to the input, see ``image.fit``.

        Raises:
            DataError: the image cannot be read.
        """
        if index in self._fitted:
            return self._fitted[index]
        pair = self.data.fitted(self.split.samples[index].read(), self.size)
        self._keep(self._fitted, index, pair, pair[0].nbytes)
        return pair

    def stored(self, index: int) -> Pixels:
        """Return image ``index`` as stored, see ``image.read_image``.

        Raises:
            DataError: the image cannot be read.
        """
        if index in self._stored:
            return self._stored[index]
        image = self.split.samples[index].read()
        self._keep(self._stored, index, image, image.nbytes)
        return image

    def frame(self, index: int, coarsest_stride: int) -> tuple[int, int]:
        """Return the (height, width) that image ``index`` is padded to for scoring."""
        sample, data = self.split.samples[index], self.data
        stored = (sample.height, sample.width)
        placement = place(stored, self.size, data.fit, round_up=data.round_up)
        return data.frame(placement, self.size, coarsest_stride)

    def _keep(self, cache: dict[int, _T], index: int, value: _T, size: int) -> None:
        with self._lock:
            if index not in cache and size <= self._left:
                cache[index] = value
                self._left -= size
