"""What the writers of several formats share."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasfpn_runtime.data.dataset import Split, check_same_categories
from nasfpn_runtime.data.lists import new_folder
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.errors import DataError, OutputError
from search_space.errors import value_text

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of writing that name no file


@contextmanager
def written_folder(folder: Path) -> Iterator[Path]:
    """Yield a draft that becomes a new folder, as ``lists.new_folder`` does.

    Raises:
        DataError: the folder exists.
        OutputError: the disk is full.
    """
    try:
        with new_folder(folder) as draft:
            yield draft
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error


class Annotation(NamedTuple):
    """An annotation as in ``Truth``: x, y, width, height px, not clipped, and so on."""

    label: int
    box: list[float]
    area: float
    crowd: bool


def by_image(split: Split) -> Iterator[tuple[Sample, list[Annotation]]]:
    """Yield each image of a split with its annotations, in their order."""
    truth = split.truth
    order = np.argsort(truth.sample, kind="stable")
    ends = np.cumsum(np.bincount(truth.sample, minlength=len(split.samples)))[:-1]
    for sample, rows in zip(split.samples, np.split(order, ends), strict=True):
        yield (
            sample,
            [
                Annotation(
                    int(truth.label[row]),
                    truth.box[row].tolist(),
                    float(truth.area[row]),
                    bool(truth.crowd[row]),
                )
                for row in rows.tolist()
            ],
        )


def exact(value: float) -> int | float:
    """Return a number as an integer if it is one: ``5`` reads better than ``5.0``."""
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


def check_classes(splits: dict[str, Split], form: str, fits: Callable[[str], bool]) -> None:
    """Check that a format with one list of classes can hold those of the splits.

    Args:
        fits: whether the format can hold the name of a class.

    Raises:
        DataError: the splits have different classes, or a name cannot be held or is repeated.
    """
    first, *others = splits.values()
    for other in others:
        check_same_categories(first, other)
    for number, name in enumerate(first.categories):
        if not fits(name) or name in first.categories[:number]:
            raise DataError(
                f"the name of a class must be one line of text of its own in {form}, got "
                f"{value_text(name)} (at {first.annotation_file}); rename it"
            )
