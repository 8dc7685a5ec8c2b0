"""DropBlock: its random numbers, its blocks, the fraction it keeps, and when it is off."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray
from scipy import stats

import searched_archs
from nasfpn_runtime.network.dropblock import DropBlock, mix, noise
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.recipe.dialects import TF
from search_space import DetectorShape, Genome, MergingCell

Shape = tuple[int, int, int, int]

RARE = 1e-9  # probability that a statistical test fails by chance
SIGMAS = 6.2  # a normal variable exceeds this many sigmas with that probability
SHAPES: list[Shape] = [(2, 8, 33, 20), (8, 64, 4, 4), (1, 3, 90, 100), (4, 256, 1, 1)]


class Drop(nn.Cell):
    """A DropBlock that hashes its key, as the pyramid does."""

    def __init__(self, side: int = 3, number: int = 0) -> None:
        super().__init__()
        self.drop = DropBlock(side, number)

    def construct(self, x: Tensor, keep: Tensor, key: Tensor) -> Tensor:
        return self.drop(x, keep, mix(key))


def scalars(keep: float, key: int) -> tuple[Tensor, Tensor]:
    return Tensor(keep, mindspore.float32), Tensor(key, mindspore.int32)


def kept(shape: Shape, keep: float, key: int, side: int = 3, number: int = 0) -> NDArray[np.bool_]:
    """Return which pixels of a map a training DropBlock keeps."""
    drop = Drop(side, number)
    drop.set_train()
    y = drop(Tensor(np.ones(shape, np.float32)), *scalars(keep, key)).asnumpy()
    mask: NDArray[np.bool_] = y != 0
    np.testing.assert_allclose(y * mask.mean(), mask, rtol=1e-5)  # the mean is preserved
    return mask


def uniform(shape: Shape, key: int, number: int = 0) -> NDArray[np.float64]:
    """Return the noise of a layer as numbers in [0, 1)."""
    seed = mix(Tensor(key, mindspore.int32)) + DropBlock(3, number).offset
    return noise(shape, seed).asnumpy() / 2.0**32 + 0.5


def lowbias32(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = x ^ (x >> 16)
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> 15)
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("key", [0, 1, -1, 2**31 - 1, -(2**31)])
def test_noise_is_that_of_unsigned_arithmetic(
    mode: str, key: int, request: pytest.FixtureRequest
) -> None:
    # The products and shifts of numpy's unsigned numbers are well defined.
    request.getfixturevalue(mode)
    n, c, h, w = shape = (2, 3, 4, 5)
    words = lowbias32(np.arange(h * w + 2 * n * c, dtype=np.uint32) + np.uint32(key % 2**32))
    pixel, scale, shift = np.split(words, [h * w, h * w + n * c])
    expected = scale[:, None] * pixel + shift[:, None]
    ours = noise(shape, Tensor(key, mindspore.int32)).asnumpy()
    np.testing.assert_array_equal(ours.reshape(n * c, h * w), expected.view(np.int32))


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key", [0, 1, 2, 123456789, -5])
def test_noise_is_uniform(shape: Shape, key: int) -> None:
    u = uniform(shape, key).ravel()
    assert stats.kstest(u, "uniform").pvalue > RARE
    assert stats.chisquare(np.histogram(u, 64, (0, 1))[0]).pvalue > RARE


def assert_independent(u: NDArray[np.float64], v: NDArray[np.float64]) -> None:
    """Compare the correlation, and how often both values are small, with independence."""
    u, v = u.ravel(), v.ravel()
    assert abs(((u - 0.5) * (v - 0.5)).mean() * 12) < SIGMAS / np.sqrt(len(u))
    for rare in (0.02, 0.3):
        both = int(((u < rare) & (v < rare)).sum())
        assert stats.binomtest(both, len(u), rare**2).pvalue > RARE


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("shape", [(4, 32, 20, 24), (8, 256, 4, 4)])
def test_noise_is_independent(shape: Shape) -> None:
    for key in range(3):
        u = uniform(shape, key)
        for axis in range(4):  # the neighbour in image, channel, row and column
            n = u.shape[axis]
            assert_independent(u.take(range(n - 1), axis), u.take(range(1, n), axis))
        assert_independent(u[..., :-1, :-1], u[..., 1:, 1:])
        assert_independent(u, uniform(shape, key + 1))
        assert_independent(u, uniform(shape, key, number=1))
        assert_independent(u, uniform(shape, key + 1, number=6))


def covers(h: int, w: int, side: int) -> NDArray[np.int64]:
    """Return (pixels, blocks): 1 where a block within the map covers a pixel."""
    blocks = []
    for y in range(h - side + 1):
        for x in range(w - side + 1):
            block = np.zeros((h, w), np.int64)
            block[y : y + side, x : x + side] = 1
            blocks.append(block.ravel())
    return np.stack(blocks, 1)


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("keep", [0.95, 0.9, 0.7])
@pytest.mark.parametrize("size", [(14, 14), (5, 5), (3, 3), (4, 9), (2, 2), (2, 7), (1, 1)])
def test_the_expected_fraction_is_kept(size: tuple[int, int], keep: float) -> None:
    # gamma is (1 - keep) divided by the mean number of blocks that cover a pixel. A pixel that
    # is covered by k blocks is kept with probability (1 - gamma)^k.
    (h, w), planes = size, 8 * 128
    cover = covers(h, w, min(3, h, w))
    gamma = (1 - keep) / cover.sum(1).mean()
    each = cover.sum(1)
    either = each[:, None] + each[None] - cover @ cover.T
    expected = ((1 - gamma) ** each).mean()
    deviation = np.sqrt((((1 - gamma) ** either).mean() - expected**2) / planes)
    fraction = np.mean([kept((8, 128, h, w), keep, key).mean() for key in range(3)])
    assert abs(fraction - expected) < SIGMAS * deviation / np.sqrt(3)
    # Overlapping blocks only increase what is kept, by no more than the overlapping pairs.
    pairs = np.mean([comb(k, 2) for k in each]) * gamma**2
    assert keep - 1e-9 <= expected <= keep + pairs + 1e-9


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize(
    ("size", "side"),
    [((14, 14), 3), ((5, 8), 3), ((3, 3), 3), ((9, 9), 4), ((2, 7), 3), ((1, 5), 3), ((9, 9), 1)],
)
def test_dropped_pixels_form_blocks(size: tuple[int, int], side: int) -> None:
    mask = kept((2, 64, *size), 0.8, 1, side)
    assert mask.any()
    assert not mask.all()
    least = min(side, *size)
    for plane in mask.reshape(-1, *size):
        squares = np.zeros_like(plane)  # pixels covered by completely dropped squares
        for y in range(size[0] - least + 1):
            for x in range(size[1] - least + 1):
                square = (slice(y, y + least), slice(x, x + least))
                if not plane[square].any():
                    squares[square] = True
        np.testing.assert_array_equal(~plane, squares)
    for axis in range(2):  # each image and channel has its own mask
        assert (mask != mask.take([0], axis)).any()


@pytest.mark.usefixtures("pynative")
def test_blocks_reach_every_corner() -> None:
    mask = kept((8, 256, 6, 7), 0.8, 0)
    for y, x in ((0, 0), (0, 6), (5, 0), (5, 6)):
        # Only the block in the corner covers it, with probability gamma.
        gamma = 0.2 * 42 / 9 / (4 * 5)
        dropped = int((~mask[..., y, x]).sum())
        assert stats.binomtest(dropped, 8 * 256, gamma).pvalue > RARE


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pynative", "graph"])
def test_dropped_pixels_have_no_gradient(mode: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(mode)
    shape = (2, 4, 9, 9)
    rng = np.random.default_rng(0)
    x, upstream = (Tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
    drop = Drop()
    drop.set_train()
    mask = kept(shape, 0.7, 4)
    factor = mask / mask.mean()
    settings = scalars(0.7, 4)
    np.testing.assert_allclose(drop(x, *settings).asnumpy(), x.asnumpy() * factor, rtol=1e-5)
    gradient = ops.GradOperation(sens_param=True)(drop)(x, *settings, upstream).asnumpy()
    np.testing.assert_allclose(gradient, upstream.asnumpy() * factor, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("size", [(9, 9), (2, 2), (1, 1)])
def test_it_is_off_at_inference_and_with_keep_1(
    mode: str, size: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(mode)
    x = Tensor(np.random.default_rng(0).standard_normal((3, 41, *size)).astype(np.float32))
    drop = Drop()
    for training, keep in ((False, 0.3), (True, 1.0)):
        drop.set_train(training)
        np.testing.assert_array_equal(drop(x, *scalars(keep, 1)).asnumpy(), x.asnumpy())
    drop.set_train()
    assert (drop(x, *scalars(0.3, 1)).asnumpy() != x.asnumpy()).any()


@pytest.mark.usefixtures("pynative")
def test_half_precision_keeps_its_dtype_and_has_the_same_mask() -> None:
    shape = (2, 40, 40, 40)  # more pixels than float16 can count
    drop = Drop()
    drop.set_train()
    y = drop(Tensor(np.ones(shape, np.float16)), *scalars(0.9, 2)).asnumpy()
    mask = kept(shape, 0.9, 2)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, mask / mask.mean(), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
def test_a_map_that_is_dropped_completely_is_zero() -> None:
    keys = [key for key in range(30) if not kept((1, 1, 1, 1), 0.5, key).any()]
    assert 1 <= len(keys) <= 29  # fails by chance with probability 2 * 2^-30


@pytest.mark.usefixtures("pynative")
def test_a_mask_depends_on_key_and_layer() -> None:
    shape = (2, 8, 12, 12)
    first = kept(shape, 0.8, 3, number=5)
    np.testing.assert_array_equal(first, kept(shape, 0.8, 3, number=5))
    for other in (kept(shape, 0.8, 4, number=5), kept(shape, 0.8, 3, number=6)):
        assert 0.2 < (first != other).mean() < 0.4  # 2 * 0.8 * 0.2 = 0.32, less for overlaps


@pytest.mark.usefixtures("pynative")
def test_every_cell_of_a_detector_has_its_own_random_numbers() -> None:
    shape = DetectorShape("resnet10", 1, 4, 7, 0, None, 1, 1, (128, 128))
    net = Network(searched_archs.load("nasfpn"), shape, TF, drop_block=3)
    plain = Network(searched_archs.load("nasfpn"), shape, TF)
    assert [p.name for p in net.get_parameters()] == [p.name for p in plain.get_parameters()]
    offsets = sorted(
        cell.offset for _, cell in net.cells_and_names() if isinstance(cell, DropBlock)
    )
    assert len(offsets) == 7 * 7
    # Maps of 8 images with 256 channels of 80 x 80: no two cells share a hash.
    assert min(np.diff([*offsets, offsets[0] + 2**32])) > 2 * 8 * 256 + 80 * 80


@pytest.mark.usefixtures("pynative")
def test_masks_of_a_pyramid_differ_by_step_and_stack(fill: Callable[[nn.Cell], None]) -> None:
    # Dropped values are 0 after batch norm, and only those are.
    genome = Genome((MergingCell(4, "sum", (0, 1)), MergingCell(3, "sum", (0, 2))), (3, 4))
    net = Pyramid(genome, {3: 16, 4: 16}, 16, 2, TF, drop_block=3)
    fill(net)
    net.set_train()
    rng = np.random.default_rng(0)
    features = tuple(
        Tensor(rng.standard_normal((4, 16, side, side)).astype(np.float32)) for side in (24, 12)
    )
    masks = [
        (maps[0].asnumpy() != 0).reshape(4 * 16, 24 * 24)
        for key in (7, 8)
        for maps in net.outputs(features, *scalars(0.7, key))
    ]
    for a in range(4):
        assert 0.6 < masks[a].mean() < 0.8
        for b in range(a):
            # Nor may the masks of successive steps be equal up to a shift by a pixel or channel.
            for first, second in (
                (masks[a], masks[b]),
                (masks[a][:-1, :-1], masks[b][1:, 1:]),
                (masks[a][1:, 1:], masks[b][:-1, :-1]),
            ):
                assert 0.3 < (first != second).mean() < 0.5  # 2 * 0.7 * 0.3, or a little less
