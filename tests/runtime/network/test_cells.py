"""Every module against numpy: resampling, merging, complete pyramids, ResNets and heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

import reference
import searched_archs
from nasfpn_runtime.network.head import RetinaHead
from nasfpn_runtime.network.layers import norm
from nasfpn_runtime.network.merge import Attention, MergingCell, Sum, WeightedSum
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.pyramid import Pyramid
from nasfpn_runtime.network.resample import resample
from nasfpn_runtime.network.resnet import ResNet
from nasfpn_runtime.pictures.anchors import anchor_grid
from nasfpn_runtime.recipe.dialects import DIALECTS, MMDET, TF
from search_space import DetectorShape, Genome, Level
from search_space import MergingCell as Cell
from search_space.shape import RESNETS
from search_space.wiring import WiredCell, WiredInput, wire

Fill = Callable[[nn.Cell], None]
RandomGenome = Callable[[np.random.Generator], Genome]
Array = NDArray[np.float64]

CLOSE = 1e-4  # times the spread: float32 against float64 over a few dozen layers


def tensor(values: Any) -> Tensor:
    return Tensor(np.asarray(values, np.float32))


def arrays(net: nn.Cell) -> dict[str, Array]:
    return {p.name: p.asnumpy().astype(np.float64) for p in net.get_parameters()}


def assert_close(ours: Tensor, expected: Array) -> None:
    assert ours.shape == expected.shape
    # A map of one pixel has no standard deviation; its mean absolute value serves as spread.
    spread = max(float(expected.std()), float(np.abs(expected).mean()))
    assert np.abs(ours.asnumpy() - expected).max() / spread < CLOSE


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("levels", [(3, 4), (3, 5), (2, 5), (4, 3), (6, 3), (5, 5)])
@pytest.mark.parametrize("size", [(8, 16), (5, 7), (1, 2), (9, 3)])
def test_resampling_is_the_references(levels: tuple[int, int], size: tuple[int, int]) -> None:
    # All values are negative, so that zero padding of a window would show.
    x = -1 - np.random.default_rng(0).random((2, 3, *size))
    ours = resample(*levels)(tensor(x)).asnumpy()
    np.testing.assert_array_equal(ours, reference.resample(x, *levels).astype(np.float32))


def test_the_reference_resamples_as_by_hand() -> None:
    row = np.array([[[[1.0, 3.0, 2.0, 7.0, -5.0]]]])
    assert reference.resample(row, 4, 3)[0, 0, 1].tolist() == [1, 1, 3, 3, 2, 2, 7, 7, -5, -5]
    assert reference.resample(row, 3, 4)[0, 0, 0].tolist() == [3, 7, -5]
    # For a window of 4 three are missing: one on the left, two on the right.
    assert reference.resample(row, 3, 5)[0, 0, 0].tolist() == [3, 7]


@pytest.mark.usefixtures("pynative")
def test_ops_by_hand() -> None:
    a, b = tensor([[[[0.0, np.log(3.0)]]]]), tensor([[[[4.0, 8.0]]]])
    np.testing.assert_allclose(Sum()((a, b)).asnumpy()[0, 0, 0], [4, 8 + np.log(3)], rtol=1e-6)
    # sigmoid(max(0, ln 3)) = 3/4; with the other gate, sigmoid(8).
    gated = Attention(0, "max")((a, b)).asnumpy()[0, 0, 0]
    np.testing.assert_allclose(gated, [3, 6 + np.log(3)], rtol=1e-5)
    other = Attention(1, "max")((a, b)).asnumpy()[0, 0, 0]
    np.testing.assert_allclose(other, [4, 8 + np.log(3) / (1 + np.exp(-8))], rtol=1e-5)
    # sigmoid of the mean of 4 and 8.
    mean = Attention(1, "mean")((a, b)).asnumpy()[0, 0, 0]
    np.testing.assert_allclose(mean, [4, 8 + np.log(3) / (1 + np.exp(-6))], rtol=1e-5)


@pytest.mark.usefixtures("pynative")
def test_a_weighted_sum_clips_and_normalises_its_weights() -> None:
    cell = WeightedSum(3)
    maps = tuple(tensor(np.full((1, 1, 2, 2), value)) for value in (1.0, 10.0, 100.0))
    # Initial weights are equal: 111 / 3, apart from 1e-4 in the denominator.
    np.testing.assert_allclose(cell(maps).asnumpy(), 111 / 3.0001, rtol=1e-6)
    cell.weights.set_data(tensor([2.0, -5.0, 6.0]))
    np.testing.assert_allclose(cell(maps).asnumpy(), 602 / 8.0001, rtol=1e-6)


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize(("inputs", "gate"), [((0, 2), 1), ((2, 0), 0), ((1, 4), 0), ((4, 1), 0)])
def test_the_coarser_input_is_the_gate_and_the_first_of_equals(
    inputs: tuple[int, int], gate: int
) -> None:
    cells = tuple(Cell(level, "sum", (0, 1)) for level in (3, 4, 5))  # nodes 3, 4 and 5
    genome = Genome((*cells, Cell(4, "attention", inputs)), (3, 4, 5))
    step = wire(genome).cells[-1]
    assert MergingCell(step, 2, TF).merge.gate == gate
    assert MergingCell(step, 2, MMDET).merge.gate == 1 - gate  # the finer, the second of equals


@pytest.mark.usefixtures("pynative")
def test_leftovers_are_added_before_the_relu(fill: Fill) -> None:
    # The op gives -1 and the leftover is 3: relu(-1 + 3) = 2, but relu(-1) + 3 = 3.
    four = Level(4)
    sources = (WiredInput(0, four, "term"), WiredInput(1, four, "term"))
    cell = MergingCell(WiredCell(3, four, "sum", sources, leftovers=(2,), output=True), 1, TF)
    fill(cell)
    cell.set_train(False)
    maps = tuple(tensor(np.full((1, 1, 3, 3), value)) for value in (1.0, -2.0, 3.0))
    expected = reference.conv_norm(arrays(cell), "out", np.full((1, 1, 3, 3), 2.0), TF.norm_epsilon)
    assert_close(cell(maps), expected)


@pytest.mark.usefixtures("pynative")
def test_an_identity_is_its_input_with_leftovers_and_nothing_else() -> None:
    four = Level(4)
    cell = MergingCell(
        WiredCell(2, four, "identity", (WiredInput(0, four, "term"),), (1,), True), 1, TF
    )
    maps = tuple(tensor(np.full((1, 1, 2, 2), value)) for value in (-1.0, -2.0))
    assert not list(cell.get_parameters())
    np.testing.assert_array_equal(cell(maps).asnumpy(), -3.0)


def check_pyramid(genome: Genome, fill: Fill, seed: int) -> None:
    """Compare two stacks of 4 channels, for an image of 128 x 256, with the reference."""
    rng = np.random.default_rng(seed)
    # Level 4 has the pyramid's channels already, so it has no lateral.
    in_channels = {level: 4 if level == 4 else 6 for level in genome.levels if level <= 5}
    net = Pyramid(genome, in_channels, 4, 2, TF)
    fill(net)
    net.set_train(False)
    features = {
        int(level): rng.standard_normal((2, channels, 128 >> level, 256 >> level))
        for level, channels in in_channels.items()
    }
    outputs = net(*map(tensor, features.values()))
    expected = reference.pyramid(genome, features, arrays(net), 2, TF.norm_epsilon)
    for ours, theirs in zip(outputs, expected, strict=True):
        assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
def test_random_pyramids_compute_what_their_genomes_say(
    random_genome: RandomGenome, fill: Fill
) -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        check_pyramid(random_genome(rng), fill, seed)


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("name", searched_archs.names())
def test_shipped_pyramids_compute_what_their_genomes_say(name: str, fill: Fill) -> None:
    check_pyramid(searched_archs.load(name), fill, 0)


@pytest.mark.parametrize("supplied", [(4, 5), (2,), ()])
def test_a_backbone_without_the_finest_levels_is_refused(supplied: tuple[int, ...]) -> None:
    genome = searched_archs.load("nasfpn")
    with pytest.raises(ValueError, match=r"backbone.*\(3, 4, 5, 6, 7\), got "):
        Pyramid(genome, dict.fromkeys(supplied, 8), 4, 1, TF)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dialect"),
    [("nasfpn", "tf"), ("bifpn", "tf"), ("nasfpn", "mmdet"), ("nasfpn", "modelzoo")],
)
def test_a_compiled_detector_gives_the_same_as_op_by_op(
    name: str, dialect: str, fill: Fill, request: pytest.FixtureRequest
) -> None:
    shape = DetectorShape("resnet10", 4, 4, 1, 1, None, 3, 2, (128, 128))
    picture = np.random.default_rng(0).standard_normal((2, 3, 128, 128))
    outputs = []
    for mode in ("pynative", "graph"):
        request.getfixturevalue(mode)
        net = Network(searched_archs.load(name), shape, DIALECTS[dialect])
        fill(net)
        net.set_train(False)
        outputs.append([output.asnumpy() for output in net(tensor(picture))])
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.std())


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("name", ["resnet10", "resnet18", "resnet50"])
def test_resnets_compute_what_the_paper_says(name: str, fill: Fill) -> None:
    net = ResNet(name, 4, (2, 3, 4, 5), TF)
    fill(net)
    net.set_train(False)
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 64))
    expected = reference.resnet(image, RESNETS[name].blocks, arrays(net), TF.norm_epsilon)
    for ours, theirs in zip(net(tensor(image)), expected, strict=True):
        assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("levels", [(2, 3, 4, 5), (3, 4), (2,)])
def test_maps_and_channels_by_level(name: str, levels: tuple[int, ...]) -> None:
    net = ResNet(name, 1, levels, TF)
    net.set_train(False)
    maps = net(tensor(np.zeros((1, 3, 64, 32))))
    widen = 4 if RESNETS[name].bottleneck else 1
    channels = {level: widen << (level - 2) for level in levels}
    assert net.channels == channels
    shapes = [(1, channels[level], 64 >> level, 32 >> level) for level in levels]
    assert [m.shape for m in maps] == shapes
    assert len(net.groups) == max(levels) - 1  # coarser groups are not built


@pytest.mark.usefixtures("pynative")
def test_outputs_are_in_the_order_of_the_anchors() -> None:
    # The maps hold the centre and stride of every pixel. The prediction copies them, and its
    # bias is the index of the anchor.
    levels, image, ratios = (3, 5), (64, 96), (1.0, 4.0)
    shape = DetectorShape("resnet10", 1, 3, 1, 0, None, 2, len(ratios), image)
    head = RetinaHead(len(levels), shape, TF)
    for tower, outputs in ((head.classes, 2), (head.boxes, 4)):
        kernel = np.zeros((len(ratios), outputs, 3, 3, 3))
        bias = np.zeros((len(ratios), outputs))
        for output in range(min(3, outputs)):
            kernel[:, output, output, 1, 1] = 1
        bias[:, -1] = np.arange(len(ratios))
        tower.predict.weight.set_data(tensor(kernel.reshape(-1, 3, 3, 3)))
        tower.predict.bias.set_data(tensor(bias.ravel()))
    maps = []
    for level in levels:
        y, x = np.mgrid[: image[0] >> level, : image[1] >> level] * 2.0**level + 2.0 ** (level - 1)
        maps.append(tensor([[x, y, np.full_like(x, 2.0**level)]]))
    logits, deltas = (output.asnumpy()[0] for output in head(tuple(maps)))
    anchors = anchor_grid(levels, image, scale=2.0, octaves=1, ratios=ratios)
    sides = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(deltas[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2, atol=1e-4)
    np.testing.assert_allclose(deltas[:, 2] * 2, np.sqrt(sides.prod(axis=1)), rtol=1e-6)
    ratio = np.array(ratios)[deltas[:, 3].astype(int)]
    np.testing.assert_allclose(ratio, sides[:, 0] / sides[:, 1], rtol=1e-6)
    # Two logits: the centre's x, and its y plus the anchor's index.
    np.testing.assert_array_equal(logits[:, 0], deltas[:, 0])
    np.testing.assert_array_equal(logits[:, 1], deltas[:, 1] + deltas[:, 3])


@pytest.mark.usefixtures("pynative")
def test_momentum_is_the_fraction_of_old_statistics() -> None:
    bn = norm(1, epsilon=1e-4, momentum=0.997)
    bn.set_train(True)
    bn(tensor([[[[1.0, 3.0]]]]))
    # Mean 2; MindSpore keeps the unbiased variance, 2 for two values.
    np.testing.assert_allclose(bn.moving_mean.asnumpy(), 0.003 * 2, rtol=1e-4)
    np.testing.assert_allclose(bn.moving_variance.asnumpy(), 0.997 + 0.003 * 2, rtol=1e-4)
