"""Write YOLO folders: ``images/<split>/``, ``labels/<split>/`` and ``data.yaml``.

Numbers have all digits that they need, so that boxes are as exact as a float is. The format has
no crowd regions: they are left out. An image without boxes has an empty label file.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.data.lists import PICTURES as KNOWN
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.data.writers.common import Annotation, by_image, check_classes, exact

PICTURES = "images/{split}"
BY_STEM = True
UNFIT = re.compile(r"\\")
FRAME = "upright"  # of the boxes, where the size of an image does not tell
SUFFIXES = KNOWN

_USUAL = ("train", "val", "test")  # the splits that are named in data.yaml


def check(splits: dict[str, Split]) -> None:
    """Check that the classes can be the names in ``data.yaml``.

    Raises:
        DataError: see :func:`check_classes`.
    """
    check_classes(splits, "YOLO", _fits)


def _fits(name: str) -> bool:
    return not re.search(r"[\ud800-\udfff]", name)


def write_split(folder: Path, name: str, split: Split, names: list[str]) -> None:
    """Write a label file for each image of a split."""
    labels = folder / "labels" / name
    labels.mkdir(parents=True)
    for (sample, listed), picture in zip(by_image(split), names, strict=True):
        lines = [_line(sample, each) for each in listed if not each.crowd]
        (labels / picture).with_suffix(".txt").write_text("".join(lines), encoding="utf-8")


def finish(folder: Path, splits: dict[str, Split]) -> None:
    """Write the classes and where the images are."""
    categories = next(iter(splits.values())).categories
    settings: dict[str, object] = {
        name: PICTURES.format(split=name) for name in _USUAL if name in splits
    }
    settings |= {"nc": len(categories), "names": list(categories)}
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def _line(sample: Sample, annotation: Annotation) -> str:
    x, y, width, height = annotation.box
    numbers = (
        (x + width / 2) / sample.width,
        (y + height / 2) / sample.height,
        width / sample.width,
        height / sample.height,
    )
    return " ".join(map(str, (annotation.label, *map(exact, numbers)))) + "\n"
