"""Images without boxes: which are background, and what training says about the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from coco_folder import GOOD, annotation, load, picture
from nasfpn_runtime.data.backgrounds import backgrounds, check_backgrounds, left_out
from nasfpn_runtime.data.dataset import Split
from nasfpn_runtime.errors import DataError

CROWD = annotation(iscrowd=1, image_id=2)


@pytest.mark.parametrize(
    ("annotations", "empty", "without_share", "with_share"),
    [
        ([GOOD], [1, 2], ["2 without boxes"], []),
        ([GOOD, CROWD], [2], ["1 without boxes", "1 with only crowd regions"], None),
        ([GOOD, CROWD, annotation(id=3, image_id=3)], [], ["1 with only crowd regions"], None),
        ([GOOD, *(annotation(id=n, image_id=n) for n in (2, 3))], [], [], []),
    ],
)
def test_images_are_left_out_for_one_of_two_reasons(
    folder: Path,
    annotations: list[dict[str, object]],
    empty: list[int],
    without_share: list[str],
    with_share: list[str] | None,
) -> None:
    split = load(folder, [picture(1), picture(2), picture(3)], annotations)
    assert backgrounds(split).tolist() == empty
    _check(left_out(split, 0.0), without_share)
    # As background, an image without boxes is not left out.
    _check(left_out(split, 0.1), without_share[-1:] if with_share is None else with_share)
    assert ("data.background=" in left_out(split, 0.0)) == bool(empty)


def _check(line: str, parts: list[str]) -> None:
    assert bool(line) == bool(parts)
    assert "\n" not in line
    for part in ("without boxes", "with only crowd regions"):
        assert (part in line) == any(part in wanted for wanted in parts)
    for part in parts:
        assert part in line


def test_a_share_needs_a_background(folder: Path) -> None:
    full: Split = load(folder, [picture(1), picture(2)], [GOOD, CROWD])
    check_backgrounds(full, 0.0)
    with pytest.raises(DataError, match=r"got 0\.1 \(at .*instances_train2017\.json\)"):
        check_backgrounds(full, 0.1)
    check_backgrounds(load(folder, [picture(1), picture(2)], [GOOD]), 0.1)
