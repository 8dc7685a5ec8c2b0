"""How many pictures and boxes of each category a data set has."""

from __future__ import annotations

import numpy as np

from nasfpn_runtime.data.dataset import Split


def count_table(splits: dict[str, Split]) -> str:
    """Return a table: a column a split, a line for pictures, boxes and each category.

    Crowd regions are counted apart: training ignores them, and in scoring they are neither
    found nor missed.
    """
    rows: dict[str, list[int]] = {
        "pictures": [len(split.samples) for split in splits.values()],
        "without boxes": [
            sum(not len(s.boxes) + len(s.crowd) for s in split.samples) for split in splits.values()
        ],
        "boxes": [int((~split.truth.crowd).sum()) for split in splits.values()],
        "crowd, ignored": [int(split.truth.crowd.sum()) for split in splits.values()],
    }
    counts = [_boxes(split) for split in splits.values()]
    for name in dict.fromkeys(name for found in counts for name in found):
        rows[f"  {name}"] = [found.get(name, 0) for found in counts]
    width = max(map(len, rows))
    columns = [max(10, len(name) + 2) for name in splits]
    head = " " * width + "".join(f"{n:>{w}}" for n, w in zip(splits, columns, strict=True))
    lines = [
        f"{name:{width}}" + "".join(f"{n:{w},}" for n, w in zip(row, columns, strict=True))
        for name, row in rows.items()
    ]
    return "\n".join([head, *lines])


def _boxes(split: Split) -> dict[str, int]:
    labels = split.truth.label[~split.truth.crowd]
    counts = np.bincount(labels, minlength=len(split.categories))
    return dict(zip(split.categories, counts.tolist(), strict=True))
