"""The table of counts."""

from __future__ import annotations

from pathlib import Path

from coco_folder import GOOD, annotation, load, picture
from nasfpn_runtime.data.counts import count_table
from search_space.names import width


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


def test_columns_line_up_with_wide_characters(folder: Path) -> None:
    names = ["cat", "\u732b\U0001f600", "\u9577\u3044\u540d\u524d\u306e\u732b $x$"]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=7)]
    split = load(folder, [picture(1)], [GOOD], categories)
    table = count_table({"train": split, "\u8a66\u9a13\u7528\u306e\u753b\u50cf": split})
    assert len({width(line) for line in table.splitlines()}) == 1
    for name in names:
        assert sum(line.strip().startswith(name) for line in table.splitlines()) == 1
