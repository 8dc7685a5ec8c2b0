"""The sizes of a detector: their ranges, and the widths of MobileNetV2."""

from __future__ import annotations

import numpy as np
import pytest

from search_space import DetectorShape
from search_space.shape import mobilenet_channels


@pytest.mark.parametrize(
    ("channels", "width", "rounded"),
    # 64 / 32 = 2 becomes 8, the least. 24 * 24 / 32 = 18 is nearest to 16, which is less than
    # 90% of it. 24 * 16 / 32 = 12 is halfway and is rounded up.
    [(32, 32, 32), (320, 16, 160), (64, 1, 8), (24, 24, 24), (24, 16, 16), (1280, 48, 1920)],
)
def test_channels_of_a_mobilenet_are_multiples_of_8(
    channels: int, width: int, rounded: int
) -> None:
    assert mobilenet_channels(channels, width) == rounded


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backbone", "resnet51"),
        ("width", 0),
        ("channels", -1),
        ("stacks", 0),
        ("stacks", 2.0),
        ("stacks", True),
        ("head_convs", -1),
        ("head_channels", 0),
        ("classes", 0),
        ("anchors", 0),
        ("image", (640, 0)),
        ("image", (640,)),
    ],
)
def test_shapes_are_checked(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be .* got "):
        DetectorShape(**{name: value})


def test_numpy_integers_are_integers_and_become_plain() -> None:
    shape = DetectorShape(
        width=np.uint8(64), channels=np.int64(256), image=(np.int16(640), np.int32(640))
    )
    assert shape == DetectorShape()
    sizes = (shape.width, shape.channels, shape.head_channels, *shape.image)
    assert {type(size) for size in sizes} == {int}
    with pytest.raises(ValueError, match=r"stacks .*got True"):
        DetectorShape(stacks=np.True_)
