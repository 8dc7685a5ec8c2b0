"""YOLO datasets: a label file for each image; see ``yolo_files`` for the layouts.

A label file has a line for each box: the number of its category, from 0, then its centre, width
and height as shares of those of the image. Lines with the points of a polygon (six or more
numbers) have the box around it. With ``kpt_shape`` in ``data.yaml`` the box is followed by key
points, which are not read. The format has no crowd regions. Boxes of images with an EXIF
orientation are in the frame that a viewer shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasfpn_runtime.data.classes import make_classes
from nasfpn_runtime.data.entry import around, numbers
from nasfpn_runtime.data.frames import UPRIGHT
from nasfpn_runtime.data.lists import no_split, read_lines, visible
from nasfpn_runtime.data.reader import Reader
from nasfpn_runtime.data.samples import Draft, Listing
from nasfpn_runtime.data.units import SHARES
from nasfpn_runtime.data.yolo_files import NAME_FILES, Files, Folder, label_path
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.recipe.settings import Reading


def recognises(folder: Path) -> bool:
    """Return whether the folder has the files of this format."""
    return (
        (folder / "data.yaml").exists()
        or (folder / "labels").is_dir()
        or bool(Folder(folder).splits())
    )


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits.

    Raises:
        DataError: the settings cannot be read, or name another folder.
    """
    found = Folder(folder)
    names = found.splits()
    if not names:
        found.check_path()
    return names


def read(folder: Path, split: str, reading: Reading) -> Listing:
    """Read a split. The id of an image is its position, from 1.

    The images of a folder are sorted by name; those of a list have its order.

    Raises:
        DataError: a file or folder is missing, or there are no names.
    """
    found = Folder(folder)
    files = found.files(split)
    if files is None:
        found.check_path()
        raise no_split(split, folder, found.splits())
    names, where = found.class_names()
    classes = make_classes(list(enumerate(names)), reading, where)
    reader = Reader(folder, classes.label_of, reading, UPRIGHT)
    keypoints = "kpt_shape" in found.settings
    for number, name in enumerate(files.images, start=1):
        root = files.root
        shown = name if root is None else (folder / name).relative_to(root).as_posix()
        if reader.add_picture(shown, {"id": number, "file_name": name}):
            _read_labels(reader, label_path(folder / name), shown, number, keypoints)
    _find_strays(reader, folder, files)
    return reader.listing(files.listing, classes, SHARES)


def _read_labels(reader: Reader, path: Path, image: str, number: int, keypoints: bool) -> None:
    if not path.exists():
        return  # an image without boxes
    name = Path(image).with_suffix(".txt").as_posix()
    try:
        lines = read_lines(path)
    except DataError:
        reader.fault("annotation file missing or unreadable", name)
        return
    draft = reader.kept.drafts[-1]
    for index, line in enumerate(lines, start=1):
        if line:
            values = line.split()[:5] if keypoints else line.split()
            entry, shares = _annotation(values, draft)
            reader.add_annotation(f"{name} line {index}", {"image_id": number, **entry}, shares)


def _annotation(words: list[str], image: Draft) -> tuple[dict[str, Any], list[float] | None]:
    """Return a line in COCO's terms, and the four shares of a box."""
    category, values = words[0], numbers(list(words[1:]))
    entry: dict[str, Any] = {"category_id": category, "bbox": words[1:]}
    if values is None or len(values) < 4:
        return entry, None
    width, height = image.width, image.height
    if len(values) == 4:
        x, y, w, h = values
        box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
        return {**entry, "bbox": box}, values
    outline = around(values)
    if outline is None:
        return entry, None
    points = [v * side for v, side in zip(values, [width, height] * len(values), strict=False)]
    return {"category_id": category, "segmentation": [points]}, outline


def _find_strays(reader: Reader, folder: Path, files: Files) -> None:
    """Record label files without an image."""
    if files.root is None:  # other files in the folder may be of other splits
        return
    known = {label_path(folder / name) for name in files.images}
    for path in visible(files.listing.rglob("*.txt"), files.listing):
        if path not in known and path.name not in NAME_FILES:
            where = path.relative_to(files.listing).as_posix()
            reader.fault("annotation of an unknown image", where)
