"""One split of a dataset of any format, ready to train on, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data import coco, divided, mindrecord, text, voc, yolo
from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.data.lists import visible
from nasfpn_runtime.data.rows import INDEX
from nasfpn_runtime.data.samples import Fault, Sample, Truth
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading
from search_space.names import path_fault, printable, shown, unique

_USUAL = Reading()
CONTENTS = 6  # names of files that a message lists
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z")
# Files by which formats that are not read are known.
_OTHER_TOOLS = {
    "**/*.createml.json": "CreateML",
    "**/via_*.json": "VIA",
    "*/ann/*.json": "Supervisely",
    "**/*.tfrecord": "TFRecord",
    "**/label_2/*.txt": "KITTI",
    "**/labelTxt/*.txt": "DOTA",
    "annotations/*.txt": "VisDrone",
    "**/*.odgt": "CrowdHuman",
    "**/*.csv": "CSV",
}
_OTHER_TOOL = "{} is not read; export or convert it as COCO, VOC or YOLO"
# For files that are there, what is missing to make them a dataset; the first that fits.
_NEAREST = (
    *((pattern, _OTHER_TOOL.format(name)) for pattern, name in _OTHER_TOOLS.items()),
    *((f"*{suffix}", "unpack the archives in it") for suffix in _ARCHIVES),
    ("annotations/*.json.*", "unpack the files in annotations/"),
    ("*.mindrecord*", "make MindRecord of the model zoo again: nasfpn data create SRC -o DIR"),
    ("*.json", "for COCO, a JSON file must have the lists images, annotations and categories"),
    ("*/*.json", "for COCO, a JSON file must have the lists images, annotations and categories"),
    ("**/*.json", "for COCO, put the JSON files into annotations/"),
    ("**/*.xml", "for VOC, put the XML files into Annotations/ and the images into JPEGImages/"),
    ("**/*.txt", "for YOLO, put the images into images/train/, the text files into labels/train/"),
    ("**/*.jpg", "there are images, but no annotations"),
    ("**/*.png", "there are images, but no annotations"),
)
EXAMPLES = 3  # entries named in each line of the fault report

# The modules of the formats, each with recognises(folder), splits(folder) and
# read(folder, split). A folder has the first format that recognises it.
FORMS = {
    "splits": divided,
    "mindrecord": mindrecord,
    "coco": coco,
    "voc": voc,
    "yolo": yolo,
    "text": text,
}


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset, in COCO's terms, whatever its format.

    Attributes:
        samples: images in the order of the file, including those without boxes.
        categories: names, by class number.
        category_ids: ids in the annotation file, by class number.
        annotation_file: the file or folder it was read from.
        faults: what is wrong with it.
        notes: what was read in another way than it is written, such as polygons as boxes.
        truth: the annotations for evaluation.
    """

    samples: tuple[Sample, ...]
    categories: tuple[str, ...]
    category_ids: tuple[Id, ...]
    annotation_file: Path
    faults: tuple[Fault, ...]
    truth: Truth
    notes: tuple[Fault, ...] = ()

    @property
    def with_boxes(self) -> NDArray[np.intp]:
        """Indices of the samples that have boxes."""
        return np.array([i for i, s in enumerate(self.samples) if len(s.boxes)], np.intp)

    @property
    def without_boxes(self) -> tuple[str, ...]:
        """Names of the categories that no box of the split has, crowd regions aside."""
        used = {label for sample in self.samples for label in sample.labels.tolist()}
        names = enumerate(unique(self.categories))
        return tuple(printable(name) for label, name in names if label not in used)


def load_split(
    folder: Path,
    split: str = "train",
    form: str | None = None,
    reading: Reading = _USUAL,
    *,
    needs_boxes: bool = True,
) -> Split:
    """Read one split of a dataset.

    In a COCO folder the split ``train`` is ``annotations/instances_train.json`` or, if there
    is exactly one, the file of that name with a number (``instances_train2017.json``). The other
    layouts and formats are described in their modules. Faults are listed, and faulty entries are
    dropped, with two exceptions: boxes partly outside their image are clipped, and annotations
    with a repeated id are kept.

    Args:
        form: a key of ``FORMS``; None for the format the folder has (:func:`form_of`).
        reading: how it is read where its files leave a choice.
        needs_boxes: whether a split without boxes is an error.

    Raises:
        DataError: a file or folder is missing or not of that format, or no image has a box.
    """
    if fault := path_fault(split):  # files are found by it, and MindRecord files are named after it
        raise DataError(f"the name of a split must be {fault}, got {printable(split)}")
    listing = FORMS[form_of(folder, form)].read(folder, split, reading)
    samples = listing.kept.samples()
    if needs_boxes and not any(len(sample.boxes) for sample in samples):
        raise DataError(
            "dataset must have an image with a box, got none: "
            f"{reason_for_none(listing.faults)} (at {listing.file})"
        )
    return Split(
        samples,
        listing.categories,
        listing.category_ids,
        listing.file,
        listing.faults,
        listing.kept.truth(),
        listing.notes,
    )


def form_of(folder: Path, form: str | None = None) -> str:
    """Return the format of a folder, a key of ``FORMS``; or ``form`` if it is given.

    Raises:
        DataError: it is not a folder, or has none of these formats.
    """
    if not folder.is_dir():
        if folder.exists():
            raise DataError(f"dataset must be a folder, got a file: {folder}{_instead(folder)}")
        raise DataError(f"no such dataset folder: {folder}")
    if form is not None:
        return form
    for name, module in FORMS.items():
        if module.recognises(folder):
            return name
    for inner in visible([*folder.glob("*/"), *folder.glob("*/*/")], folder):
        for name, module in FORMS.items():
            if module.recognises(inner):
                raise DataError(f"dataset must be one folder, got {folder}; {inner} has {name}")
    raise DataError(
        f"dataset must be a folder with {INDEX} (MindRecord), annotations/*.json (COCO), "
        f"Annotations/*.xml (VOC), labels/ or data.yaml (YOLO), classes.txt (text) or "
        f"{divided.FILE} (nasfpn data split), got {folder} with {contents(folder)}"
    )


def _contents(folder: Path) -> str:
    """Return a part of a line on what is in a folder: the first names, by number."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    more = f" and {len(names) - CONTENTS:,} others" if len(names) > CONTENTS else ""
    return ", ".join(map(shown, names[:CONTENTS])) + more if names else "nothing in it"


def _instead(file: Path) -> str:
    """Return what to do with a file that is given as dataset."""
    if file.name.lower().endswith(_ARCHIVES):
        return "; unpack it and give the new folder"
    for folder in file.absolute().parents[:2]:
        if folder.name != "annotations" and any(
            module.recognises(folder) for module in FORMS.values()
        ):
            return f"; give the folder {folder}"
    return ""


def _missing(folder: Path) -> str:
    """Return what the format is missing that the files in a folder are nearest to."""
    for pattern, missing in _NEAREST:
        if visible(folder.glob(pattern), folder):
            return f"; {missing}"
    return ""


def split_names(folder: Path, form: str | None = None) -> tuple[str, ...]:
    """Return the names of the splits in a folder.

    Raises:
        DataError: see :func:`form_of`.
    """
    names: tuple[str, ...] = FORMS[form_of(folder, form)].splits(folder)
    return names


def contents(folder: Path) -> str:
    """Return what is in a folder and what is missing to make it a dataset, for a message."""
    return _contents(folder) + _missing(folder)


def check_same_categories(a: Split, b: Split) -> None:
    """Raise DataError unless both splits have the same category names in the same order."""
    if a.categories != b.categories:
        raise DataError(
            f"splits must have the same categories, got {', '.join(map(shown, a.categories))} "
            f"(at {a.annotation_file}) and {', '.join(map(shown, b.categories))} "
            f"(at {b.annotation_file})"
        )


def reason_for_none(faults: Sequence[Fault]) -> str:
    """Return why no image of a split has a box, in one line."""
    return "; ".join(fault_report(faults).splitlines()) or "the file lists none"


def fault_report(faults: Sequence[Fault]) -> str:
    """Return a line for each kind of fault: count, what was done and the first examples."""
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        groups.setdefault((fault.kind, fault.action), []).append(_place(fault))
    return "\n".join(
        f"{len(entries)} x {kind}, {action}: {', '.join(entries[:EXAMPLES])}"
        + (", ..." if len(entries) > EXAMPLES else "")
        for (kind, action), entries in groups.items()
    )


def fault_lines(split: Split) -> str:
    """Return the content of ``faults.txt`` for a split: a line for each fault."""
    return "".join(
        f"{split.annotation_file}: {fault.kind}: {_place(fault)}: {fault.action}\n"
        for fault in split.faults
    )


def _place(fault: Fault) -> str:
    return printable(fault.where) + (f" got {printable(fault.got)}" if fault.got else "")
