"""A data set of any form as samples ready to train on, and a list of what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data import coco as cocojson
from nasfpn_runtime.data import mindrecord, text, voc, yolo
from nasfpn_runtime.data.samples import Fault, Sample, Truth
from nasfpn_runtime.errors import DataError

EXAMPLES = 3  # places named in a line of the fault report

# Each has found(folder), splits(folder) and read(folder, split); the first that is found is it.
FORMS = {"mindrecord": mindrecord, "coco": cocojson, "voc": voc, "yolo": yolo, "text": text}


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a data set, in COCO's terms whatever form it is stored in.

    Attributes:
        samples: pictures in the order of the file, those without boxes included.
        categories: names, by class number.
        category_ids: ids in the annotation file, by class number.
        annotation_file: where it was read from.
        faults: what is wrong with it.
        truth: the annotations for evaluation.
    """

    samples: tuple[Sample, ...]
    categories: tuple[str, ...]
    category_ids: tuple[int, ...]
    annotation_file: Path
    faults: tuple[Fault, ...]
    truth: Truth

    @property
    def with_boxes(self) -> NDArray[np.intp]:
        """Places of the samples that have boxes."""
        return np.array([i for i, s in enumerate(self.samples) if len(s.boxes)], np.intp)


def load_split(folder: Path, split: str = "train", form: str | None = None) -> Split:
    """Read one split of a data set.

    In a COCO folder the split ``train`` is ``annotations/instances_train.json`` or, if there
    is just one, the file of that name with a number (``instances_train2017.json``); its
    pictures are in the folder of the same stem (``train2017/``). The other forms are
    described in their modules. Faults are listed, and what they touch is dropped, except
    that boxes partly outside are clipped and annotations with a repeated id are kept.

    Args:
        form: one of ``FORMS``; None is :func:`form_of` the folder.

    Raises:
        DataError: a file or folder is missing, is not of that form, or no picture has a box.
    """
    listing = FORMS[form_of(folder, form)].read(folder, split)
    samples = listing.kept.samples()
    if not any(len(sample.boxes) for sample in samples):
        report = "; ".join(fault_report(listing.faults).splitlines()) or "the file lists none"
        raise DataError(
            f"a data set has a picture with a box, got none: {report} (at {listing.file})"
        )
    return Split(
        samples,
        listing.categories,
        listing.category_ids,
        listing.file,
        listing.faults,
        listing.kept.truth(),
    )


def form_of(folder: Path, form: str | None = None) -> str:
    """Return which of ``FORMS`` a folder has, or ``form`` if that is given.

    Raises:
        DataError: it has none of them, or is no folder.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no such folder"
        raise DataError(f"a data set is a folder, got {what}: {folder}")
    if form is not None:
        return form
    for name, module in FORMS.items():
        if module.found(folder):
            return name
    again = "; make MindRecord of the model zoo again by nasfpn data create SRC -o DIR"
    raise DataError(
        f"a data set is a folder with {mindrecord.INDEX} (MindRecord), annotations/ (COCO), "
        f"Annotations/ (VOC), labels/ or data.yaml (YOLO) or classes.txt (text), got {folder}"
        + (again if any(folder.glob("*.mindrecord*")) else "")
    )


def split_names(folder: Path, form: str | None = None) -> tuple[str, ...]:
    """Return the names of the splits that are there."""
    names: tuple[str, ...] = FORMS[form_of(folder, form)].splits(folder)
    return names


def check_same_categories(a: Split, b: Split) -> None:
    """Raise DataError unless both splits have the same category names in the same order."""
    if a.categories != b.categories:
        raise DataError(
            f"splits have the same categories, got {', '.join(a.categories)} "
            f"(at {a.annotation_file}) and {', '.join(b.categories)} (at {b.annotation_file})"
        )


def fault_report(faults: Sequence[Fault]) -> str:
    """Return a line per kind of fault: count, what was done and the first examples."""
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        groups.setdefault((fault.kind, fault.action), []).append(fault.where)
    return "\n".join(
        f"{len(places)} x {kind}, {action}: {', '.join(places[:EXAMPLES])}"
        + (", ..." if len(places) > EXAMPLES else "")
        for (kind, action), places in groups.items()
    )
