"""Splits made by ``nasfpn data split``: a folder with ``splits.json`` and no images.

The file names the dataset that was divided, and for each new split its images. Images and boxes are
read from that dataset, which must still be the same: ``splits.json`` has the digest of the split
that was divided (``data/digest.py``). An image is named by its path in the dataset, with ``/``
between folders; outside of it, by its whole path; in MindRecord, by its file name and id. Faults
of the dataset are listed with each of the new splits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from nasfpn_runtime.data.lists import no_split
from nasfpn_runtime.data.samples import Collection, Draft, Listing, Sample
from nasfpn_runtime.documents import read_json
from nasfpn_runtime.errors import ChangedDataError, DataError, DocumentError
from nasfpn_runtime.recipe.settings import EXIF_FRAMES, Reading
from search_space.errors import value_text

FILE = "splits.json"
VERSION = 1
_AGAIN = "or divide it again with nasfpn data split"
_TEXTS = ("source", "format", "from", "digest")


def recognises(folder: Path) -> bool:
    """Return whether the folder has the file of this format, or one that cannot be read."""
    if not (folder / FILE).exists():
        return False
    try:
        content = read_json(folder / FILE)
    except DocumentError:
        return True
    return isinstance(content, dict) and "source" in content  # not a list of another program


def splits(folder: Path) -> tuple[str, ...]:
    """Return the names of the splits."""
    return tuple(_read_file(folder)["splits"])


def read(folder: Path, split: str, reading: Reading) -> Listing:
    """Read a split: the images that it names, in the order of the dataset, with the same ids.

    How the dataset is read was decided when it was divided: ``reading`` is not used.

    Raises:
        DataError: the file is not of this format, or there is no such split.
        ChangedDataError: the dataset has gone or has changed since it was divided.
    """
    content = _read_file(folder)
    if split not in content["splits"]:
        raise no_split(split, folder, content["splits"])
    source = folder / content["source"]
    where = f"(at {folder / FILE})"
    if not source.is_dir():
        raise ChangedDataError(
            f"the dataset must be where it was divided, got no folder {source} {where}; "
            f"move it back, {_AGAIN}"
        )
    try:
        listing = _read_source(source, content)
        names = image_names(listing.kept.drafts, source)
    except DataError as error:
        raise ChangedDataError(
            f"the dataset must be as it was when it was divided: {error} {where}; restore it, "
            f"{_AGAIN}"
        ) from error
    chosen = set(content["splits"][split])
    if _digest(listing) != content["digest"] or not chosen <= set(names):
        raise ChangedDataError(
            f"split {content['from']!r} of {source} must have the images and boxes that it had "
            f"when it was divided, got others {where}; restore the dataset, {_AGAIN}"
        )
    return replace(listing, kept=_selected(listing.kept, [name in chosen for name in names]))


def image_names(images: Any, source: Path) -> list[str]:
    """Return a name for each image of a split of a dataset, as ``splits.json`` has it.

    Args:
        images: the samples, or drafts of them.
        source: folder of the dataset.

    Raises:
        DataError: an image file is listed twice.
    """
    names = [_name(image, source) for image in images]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"images must be listed once, got {value_text(twice[0])} {names.count(twice[0])} times "
            f"(at {source}); remove the others, so that no image is in two splits"
        )
    return names


def _name(image: Sample | Draft, source: Path) -> str:
    if not isinstance(image.path, Path):
        return f"{image.path.name} (id {image.image_id!r})"
    for folder in (source, source.resolve()):
        if image.path.is_relative_to(folder):
            return image.path.relative_to(folder).as_posix()
    return image.path.absolute().as_posix()


def _read_source(source: Path, content: dict[str, Any]) -> Listing:
    from nasfpn_runtime.data.dataset import FORMS  # it imports this module

    reading = Reading(content["exif"], content["merge_names"])
    listing: Listing = FORMS[content["format"]].read(source, content["from"], reading)
    return listing


def _digest(listing: Listing) -> str:
    from nasfpn_runtime.data.dataset import Split
    from nasfpn_runtime.data.digest import digest

    kept = listing.kept
    return digest(
        Split(
            samples=kept.samples(),
            categories=listing.categories,
            category_ids=listing.category_ids,
            annotation_file=listing.file,
            faults=listing.faults,
            truth=kept.truth(),
        )
    )


def _selected(kept: Collection, chosen: list[bool]) -> Collection:
    """Return some of the images with their annotations."""
    selected, indices = Collection(), {}
    for index, draft in enumerate(kept.drafts):
        if chosen[index]:
            indices[index] = len(selected.drafts)
            selected.drafts.append(replace(draft, boxes=[], labels=[], crowd=[]))
    truth = kept.truth()
    rows = zip(truth.sample, truth.label, truth.box, truth.area, truth.crowd, strict=True)
    for sample, label, box, area, crowd in rows:
        if (index := int(sample)) in indices:
            selected.annotate(indices[index], int(label), box.tolist(), float(area), bool(crowd))
    return selected


def _read_file(folder: Path) -> dict[str, Any]:
    """Return the content of ``splits.json``.

    Raises:
        DataError: it cannot be read or has other content.
    """
    from nasfpn_runtime.data.dataset import FORMS

    path = folder / FILE
    try:
        content = read_json(path)
    except DocumentError as error:
        raise DataError(f"cannot read {FILE} as JSON: {error}") from None
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or version != VERSION:
        raise DataError(f"version of {FILE} must be {VERSION}, got {version!r} (at {path})")
    for key in _TEXTS:
        if not isinstance(content.get(key), str):
            raise DataError(f"{key} must be a text, got {value_text(content.get(key))} (at {path})")
    if not isinstance(content.get("splits"), dict):
        raise DataError(
            f"splits must be a mapping, got {value_text(content.get('splits'))} (at {path})"
        )
    formats = [name for name, module in FORMS.items() if module.__name__ != __name__]
    if content["format"] not in formats:
        raise DataError(
            f"format must be {', '.join(formats)}, got {value_text(content['format'])} (at {path})"
        )
    if content.get("exif") not in EXIF_FRAMES or not isinstance(content.get("merge_names"), bool):
        raise DataError(
            f"exif must be {', '.join(EXIF_FRAMES)} and merge_names true or false, got "
            f"{value_text(content.get('exif'))} and {value_text(content.get('merge_names'))} "
            f"(at {path})"
        )
    listed: list[str] = []
    for name, images in content["splits"].items():
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise DataError(f"split {name!r} must be a list of image names (at {path})")
        listed += images
    if len(set(listed)) < len(listed):
        (twice, _), *_ = Counter(listed).most_common(1)
        raise DataError(f"an image must be in one split, got {value_text(twice)} twice (at {path})")
    return content
