"""The cost of a detector: small ones by hand, published ones, and laws for every genome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import searched_archs
from search_space import (
    DetectorShape,
    Genome,
    GenomeError,
    MergingCell,
    NASFPNSpace,
    detector_cost,
)
from search_space.cost.cost import peak_bytes
from search_space.cost.detector import detector_steps
from search_space.cost.steps import Step
from search_space.shape import Layers

RandomGenome = Callable[[np.random.Generator], Genome]

PAIR = Genome((MergingCell(3, "sum", (0, 1)), MergingCell(4, "sum", (0, 1))), (3, 4))
TINY = DetectorShape(
    backbone="resnet10",
    width=8,
    channels=16,
    stacks=2,
    head_convs=1,
    classes=3,
    anchors=2,
    image=(64, 128),
)


def test_a_tiny_detector_by_hand() -> None:
    # Kernels: group 0 has two 3x3 convolutions from 8 to 8 channels and a 1x1 shortcut. Group 1
    # goes from 8 to 16 channels, group 2 from 16 to 32; group 3 is not needed. Level 3 has 16
    # channels, so it needs no lateral.
    stem = 49 * 3 * 8
    groups = (9 * 8 * 8 * 2 + 8 * 8, 9 * 16 * (8 + 16) + 8 * 16, 9 * 32 * (16 + 32) + 16 * 32)
    lateral, cell, classes, boxes = 32 * 16, 9 * 16 * 16, 9 * 16 * 3 * 2, 9 * 16 * 4 * 2
    kernels = stem + sum(groups) + lateral + 2 * 2 * cell + 2 * cell + classes + boxes
    # A batch norm has two parameters per channel; each head has one norm per level.
    norms = 2 * (8 + 3 * (8 + 16 + 32) + 16 + 2 * 2 * 16 + 2 * 2 * 16)
    biases = 16 + 2 * 2 * 16 + 2 * 16 + 3 * 2 + 4 * 2
    # Pixels of levels 1 to 4: 2048, 512, 128, 32.
    macs = stem * 2048 + groups[0] * 512 + groups[1] * 128 + groups[2] * 32 + lateral * 32
    macs += (128 + 32) * (2 * cell + 2 * cell + classes + boxes)
    cost = detector_cost(PAIR, TINY)
    assert cost.parameters == kernels + norms + biases == 37_430
    assert cost.macs == macs == 5_762_048
    # The stem reads 3 x 64 x 128 and makes 8 x 32 x 64: the most of all steps.
    assert cost.peak_activation_bytes == 4 * (3 * 64 * 128 + 8 * 32 * 64)


def test_the_published_detector() -> None:
    # tensorflow/tpu MODEL_ZOO.md: 140.6 GMAC; its code has 60.06 to 60.08 M parameters.
    cost = detector_cost(searched_archs.load("nasfpn"), DetectorShape())
    assert cost.macs == pytest.approx(140.6e9, rel=0.005)
    assert cost.parameters == pytest.approx(60.1e6, rel=0.005)


@pytest.mark.parametrize(
    ("stacks", "channels", "parameters", "flops"),
    [(3, 48, 2.16e6, 1.52e9), (7, 64, 2.62e6, 1.96e9)],  # paper, table 1
)
def test_the_published_lite_detectors(
    stacks: int, channels: int, parameters: float, flops: float
) -> None:
    # The edges of the 15 cells are not published. Parameters do not depend on them. FLOPs
    # (twice the MACs) depend on the levels of the cells, so the published figure must be within
    # the range of random genomes.
    shape = DetectorShape(
        "mobilenetv2", 32, channels, stacks, image=(320, 320), layers=Layers(separable=True)
    )
    levels = (3, 4, 5, 6)
    space = NASFPNSpace(levels, intermediate_cells=11, intermediate_levels=levels)
    rng = np.random.default_rng(0)
    costs = [detector_cost(space.sample(rng), shape) for _ in range(30)]
    # By hand, for c channels: 3 laterals, the cells, and for each head 4 convolutions with norms
    # on 4 levels and the predicting convolution.
    c, cell = channels, 9 * channels + channels**2 + channels
    heads = [4 * cell + 4 * 4 * 2 * c + (9 * c + c * n + n) for n in (9 * 91, 9 * 4)]
    backbone = 1_811_712 + 320 * 256 + 2 * 256
    pyramid = (32 + 96 + 256) * c + 3 * 3 * c + stacks * 15 * (cell + 2 * c)
    assert {cost.parameters for cost in costs} == {backbone + pyramid + sum(heads)}
    assert costs[0].parameters == pytest.approx(parameters, rel=0.04)
    macs = [cost.macs for cost in costs]
    assert 2 * min(macs) < flops < 2 * max(macs)


def test_a_separable_cell_by_hand() -> None:
    # A cell of 16 channels: 9 weights for each channel, then 16 * 16 weights and a bias. Batch
    # norm has two parameters per channel. Level 3 has 8 x 16 pixels.
    shape = replace(TINY, layers=Layers(separable=True))
    steps = {s.name: s for s in detector_steps(PAIR, shape)}
    depthwise, pointwise = steps["stack0.cell0.depthwise"], steps["stack0.cell0"]
    assert (depthwise.parameters, depthwise.macs) == (9 * 16, 9 * 16 * 8 * 16)
    assert (pointwise.parameters, pointwise.macs) == (16 * 16 + 16 + 32, 16 * 16 * 8 * 16)
    assert pointwise.reads == ("stack0.cell0.depthwise",)
    # Laterals and backbone are not split. Both parts of a head are shared by all levels.
    assert "lateral.p4.depthwise" not in steps
    assert steps["box.p3.predict.depthwise"].parameters == 9 * 16
    assert steps["box.p4.predict.depthwise"].parameters == 0
    assert steps["box.p4.predict"].parameters == 0


def test_one_stack_at_640() -> None:
    # Cells on levels 4, 4, 3, 4, 5, 7, 6: 3 * 40^2 + 80^2 + 20^2 + 5^2 + 10^2 = 11725.
    steps = detector_steps(searched_archs.load("nasfpn"), DetectorShape())
    first = [step for step in steps if step.name.startswith("stack0.")]
    assert sum(step.macs for step in first) == 11_725 * 9 * 256 * 256
    assert sum(step.parameters for step in first) == 7 * (9 * 256 * 256 + 256 + 512)


def test_weights_identities_and_leftovers() -> None:
    # Node 2 is a leftover of the output of level 4: an identity with a sum, still without a
    # convolution.
    cells = (
        MergingCell(4, "sum", (0, 1)),
        MergingCell(3, "weighted", (0, 1)),
        MergingCell(4, "identity", (3,)),
    )
    steps = {s.name: s for s in detector_steps(Genome(cells, (3, 4)), TINY)}
    assert steps["stack0.cell1.merge"].parameters == 2
    assert "stack0.cell2" not in steps
    assert steps["stack0.cell2.merge"].reads == ("stack0.cell2.in0", "stack0.cell0")
    assert steps["stack0.cell2.in0"].reads == ("stack0.cell1",)
    assert steps["stack1.cell0.merge"].reads == ("stack1.cell0.in0", "stack0.cell2.merge")


def test_a_pass_through_output_costs_nothing() -> None:
    steps = {s.name: s for s in detector_steps(searched_archs.load("fpn"), TINY)}
    assert steps["class.p7.conv0"].reads == ("lateral.p7",)


def test_levels_above_the_backbone_are_pools() -> None:
    # Levels 4 and 6 differ by two: one 4x4 pool of level 4's lateral, and no group 3.
    cells = tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 6))
    steps = {s.name: s for s in detector_steps(Genome(cells, (3, 4, 6)), TINY)}
    pool = steps["lateral.p6"]
    assert (pool.kind, pool.reads, pool.height, pool.width) == ("pool", ("lateral.p4",), 1, 2)
    assert not any(name.startswith("group3") for name in steps)


def test_steps_of_random_genomes_fit_together(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    # The sides of the image are rounded up at every level.
    shape = DetectorShape("resnet50", 4, 8, 2, 2, 12, 5, 3, (200, 333))
    count = 0
    while count < 100:
        genome = random_genome(rng)
        if not 2 <= genome.levels[0] <= 5:
            continue
        count += 1
        steps = detector_steps(genome, shape)
        maps: dict[str, Step] = {}
        for step in steps:
            assert step.name not in maps
            sources = [maps[name] for name in step.reads]
            sizes = {(s.channels, s.height, s.width) for s in sources}
            if step.kind == "merge":
                assert sizes == {(step.channels, step.height, step.width)}
            else:
                assert len(sources) == (step.kind != "image")
            maps[step.name] = step
        kept = [step for step in steps if step.kept]
        assert len(kept) == 2 * len(genome.levels)
        cells = [step for step in steps if step.name.startswith("stack") and step.macs]
        assert len(cells) == 2 * sum(cell.op != "identity" for cell in genome.cells)
        for step in kept:
            level = int(step.name.split(".")[1][1:])
            assert (step.height, step.width) == (-(-200 // 2**level), -(-333 // 2**level))
        assert peak_bytes(steps) == _peak_by_definition(steps)


def _peak_by_definition(steps: tuple[Step, ...]) -> int:
    """Return the peak by adding each map to every step of its life."""
    alive = [0] * len(steps)
    for first, step in enumerate(steps):
        readers = [i for i, other in enumerate(steps) if step.name in other.reads]
        last = len(steps) - 1 if step.kept else max(readers, default=first)
        for index in range(first, last + 1):
            alive[index] += 4 * step.channels * step.height * step.width
    return max(alive)


def test_peak_by_hand() -> None:
    steps = (
        Step("a", "image", (), 1, 1, 10),  # 10 alive
        Step("b", "conv", ("a",), 1, 1, 20),  # 30
        Step("c", "conv", ("a",), 1, 1, 5),  # 35, the last use of a
        Step("d", "conv", ("c",), 1, 1, 2, kept=True),  # 27
        Step("unread", "conv", ("b",), 1, 1, 14),  # b, d, unread: 36
        Step("e", "merge", ("b", "b"), 1, 1, 15),  # b, d, e: 37
    )
    assert peak_bytes(steps) == 4 * 37


def test_head_channels_may_differ() -> None:
    wide = replace(TINY, head_channels=20)
    delta = detector_cost(PAIR, wide).parameters - detector_cost(PAIR, TINY).parameters
    # Two heads with 4 channels more: kernel and bias, norms on two levels, and the kernels of
    # the predictions.
    assert delta == 4 * (2 * (9 * 16 + 1 + 2 * 2) + 9 * (3 + 4) * 2)


def test_each_stack_costs_the_same() -> None:
    genome = searched_archs.load("bifpn")
    costs = [detector_cost(genome, DetectorShape(stacks=n)) for n in (1, 2, 3)]
    for name in ("parameters", "macs"):
        one, two, three = (getattr(cost, name) for cost in costs)
        assert three - two == two - one > 0


@pytest.mark.parametrize("finest", [1, 6])
def test_the_finest_level_must_be_a_level_of_the_backbone(finest: int) -> None:
    levels = (finest, 7)
    genome = Genome(tuple(MergingCell(level, "sum", (0, 1)) for level in levels), levels)
    with pytest.raises(GenomeError, match="2 to 5") as caught:
        detector_cost(genome, TINY)
    assert caught.value.path == "levels[0]"
