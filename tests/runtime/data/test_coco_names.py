"""COCO's categories, as public detectors number them."""

from __future__ import annotations

from nasfpn_runtime.data import coco_names


def test_coco_names_by_order_and_by_id() -> None:
    by_order, by_id = coco_names.by_order(), coco_names.by_id()
    assert (len(by_order), len(by_id)) == (80, 90)
    assert tuple(name for name in by_id if not name.startswith("id ")) == by_order
    # Ids of instances_val2017.json.
    known = {1: "person", 13: "stop sign", 44: "bottle", 67: "dining table", 90: "toothbrush"}
    assert {i: by_id[i - 1] for i in known} == known
    assert by_id[12 - 1] == "id 12"
