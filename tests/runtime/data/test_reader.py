"""The check of entries: each kind of fault, what is kept, and that no file makes it crash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coco_folder import GOOD, Entry, annotation, load, picture
from nasfpn_runtime.data.dataset import fault_report
from nasfpn_runtime.data.samples import Fault


def kinds(faults: Sequence[Fault]) -> list[tuple[str, str, str]]:
    """Return the faults without the values at fault."""
    return [(fault.kind, fault.where, fault.action) for fault in faults]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"bbox": [5, 6, 0, 8]}, "box without area"),
        ({"bbox": [5, 6, 10, -8]}, "box without area"),
        ({"bbox": [40, 6, 10, 8]}, "box outside the image"),
        ({"bbox": [5, -9, 10, 9]}, "box outside the image"),
        # 1e-9 px wide, which has no width in float32.
        ({"bbox": [20, 6, 1e-9, 8]}, "box outside the image"),
        ({"bbox": [5, 6, 10]}, "box is not four finite numbers"),
        ({"bbox": None}, "box is not four finite numbers"),
        ({"bbox": ["five", 6, 10, 8]}, "box is not four finite numbers"),
        ({"bbox": [5, 6, float("nan"), 8]}, "box is not four finite numbers"),
        ({"bbox": [5, 6, float("inf"), 8]}, "box is not four finite numbers"),
        ({"bbox": [5, 6, 10**400, 8]}, "box is not four finite numbers"),
        ({"bbox": [5, True, 10, 8]}, "box is not four finite numbers"),
        ({"category_id": 4}, "category unknown"),
        ({"category_id": [7]}, "category unknown"),
        ({"image_id": 99}, "annotation of an unknown image"),
        ({"image_id": {}}, "annotation of an unknown image"),
        ({"image_id": 2}, "annotation of a dropped image"),
    ],
)
def test_a_faulty_annotation_is_dropped(folder: Path, changes: Entry, kind: str) -> None:
    bad = annotation(**changes)
    split = load(folder, [picture(1), picture(2, file_name="gone.png")], [GOOD, bad])
    where = f"annotations[1] (id 2, image {bad['image_id']})"
    assert kinds(split.faults[1:]) == [(kind, where, "dropped")]
    assert [sample.boxes.tolist() for sample in split.samples] == [[[5, 6, 15, 14]]]
    assert len(split.truth.box) == 1


@pytest.mark.parametrize("area", ["big", -5, float("nan"), [1], True])
def test_an_area_that_is_none_is_that_of_the_box(folder: Path, area: object) -> None:
    """A negative one would leave the box out of scoring."""
    split = load(folder, [picture(1)], [annotation(bbox=[5, 6, 10, 8], area=area)])
    assert split.truth.area.tolist() == [80]
    (fault,) = split.faults
    assert (fault.kind, fault.action) == ("area is not a number from 0", "area of the box taken")


@pytest.mark.filterwarnings("error")
def test_numbers_of_any_size_raise_no_warning(folder: Path) -> None:
    boxes = ([1e308, 6, 1e308, 8], [5, 6, 1e308, 8], [-1e308, 6, 1e308, 8], [-1e308, 6, 1.5e308, 8])
    rows = [annotation(id=index, bbox=list(box)) for index, box in enumerate(boxes)]
    split = load(folder, [picture(1)], [*rows, {**GOOD, "id": 9}])
    width = split.samples[0].width
    assert split.samples[0].boxes.tolist() == [
        [5, 6, width, 14],
        [0, 6, width, 14],
        [5, 6, 15, 14],
    ]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"file_name": "gone.png"}, "image file missing"),
        ({"file_name": "x" * 5000}, "image file missing"),
        ({"file_name": "a\0b"}, "image file missing"),
        ({"file_name": "text.png"}, "image file unreadable"),
        ({"file_name": "../outside.png"}, "file name outside the image folder"),
        ({"file_name": "/etc/passwd"}, "file name outside the image folder"),
        ({"file_name": 5}, "image without a file name"),
        ({"file_name": ""}, "image without a file name"),
        ({"width": None}, "image without width and height"),
        ({"height": -30}, "image without width and height"),
        ({"width": 30, "height": 40}, "image size not as annotated"),
        ({"id": 1}, "image id repeated"),
    ],
)
def test_a_faulty_picture_is_dropped(folder: Path, changes: Entry, kind: str) -> None:
    bad = picture(2, **changes)
    split = load(folder, [picture(1), bad], [GOOD])
    assert kinds(split.faults) == [(kind, f"images[1] (id {bad['id']})", "dropped")]
    assert [sample.image_id for sample in split.samples] == [1]


@pytest.mark.parametrize("bad", [None, 5, {}, {"id": ""}, {"id": True}, {"id": [1]}])
def test_a_picture_without_an_id_is_dropped(folder: Path, bad: object) -> None:
    split = load(folder, [bad, picture(1)], [GOOD])
    assert split.faults == (Fault("image without an id", "images[0]", "dropped"),)


def test_an_annotation_that_is_no_object_is_dropped(folder: Path) -> None:
    split = load(folder, [picture(1)], [GOOD, 5])
    assert split.faults == (Fault("annotation malformed", "annotations[1]", "dropped", "5"),)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ([-4, 6, 14, 8], [0, 6, 10, 14]),
        ([5, -4, 10, 14], [5, 0, 15, 10]),
        ([30, 6, 20, 8], [30, 6, 40, 14]),
        ([5, 20, 10, 14], [5, 20, 15, 30]),
    ],
)
def test_a_box_partly_outside_is_clipped_for_training_only(
    folder: Path, box: list[int], inside: list[int]
) -> None:
    split = load(folder, [picture(1)], [annotation(bbox=box)])
    kind, where = "box partly outside the image", "annotations[0] (id 2, image 1)"
    assert split.faults == (Fault(kind, where, "clipped"),)
    assert split.samples[0].boxes.tolist() == [inside]
    assert split.truth.box.tolist() == [box]


def test_rounding_to_two_decimals_is_no_fault(folder: Path) -> None:
    split = load(folder, [picture(1)], [annotation(bbox=[-0.01, 0, 40.02, 30.01])])
    assert split.faults == ()
    assert split.samples[0].boxes.tolist() == [[0, 0, 40, 30]]


def test_a_repeated_annotation_id_is_kept(folder: Path) -> None:
    twin = annotation(id=1, bbox=[1, 1, 2, 2])
    split = load(folder, [picture(1)], [GOOD, twin])
    assert [fault.action for fault in split.faults] == ["kept"]
    assert len(split.samples[0].boxes) == 2


def test_a_missing_area_is_the_area_of_the_box(folder: Path) -> None:
    split = load(folder, [picture(1)], [annotation(area=None)])
    assert split.truth.area.tolist() == [80]


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-50, 50), st.floats(), st.text(max_size=3)
)
junk = st.one_of(scalars, st.lists(scalars, max_size=4), st.dictionaries(st.text(), scalars))
some_id = st.one_of(st.sampled_from([1, 2, 3, 7]), junk)
some_picture = st.one_of(
    junk,
    st.fixed_dictionaries(
        {
            "id": some_id,
            "file_name": st.one_of(st.sampled_from(["1.png", "2.png", "text.png", "."]), junk),
            "width": st.one_of(st.just(40), junk),
            "height": st.one_of(st.just(30), junk),
        }
    ),
)
some_box = st.one_of(
    st.lists(st.one_of(st.integers(-50, 50), st.floats()), min_size=4, max_size=4), junk
)
some_annotation = st.one_of(
    junk,
    st.fixed_dictionaries(
        {"image_id": some_id, "category_id": some_id, "bbox": some_box},
        optional={"id": some_id, "area": junk, "iscrowd": junk},
    ),
)


@pytest.mark.slow
@given(st.lists(some_picture, max_size=4), st.lists(some_annotation, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the folder is rewritten
def test_any_file_is_accounted_for(folder: Path, images: list[Any], annotations: list[Any]) -> None:
    split = load(folder, [picture(3), *images], [annotation(image_id=3), *annotations])
    dropped = [fault.where for fault in split.faults if fault.action == "dropped"]
    of_pictures = sum(where.startswith("images") for where in dropped)
    assert len(split.samples) + of_pictures == 1 + len(images)
    boxes = sum(len(sample.boxes) + len(sample.crowd) for sample in split.samples)
    assert boxes == len(split.truth.box)
    assert boxes + len(dropped) - of_pictures == 1 + len(annotations)
    for sample in split.samples:
        every = np.concatenate([sample.boxes, sample.crowd])
        assert np.isfinite(every).all()
        assert (every[:, :2] >= 0).all()
        assert (every[:, 2:] <= [sample.width, sample.height]).all()
        assert (every[:, :2] < every[:, 2:]).all()
        assert set(sample.labels.tolist()) <= {0, 1}
        assert len(sample.labels) == len(sample.boxes)
    assert np.isfinite(split.truth.area).all()
    fault_report(split.faults)
