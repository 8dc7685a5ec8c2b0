"""Divide a split of a dataset into train, val and test, by listing its images."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data import divided
from nasfpn_runtime.data.dataset import FORMS, Split, form_of, load_split, split_names
from nasfpn_runtime.data.digest import digest
from nasfpn_runtime.data.stratify import split_sizes, stratify
from nasfpn_runtime.data.writers.common import written_folder
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading
from search_space.names import shown

_USUAL = Reading()


def divide(
    source: Path,
    folder: Path,
    *,
    val: float,
    test: float = 0.0,
    seed: int = 0,
    split: str | None = None,
    form: str | None = None,
    reading: Reading = _USUAL,
) -> None:
    """Divide a split of a dataset, and write the lists of images to a new folder.

    The folder has one file, ``splits.json`` (``data/divided.py``), and appears atomically. The
    images stay where they are. :func:`stratify` says how the images are divided.

    Args:
        source: folder of the dataset.
        val, test: shares of the images, with a sum below 1; the others are train's.
        seed: decides between images with the same classes.
        split: which split to divide; None for the only one.
        form: format of the source, a key of ``FORMS``; None to recognise it.
        reading: how the source is read, also later.

    Raises:
        DataError: the dataset cannot be read, has several splits, or too few images; an image is
            listed twice; or the folder exists.
        OutputError: the disk is full.
    """
    if not (val > 0 and test >= 0 and val + test < 1):
        raise DataError(
            f"val must be above 0, test 0 or more, and their sum below 1, got {val} and {test}"
        )
    form = form_of(source, form)
    if FORMS[form] is divided:
        raise DataError(
            f"the dataset must not be divided already, got {source}; divide the one that "
            f"its {divided.FILE} names"
        )
    given = load_split(source, from_ := split or _only_split(source, form), form, reading)
    names = divided.image_names(given.samples, source)
    shares = {"train": round(1 - val - test, 9), "val": val, "test": test}
    shares = {name: share for name, share in shares.items() if share}
    sizes = split_sizes(len(names), list(shares.values()))
    places = stratify(_classes(given), sizes, seed)
    has_boxes = np.isin(np.arange(len(names)), given.with_boxes)
    for number, name in enumerate(shares):
        if not has_boxes[places == number].any():
            raise DataError(
                f"split {name!r} must get an image with a box, got none: {has_boxes.sum()} of "
                f"{len(names)} images have boxes (at {given.annotation_file}); give it a larger "
                "share, or make fewer splits"
            )
    with written_folder(folder) as draft:
        content = {
            "version": divided.VERSION,
            "source": os.path.relpath(os.path.realpath(source), os.path.realpath(folder)),
            "format": form,
            "from": from_,
            "exif": reading.exif,
            "merge_names": reading.merge_names,
            "digest": digest(given),
            "seed": seed,
            "shares": shares,
            "splits": {
                name: [names[i] for i in np.flatnonzero(places == number).tolist()]
                for number, name in enumerate(shares)
            },
        }
        (draft / divided.FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _only_split(source: Path, form: str) -> str:
    found = split_names(source, form)
    if not found:
        raise DataError(f"cannot find a split in {source}")
    if len(found) > 1:
        listed = ", ".join(map(shown, found))
        raise DataError(
            f"the split to divide must be named, since {source} has {len(found)}: {listed}; "
            f"add --from {'train' if 'train' in found else found[0]}"
        )
    return found[0]


def _classes(split: Split) -> NDArray[np.bool_]:
    """Return (images, classes): whether an image has a box of a class, crowd regions aside."""
    has = np.zeros((len(split.samples), len(split.categories)), np.bool_)
    boxes = ~split.truth.crowd
    has[split.truth.sample[boxes], split.truth.label[boxes]] = True
    return has
