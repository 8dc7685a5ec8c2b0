"""A digest of a dataset: by it a result knows the data that it comes from."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import ChangedDataError, DataError

VERSION = 2  # of what a digest covers, and how
MOST_READ = 1_000_000_000  # bytes of a split's image files; of a larger split, their sizes count
_STEPS = 100  # steps per px to which the corners of boxes are rounded


def digest(split: Split) -> str:
    """Return a digest of one split, the same in every format and folder.

    It covers the categories in their order and, for each image, the last part of its file name,
    the content of its file, its width and height, their frame, and the boxes that were kept,
    clipped to the image, each with its class and whether it is a crowd region. If the files of a
    split have more than ``MOST_READ`` bytes together, the size of each file counts instead of its
    content.

    A COCO, VOC, YOLO or text folder with the same images and boxes has the same digest, and so
    has a MindRecord folder made from any of them. Therefore it does not see

    - ids, folders, the order of the images, and the order of the boxes in an image;
    - differences of boxes below 0.01 px: corners are rounded to that, since YOLO's six decimals
      give a corner to within 0.004 px in an image of 4,000 px;
    - COCO's ``area``, and parts of boxes outside their image.

    It differs for the same data in two formats if one of them cannot express something: YOLO and
    text folders have no crowd regions, and boxes may have been rounded.

    For 1,000 drawn images of 32 MB it takes 0.2 s, from MindRecord 0.4 s; ``load_split`` takes
    0.8 s and 8.7 s (two busy cores, 2026-11-25).

    Returns:
        ``v2:`` and 64 hexadecimal digits. Earlier versions began with ``v1:`` and never covered the
        content of files.

    Raises:
        DataError: an image file cannot be read.
    """
    content = hashlib.sha256()
    for name in split.categories:
        content.update(_text(name))
    for record in sorted(_records(split)):
        content.update(hashlib.sha256(record).digest())
    return f"v{VERSION}:{content.hexdigest()}"


def digests(splits: Mapping[str, Split]) -> dict[str, str]:
    """Return the digest of each split by its name."""
    return {name: digest(split) for name, split in splits.items()}


def comparable(one: str, other: str) -> bool:
    """Return whether two digests are of one version, so that they differ only if the data do."""
    return one.partition(":")[0] == other.partition(":")[0]


def check_unchanged(expected: Mapping[str, str], given: Mapping[str, str], where: str) -> None:
    """Check that the digests of splits are the expected ones.

    Args:
        where: the dataset, for the message.

    Raises:
        ChangedDataError: one differs.
    """
    for name, value in expected.items():
        if given[name] != value:
            raise ChangedDataError(
                f"split {name!r} must have the images and boxes that it had at the start, got "
                f"others (at {where}); restore the dataset, then run the same command to resume"
            )


def _records(split: Split) -> list[bytes]:
    """Return what is digested of each image."""
    boxes = _boxes(split)
    ends = np.searchsorted(boxes[:, 0], np.arange(1, len(split.samples) + 1))
    records, start = [], 0
    for sample, content, end in zip(split.samples, _contents(split), ends.tolist(), strict=True):
        numbers = struct.pack("<3q", sample.width, sample.height, end - start)
        # Nothing is added for stored pixels, as all frames were before.
        frame = b"upright" if sample.upright else b""
        record = _text(sample.path.name) + content + numbers
        records.append(record + boxes[start:end, 1:].tobytes() + frame)
        start = end
    return records


def _contents(split: Split) -> Iterator[bytes]:
    """Yield what is digested of each image file: its content or, in a large split, its size."""
    try:
        sizes = []
        for sample in split.samples:
            sizes.append(sample.file_size())
        whole = sum(sizes) <= MOST_READ
        for sample, size in zip(split.samples, sizes, strict=True):
            content = hashlib.sha256(sample.path.read_bytes()).digest() if whole else b""
            yield struct.pack("<q", size) + content
    except OSError as error:
        raise DataError(f"cannot read image: {error.strerror} (at {sample.path})") from None


def _boxes(split: Split) -> NDArray[np.int64]:
    """Return (N, 7), sorted: image, class, crowd, and the rounded corners of each box."""
    truth = split.truth
    sides = np.array([(s.width, s.height) for s in split.samples], np.float64)[truth.sample]
    first = np.maximum(truth.box[:, :2], 0)
    last = np.minimum(truth.box[:, :2] + truth.box[:, 2:], sides)
    corners = np.rint(np.concatenate([first, last], axis=1) * _STEPS)
    columns = (truth.sample, truth.label, truth.crowd, *corners.T)
    rows: NDArray[np.int64] = np.stack([column.astype("<i8") for column in columns], axis=1)
    ordered: NDArray[np.int64] = rows[np.lexsort(rows.T[::-1])]
    return ordered


def _text(text: str) -> bytes:
    """Return the bytes of a text after their number, so that two texts cannot run together."""
    content = text.encode(errors="surrogatepass")
    return struct.pack("<q", len(content)) + content
