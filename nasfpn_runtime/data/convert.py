"""Write a dataset as a new COCO, VOC or YOLO folder."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.frames import UPRIGHT
from nasfpn_runtime.data.lists import check_room
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.data.writers import coco, voc, yolo
from nasfpn_runtime.data.writers.common import written_folder
from nasfpn_runtime.data.writers.names import Names
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.exif import without_orientation
from nasfpn_runtime.pictures.image import BROKEN, read_header
from nasfpn_runtime.progress import Progress
from search_space.names import printable

WRITERS = {"coco": coco, "voc": voc, "yolo": yolo}
_SAME_AREA = 0.01  # square px: annotations have two decimals
_ANNOTATION_BYTES = 256  # of one annotation or image in the most verbose format, about


@dataclass(frozen=True)
class Changes:
    """In what the new folder differs from the dataset it was made from.

    Attributes:
        names: old and new file name of each image that was renamed.
        counts: how many of what the format cannot hold, such as ``{"crowd regions": 3}``.
        corner: largest difference of a corner of a box, in px.
    """

    names: tuple[tuple[str, str], ...]
    counts: dict[str, int]
    corner: float


def convert(
    splits: dict[str, Split],
    folder: Path,
    form: str,
    *,
    link: bool = False,
    progress: bool = True,
) -> Changes:
    """Write splits to a new folder of another format.

    Image files are copied byte for byte. Only the EXIF orientation is removed from images whose
    boxes are in the stored pixels, if the format is read as if they were in the turned image
    (``data/frames.py``). The folder appears atomically, after it has been read again and compared
    with the splits; a killed run leaves only a hidden draft, which the next run removes.

    Args:
        splits: by name, one or more.
        form: a key of ``WRITERS``.
        link: make symbolic links to the image files, by their whole paths, instead of copies.

    Raises:
        DataError: the folder exists, the format cannot hold the classes or an image, an image of
            MindRecord is to be linked, or the disk has too little space.
        OutputError: the disk is full.
    """
    writer = WRITERS[form]
    writer.check(splits)
    with written_folder(folder) as draft:
        check_room(_size(splits, link), folder.parent)
        folders: dict[str, Names] = {}
        written, freed = {}, 0
        for name, split in splits.items():
            place = writer.PICTURES.format(split=name)
            names = folders.setdefault(place, Names(writer.BY_STEM, writer.UNFIT))
            written[name] = [names.add(s, name, _suffix(s, writer)) for s in split.samples]
            _write_images(draft / place, name, split, written[name], link, progress)
            if writer.FRAME == UPRIGHT:
                freed += _free_of_orientation(draft / place, split, written[name])
            writer.write_split(draft, name, split, written[name])
        writer.finish(draft, splits)
        renamed = tuple(pair for names in folders.values() for pair in names.changed)
        counts, corner = _compare(splits, draft, form, written)
    if freed:
        counts["EXIF orientations"] = freed
    return Changes(renamed, counts, corner)


def _size(splits: dict[str, Split], link: bool) -> int:
    """Return about how many bytes the new folder takes."""
    samples = [sample for split in splits.values() for sample in split.samples]
    entries = len(samples) + sum(len(split.truth.box) for split in splits.values())
    try:
        images = 0 if link else sum(sample.file_size() for sample in samples)
    except OSError as error:
        raise DataError(f"cannot read image: {error.strerror} (at {error.filename})") from None
    return images + _ANNOTATION_BYTES * entries


def _suffix(sample: Sample, writer: ModuleType) -> str:
    """Return what to add to the file name of an image, so that it has a suffix of the format."""
    if not writer.SUFFIXES or os.path.splitext(sample.path.name)[1].lower() in writer.SUFFIXES:
        return ""
    try:
        with Image.open(io.BytesIO(sample.path.read_bytes())) as image:
            suffix = f".{str(image.format).lower()}"
    except BROKEN:
        suffix = ""
    if suffix not in writer.SUFFIXES:
        raise DataError(
            f"an image must be one of {' '.join(writer.SUFFIXES)} in this format, got "
            f"{printable(str(sample.path))}; convert to coco"
        )
    return suffix


def _write_images(
    folder: Path, name: str, split: Split, names: list[str], link: bool, progress: bool
) -> None:
    """Write the image files of a split, except for those that an earlier split wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    with Progress(name, "image", len(split.samples), shown=progress) as bar:
        for sample, picture in zip(split.samples, names, strict=True):
            target = folder / picture
            if not os.path.lexists(target):
                _write_image(sample, target, link)
            bar.advance()


def _write_image(sample: Sample, target: Path, link: bool) -> None:
    if not isinstance(sample.path, Path):
        if link:
            raise DataError(
                f"images must be files to be linked, got {sample.path}; leave out --link"
            )
        target.write_bytes(sample.path.read_bytes())
    elif link:
        target.symlink_to(Path(os.path.realpath(sample.path.parent), sample.path.name))
    else:
        shutil.copyfile(sample.path, target)


def _free_of_orientation(folder: Path, split: Split, names: list[str]) -> int:
    """Remove the EXIF orientation of images whose boxes are in the stored pixels; return how many.

    A reader of the format would take the boxes to be in the image that a viewer shows.

    Raises:
        DataError: the orientation cannot be removed from an image.
    """
    count = 0
    for sample, picture in zip(split.samples, names, strict=True):
        target = folder / picture
        if sample.upright or read_header(target).orientation == 1:
            continue
        content = without_orientation(target.read_bytes())
        target.unlink()  # it may be a link to the original
        if content is not None:
            target.write_bytes(content)
        if content is None or read_header(target).orientation != 1:
            raise DataError(
                "the EXIF orientation must be removed, since the boxes are in the stored pixels, "
                f"and cannot be (at {sample.path}); convert to coco"
            )
        count += 1
    return count


def _compare(
    splits: dict[str, Split], folder: Path, form: str, names: dict[str, list[str]]
) -> tuple[dict[str, int], float]:
    """Read the new folder; return how many of what differs, and by how much corners do.

    Raises:
        DataError: an image, a class or a box differs.
    """
    counts: dict[str, int] = {}
    corner = 0.0
    for name, split in splits.items():
        other = DataError(
            f"cannot write {split.annotation_file} as {form}: read again, it would have other "
            "images, boxes or classes; convert to another format"
        )
        try:
            made = load_split(folder, name, form, needs_boxes=False)
        except DataError as error:
            raise other from error
        numbers = {sample.path.name: number for number, sample in enumerate(made.samples)}
        if numbers.keys() != set(names[name]) or made.categories != split.categories:
            raise other
        for sample, picture in zip(split.samples, names[name], strict=True):
            if made.samples[numbers[picture]].upright != sample.upright:
                raise DataError(
                    f"the frame of the boxes must be told by the size of the image in {form}, "
                    f"since it has an EXIF orientation (at {sample.path}); convert to voc or yolo"
                )
        places = np.array([numbers[picture] for picture in names[name]], np.intp)
        crowds = _rows(split, places)[:, 1].sum() - _rows(made)[:, 1].sum()
        before, after = _rows(split, places, crowds=not crowds), _rows(made)
        if before.shape != after.shape or (before[:, :3] != after[:, :3]).any():
            raise other
        images = zip(places.tolist(), split.samples, strict=True)
        ids = zip(made.category_ids, split.category_ids, strict=True)
        for what, count in {
            "crowd regions": crowds,
            "areas": (np.abs(before[:, 3] - after[:, 3]) > _SAME_AREA).sum(),
            "image ids": sum(made.samples[n].image_id != s.image_id for n, s in images),
            "class ids": sum(a != b for a, b in ids),
        }.items():
            known = counts.get(what, 0)  # the splits have the same classes
            counts[what] = max(known, count) if what == "class ids" else known + int(count)
        corner = max(corner, np.abs(before[:, 4:] - after[:, 4:]).max(initial=0.0))
    return {what: count for what, count in counts.items() if count}, float(corner)


def _rows(
    split: Split, places: NDArray[np.intp] | None = None, crowds: bool = True
) -> NDArray[np.float64]:
    """Return (N, 8): image, crowd, class, area, and x1, y1, x2, y2 of the annotations, by image.

    Args:
        places: numbers of the images, by which they are sorted.
        crowds: include the crowd regions.
    """
    truth = split.truth
    images = truth.sample if places is None else places[truth.sample]
    first, last = truth.box[:, :2], truth.box[:, :2] + truth.box[:, 2:]
    rows = np.column_stack([images, truth.crowd, truth.label, truth.area, first, last])
    rows = rows[np.argsort(images, kind="stable")]
    return rows if crowds else rows[rows[:, 1] == 0]
