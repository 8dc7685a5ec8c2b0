"""File names for the images of a new folder: like their old ones, but each only once."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nasfpn_runtime.data.samples import Sample
from search_space.names import printable

_MOST_BYTES = 200  # of a name; file systems allow 255, and annotation files have other suffixes


class Names:
    """The names of the images of one folder.

    An image keeps the last part of its path. If another image has this name, the folders it is in
    come before it (``b_1.jpg`` for ``b/1.jpg``), or else a number after it. Characters that the
    format cannot hold, and those that cannot be printed, become ``_``.

    Args:
        by_stem: names must differ in more than their suffix.
        unfit: characters that the format cannot hold.

    Attributes:
        changed: old and new name of each image whose name was changed.
    """

    def __init__(self, by_stem: bool, unfit: re.Pattern[str]) -> None:
        self.by_stem, self.unfit = by_stem, unfit
        self.changed: list[tuple[str, str]] = []
        self._taken: set[str] = set()
        self._known: dict[object, tuple[str, str]] = {}  # split and name of each image

    def add(self, sample: Sample, split: str, suffix: str = "") -> str:
        """Return the name of an image: the one it has already, if another split has it, too.

        Args:
            suffix: added to the name.
        """
        boxes = (sample.boxes.tobytes(), sample.labels.tobytes(), sample.crowd.tobytes())
        known_in, name = self._known.get((sample.path, boxes), (split, ""))
        if known_in != split:
            return name
        name = next(filter(self._is_free, self._candidates(sample, suffix)))
        self._taken.add(self._key(name))
        self._known[sample.path, boxes] = split, name
        if name != sample.path.name:
            self.changed.append((sample.path.name, name))
        return name

    def _candidates(self, sample: Sample, suffix: str) -> Iterator[str]:
        parts = sample.path.absolute().parts[1:] if isinstance(sample.path, Path) else ()
        parts = parts or (sample.path.name,)
        for count in range(1, len(parts) + 1):
            name = self._fitting("_".join(parts[-count:]), suffix)
            if count == 1 or len(os.fsencode(name)) <= _MOST_BYTES:
                yield name
        stem, end = os.path.splitext(self._fitting(parts[-1], suffix))
        while len(os.fsencode(stem)) > _MOST_BYTES:
            stem = stem[:-1]
        for number in itertools.count(2):
            yield f"{stem}-{number}{end}"

    def _fitting(self, name: str, suffix: str) -> str:
        plain = "".join(letter if printable(letter) == letter else "_" for letter in name)
        return self.unfit.sub("_", plain) + suffix

    def _key(self, name: str) -> str:
        return os.path.splitext(name)[0] if self.by_stem else name

    def _is_free(self, name: str) -> bool:
        return self._key(name) not in self._taken
