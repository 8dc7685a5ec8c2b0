"""Count the images of a dataset and the boxes of each category."""

from __future__ import annotations

import numpy as np

from nasfpn_runtime.data.dataset import Split
from search_space.names import padded, shown, unique, width


def count_table(splits: dict[str, Split]) -> str:
    """Return a table with a column for each split and lines for images, boxes and categories.

    Crowd regions are counted separately: they are not trained on, and in scoring a detection
    inside one counts neither as correct nor as wrong.
    """
    rows: dict[str, list[int]] = {
        "images": [len(split.samples) for split in splits.values()],
        "without boxes": [
            sum(not len(s.boxes) + len(s.crowd) for s in split.samples) for split in splits.values()
        ],
        "boxes": [int((~split.truth.crowd).sum()) for split in splits.values()],
        "crowd, ignored": [int(split.truth.crowd.sum()) for split in splits.values()],
    }
    counts = [_box_counts(split) for split in splits.values()]
    for name in dict.fromkeys(name for count in counts for name in count):
        rows[f"  {name}"] = [count.get(name, 0) for count in counts]
    titles = [f"  {shown(name[2:])}" if name.startswith("  ") else name for name in rows]
    first = max(map(width, titles))
    columns = [max(10, width(name) + 2) for name in splits]
    blanks = (" " * (w - width(name)) for name, w in zip(splits, columns, strict=True))
    head = " " * first + "".join(b + name for b, name in zip(blanks, splits, strict=True))
    lines = [
        padded(name, first) + "".join(f"{n:{w},}" for n, w in zip(row, columns, strict=True))
        for name, row in zip(titles, rows.values(), strict=True)
    ]
    return "\n".join([head, *lines])


def _box_counts(split: Split) -> dict[str, int]:
    labels = split.truth.label[~split.truth.crowd]
    counts = np.bincount(labels, minlength=len(split.categories))
    return dict(zip(unique(split.categories), counts.tolist(), strict=True))
