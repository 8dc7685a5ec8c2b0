"""MobileNetV2 against numpy and the paper's table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

import reference
from nasfpn_runtime.network.mobilenet import MobileNetV2
from nasfpn_runtime.recipe.dialects import MODELZOO, TF

Array = NDArray[np.float64]
Fill = Callable[[nn.Cell], None]

# Sandler et al. 2018, table 2: expansion, channels, repeats, stride of the first repeat.
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

pytestmark = pytest.mark.usefixtures("pynative")


def dense_weights(net: nn.Cell) -> dict[str, Array]:
    """Return the weights by name; depthwise kernels become dense, with zeros across channels."""
    weights = {p.name: p.asnumpy().astype(np.float64) for p in net.get_parameters()}
    for name, value in weights.items():
        if value.shape[1:] == (1, 3, 3):
            weights[name] = np.eye(len(value))[:, :, None, None] * value
    return weights


def by_the_table(image: Array, weights: dict[str, Array]) -> list[Array]:
    """Return the map of each level from 1 on, for the published channels."""

    def conv(name: str, x: Array, stride: int = 1) -> Array:
        result: Array = reference.conv_norm(weights, name, x, TF.norm_epsilon, stride)
        return result

    x, maps, group, block = conv("stem", image, 2).clip(0, 6), [], -1, 0
    for expansion, channels, repeats, first in TABLE:
        for repeat in range(repeats):
            stride = first if repeat == 0 else 1
            if group < 0 or stride == 2:  # a new level
                maps += [x] if group >= 0 else []
                group, block = group + 1, 0
            name, y, part = f"groups.{group}.{block}.body", x, 0
            if expansion > 1:
                y, part = conv(f"{name}.0", y).clip(0, 6), 1
            assert y.shape[1] == expansion * x.shape[1]
            y = conv(f"{name}.{part + 1}", conv(f"{name}.{part}", y, stride).clip(0, 6))
            assert y.shape[1] == channels
            x = x + y if y.shape == x.shape else y
            block += 1
    return [*maps, conv(f"groups.{group}.{block}", x).clip(0, 6)]


def test_the_network_is_that_of_the_paper(fill: Fill) -> None:
    net = MobileNetV2(32, (2, 3, 4, 5), TF)
    fill(net)
    net.set_train(False)
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 96))
    expected = by_the_table(image, dense_weights(net))[1:]
    maps = net(Tensor(image.astype(np.float32)))
    assert [m.shape for m in maps] == [
        (1, 24, 16, 24),
        (1, 32, 8, 12),
        (1, 96, 4, 6),
        (1, 256, 2, 3),
    ]
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours.asnumpy(), theirs, rtol=1e-4, atol=1e-4 * theirs.std())


@pytest.mark.parametrize("levels", [(2, 3, 4, 5), (3, 4), (2,)])
@pytest.mark.parametrize("dialect", [TF, MODELZOO])
def test_maps_and_channels_by_level(levels: tuple[int, ...], dialect: object) -> None:
    net = MobileNetV2(16, levels, dialect)  # half the published width
    net.set_train(False)
    maps = net(Tensor(np.zeros((1, 3, 64, 32), np.float32)))
    # Multiples of 8, see test_cost.py.
    channels = {2: 16, 3: 16, 4: 48, 5: 128}
    assert net.channels == {level: channels[level] for level in levels}
    assert [m.shape for m in maps] == [
        (1, channels[level], 64 >> level, 32 >> level) for level in levels
    ]
    assert len(net.groups) == max(levels)  # coarser groups are not built
