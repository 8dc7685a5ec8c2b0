"""The table of counts."""

from __future__ import annotations

from pathlib import Path

from coco_folder import GOOD, annotation, load, picture
from nasfpn_runtime.data.counts import count_table


def test_the_table_has_every_category_of_every_split(folder: Path) -> None:
    crowd, third = annotation(iscrowd=1), annotation(id=3, image_id=3)
    split = load(folder, [picture(1), picture(2), picture(3)], [GOOD, crowd, third])
    table = [line.split() for line in count_table({"train": split, "val": split}).splitlines()]
    assert table == [
        ["train", "val"],
        ["images", "3", "3"],
        ["without", "boxes", "1", "1"],
        ["boxes", "2", "2"],
        ["crowd,", "ignored", "1", "1"],
        ["dog", "0", "0"],
        ["cat", "2", "2"],
    ]
