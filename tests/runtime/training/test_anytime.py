"""Deep supervision: the head after every stack, and networks cut after some of the stacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mindspore
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray

import searched_archs
from nasfpn_runtime import build_network
from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.recipe.recipe import load_recipe
from search_space import Genome, MergingCell

Fill = Callable[[nn.Cell], None]
Arrays = dict[str, NDArray[np.float32]]
Outputs = tuple[tuple[Tensor, Tensor], ...]

STACKS = 3
RECIPE = load_recipe(
    "shapes-proxy",
    [
        "model.backbone=resnet10",
        "model.width=2",
        "model.channels=4",
        "model.head_convs=1",
        f"model.stacks={STACKS}",
    ],
)
# Two cells, so that compilation is fast.
PAIR = Genome((MergingCell(4, "sum", (0, 1)), MergingCell(3, "attention", (0, 2))), (3, 4))
UNUSED = (Tensor(1.0, mindspore.float32), Tensor(0, mindspore.int32))


def pictures() -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal((2, 3, 128, 128)).astype(np.float32))


def values(net: nn.Cell) -> Arrays:
    return {p.name: p.asnumpy().copy() for p in net.get_parameters()}


class StackOutputs(nn.Cell):
    """The outputs of every stack, as a cell that can be compiled."""

    def __init__(self, net: Network) -> None:
        super().__init__(auto_prefix=False)
        self.net = net

    def construct(self, images: Tensor, keep: Tensor, key: Tensor) -> Outputs:
        return self.net.outputs(images, keep, key)


class Losses(nn.Cell):
    """The sum of squares of the outputs after some of the stacks."""

    def __init__(self, net: Network, stacks: tuple[int, ...]) -> None:
        super().__init__(auto_prefix=False)
        self.net, self.stacks = net, stacks

    def construct(self, images: Tensor, keep: Tensor, key: Tensor) -> Tensor:
        outputs = self.net.outputs(images, keep, key)
        total = Tensor(0.0, mindspore.float32)
        for stack in self.stacks:
            logits, deltas = outputs[stack]
            total = total + (logits * logits).sum() + (deltas * deltas).sum()
        return total


class Gradients(nn.Cell):
    """The gradients of :class:`Losses` by all weights."""

    def __init__(self, losses: Losses) -> None:
        super().__init__(auto_prefix=False)
        self.losses = losses
        self.weights = ParameterTuple(losses.trainable_params())
        self.gradient = ops.GradOperation(get_by_list=True)

    def construct(self, images: Tensor, keep: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        return self.gradient(self.losses, self.weights)(images, keep, key)

    def named(self, keep: float = 1.0, key: int = 0) -> Arrays:
        settings = Tensor(keep, mindspore.float32), Tensor(key, mindspore.int32)
        gradients = self(pictures(), *settings)
        return {w.name: g.asnumpy() for w, g in zip(self.weights, gradients, strict=True)}


def gradients(stacks: tuple[int, ...], fill: Fill) -> Arrays:
    net = build_network(RECIPE, PAIR, 2, supervised=True)
    fill(net)
    net.set_train()
    return Gradients(Losses(net, stacks)).named()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("genome", "mode"),
    [
        (searched_archs.load("nasfpn"), "pynative"),
        (PAIR, "graph"),
    ],
    ids=["nasfpn", "compiled"],
)
def test_a_network_cut_after_a_stack_has_the_outputs_of_that_stack(
    genome: Genome, mode: str, fill: Fill, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(mode)
    complete = build_network(RECIPE, genome, 2, supervised=True, drop_block=3)
    fill(complete)
    complete.set_train(False)
    outputs = StackOutputs(complete)(pictures(), *UNUSED)
    assert len(outputs) == STACKS
    for stacks, expected in enumerate(outputs, 1):
        cut = build_network(RECIPE, genome, 2, stacks=stacks)
        checkpoint.restore(cut, values(complete), tmp_path)
        cut.set_train(False)
        for ours, theirs in zip(cut(pictures()), expected, strict=True):
            np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())
    assert not np.array_equal(outputs[0][0].asnumpy(), outputs[1][0].asnumpy())


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
def test_without_supervision_only_the_last_stack_has_outputs(fill: Fill) -> None:
    net = build_network(RECIPE, categories=2)
    fill(net)
    net.set_train(False)
    ((logits, deltas),) = net.outputs(pictures(), *UNUSED)
    for ours, theirs in zip((logits, deltas), net(pictures()), strict=True):
        np.testing.assert_array_equal(ours.asnumpy(), theirs.asnumpy())


@pytest.mark.parametrize("stacks", [0, STACKS + 1, -1])
def test_a_network_can_only_be_cut_after_one_of_its_stacks(stacks: int) -> None:
    with pytest.raises(RecipeError, match=rf"1 to {STACKS}\b.*shapes.*got {stacks}\b"):
        build_network(RECIPE, categories=2, stacks=stacks)


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
def test_gradients_reach_every_stack_and_the_head_gets_those_of_all(fill: Fill) -> None:
    alone = [gradients((stack,), fill) for stack in range(STACKS)]
    together = gradients(tuple(range(STACKS)), fill)
    for name, total in together.items():
        if name.endswith(("conv.bias", "convs.0.bias")):
            continue  # a bias before batch norm has no effect
        parts = [by_name[name] for by_name in alone]
        np.testing.assert_allclose(total, sum(parts), rtol=1e-3, atol=1e-4 * np.abs(total).max())
        first = int(name.split(".")[2]) if name.startswith("pyramid.stacks") else 0
        for stack, part in enumerate(parts):
            assert part.any() == (stack >= first), (name, stack)


@pytest.mark.slow
def test_running_statistics_of_the_head_are_updated_by_the_stacks_in_order(
    fill: Fill, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("pynative")
    net = build_network(RECIPE, PAIR, 2, supervised=True)
    fill(net)
    net.set_train()
    norm = net.head.classes.norms[0][0]  # of the finest level
    old = RECIPE.model.resolved_dialect().norm_momentum
    mean = norm.moving_mean.asnumpy().copy()
    for maps in net.pyramid.outputs(net.backbone(pictures()), *UNUSED):
        of_batch = net.head.classes.convs[0](maps[0]).asnumpy().mean((0, 2, 3))
        mean = old * mean + (1 - old) * of_batch
    request.getfixturevalue("graph")
    Losses(net, tuple(range(STACKS))).set_train()(pictures(), *UNUSED)
    np.testing.assert_allclose(norm.moving_mean.asnumpy(), mean, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_compiled_training_pass_with_drop_block_equals_the_interpreted_one(
    fill: Fill, request: pytest.FixtureRequest
) -> None:
    results = []
    for mode in ("pynative", "graph"):
        request.getfixturevalue(mode)
        net = build_network(RECIPE, PAIR, 2, stacks=1, drop_block=3)
        fill(net)
        net.set_train()
        step = Gradients(Losses(net, (0,)))
        results.append([step.named(0.8, key) for key in (5, 5, 6)])
    name = "pyramid.stacks.0.cells_.0.out.conv.weight"
    for compiled in results:
        again, other = compiled[1:]
        np.testing.assert_array_equal(compiled[0][name], again[name])
        assert not np.allclose(compiled[0][name], other[name], rtol=0.01)
    for ours, theirs in zip(*results, strict=True):
        scale = np.abs(theirs[name]).max()
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-2, atol=1e-3 * scale)
