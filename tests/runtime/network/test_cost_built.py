"""``search_space.cost.cost`` against counts on the detector while it is built and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from mindspore import Tensor, nn

import searched_archs
from nasfpn_runtime.network.layers import BatchNorm
from nasfpn_runtime.network.merge import Attention, MergingCell, Sum, WeightedSum
from nasfpn_runtime.network.mobilenet import InvertedResidual
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.resample import Upsample
from nasfpn_runtime.network.resnet import ResidualBlock
from nasfpn_runtime.recipe.dialects import TF
from search_space import DetectorShape, Genome
from search_space.cost.cost import Cost, detector_cost
from search_space.cost.detector import detector_steps
from search_space.shape import BACKBONES, Layers

RandomGenome = Callable[[np.random.Generator], Genome]

FLOAT = 4  # bytes
pytestmark = pytest.mark.usefixtures("pynative")


class Trace:
    """A record of a forward pass: the maps in the order they are made, what each reads, and MACs.

    Convolutions, pools and upsamplings make a map. Everything else is elementwise. The result of
    an elementwise operation stands for the maps that it was computed from. If it stands for
    several maps, or for the merge of a map with itself, it becomes a map of its own as soon as it
    is read or leaves its block.
    """

    MERGE = -1  # marks a tensor that is a merge, so that it is not identical to one of its maps

    def __init__(self, net: Network) -> None:
        head = net.head
        towers = (head.classes, head.boxes) if head.shared else (*head.classes, *head.boxes)
        self.results = {id(getattr(t.predict, "pointwise", t.predict)) for t in towers}
        self.sizes: list[int] = []
        self.reads: list[set[int]] = []
        self.kept: set[int] = set()
        self.macs = 0
        self._stands_for: dict[int, frozenset[int]] = {}
        self._tensors: list[Tensor] = []  # keeps ids from being reused

    def add(self, tensor: Tensor, reads: set[int]) -> int:
        """Record a new map of the shape of ``tensor``."""
        self.sizes.append(FLOAT * tensor.size)
        self.reads.append(reads)
        self._mark(tensor, frozenset({len(self.sizes) - 1}))
        return len(self.sizes) - 1

    def read(self, tensor: Tensor) -> int:
        """Return the map of a tensor; a sum that has none yet gets one."""
        sources = self.sources(tensor)
        if len(sources) == 1:
            return next(iter(sources))
        return self.add(tensor, set(sources - {self.MERGE}))

    def sources(self, *tensors: Tensor) -> frozenset[int]:
        return frozenset().union(*(self._stands_for.get(id(t), frozenset()) for t in tensors))

    def elementwise(self, result: Tensor, tensors: tuple[Tensor, ...]) -> None:
        merge = len(self.sources(*tensors)) == 1 and len(tensors) > 1
        self._mark(result, self.sources(*tensors) | ({self.MERGE} if merge else set()))

    def made(self, cell: nn.Cell, x: Tensor, y: Tensor) -> None:
        number = self.add(y, {self.read(x)})
        if isinstance(cell, nn.Conv2d):
            out_channels, in_channels, kernel_height, kernel_width = cell.weight.shape
            assert (x.shape[1], y.shape[1]) == (in_channels * cell.group, out_channels)
            self.macs += in_channels * kernel_height * kernel_width * y.size
        if id(cell) in self.results:
            self.kept.add(number)

    def _mark(self, tensor: Tensor, sources: frozenset[int]) -> None:
        self._tensors.append(tensor)
        self._stands_for[id(tensor)] = sources

    def peak(self) -> int:
        """Return the largest total size of the live maps at any time a map is made."""
        end = len(self.sizes)
        last = [end if number in self.kept else number for number in range(end)]
        for reader, numbers in enumerate(self.reads):
            for number in numbers:
                last[number] = max(last[number], reader)
        return max(
            sum(self.sizes[number] for number in range(now + 1) if last[number] >= now)
            for now in range(end)
        )


@contextmanager
def tracing(net: Network) -> Iterator[Trace]:
    """Record the forward pass of the detector that runs in the block."""
    trace = Trace(net)

    def make(original: Any) -> Any:
        def construct(self: nn.Cell, x: Tensor) -> Tensor:
            y = original(self, x)
            trace.made(self, x, y)
            return y

        return construct

    def elementwise(original: Any) -> Any:
        def construct(*args: Any) -> Tensor:
            y = original(*args)
            tensors = args[1] if isinstance(args[1], tuple) else args
            trace.elementwise(y, tuple(t for t in tensors if isinstance(t, Tensor)))
            return y

        return construct

    def block(original: Any) -> Any:
        def construct(*args: Any) -> Tensor:
            y = original(*args)
            trace.read(y)
            return y

        return construct

    wrappers: dict[Any, tuple[Any, ...]] = {
        make: (nn.Conv2d, nn.MaxPool2d, Upsample),
        elementwise: (BatchNorm, nn.ReLU, nn.ReLU6, nn.Identity, Sum, Attention, WeightedSum),
        block: (ResidualBlock, InvertedResidual, MergingCell),
    }
    with ExitStack() as stack:
        for wrap, classes in wrappers.items():
            for cls in classes:
                stack.enter_context(patch.object(cls, "construct", wrap(cls.construct)))
        stack.enter_context(patch.object(Tensor, "__add__", elementwise(Tensor.__add__)))
        yield trace


def check(genome: Genome, shape: DetectorShape) -> None:
    """Build and run a detector; compare its cost and each of its maps with the predictions."""
    net = Network(genome, shape, replace(TF, layers=shape.layers))
    net.set_train(False)
    picture = Tensor(np.zeros((1, 3, *shape.image), np.float32))
    with tracing(net) as trace:
        trace.add(picture, set())
        net(picture)
    parameters = sum(p.size for p in net.trainable_params())
    built = Cost(parameters, trace.macs, trace.peak())
    assert built == detector_cost(genome, shape), (genome, shape)
    steps = detector_steps(genome, shape)
    number = {step.name: i for i, step in enumerate(steps)}
    assert trace.sizes == [step.bytes for step in steps]
    assert trace.reads == [{number[name] for name in step.reads} for step in steps]


def random_shape(rng: np.random.Generator, genome: Genome) -> DetectorShape:
    """Return small sizes; channels sometimes equal the backbone's, and the sides differ."""
    stride = genome.levels[-1].stride
    least = -(-32 // stride)
    return DetectorShape(
        backbone=str(rng.choice(BACKBONES, p=[0.89, 0.04, 0, 0.04, 0, 0.03])),
        width=int(rng.choice([1, 2, 4])),
        channels=int(rng.choice([4, 8, 16])),
        stacks=int(rng.integers(1, 3)),
        head_convs=int(rng.integers(0, 2)),
        head_channels=int(rng.choice([4, 24])),
        classes=int(rng.integers(1, 9)),
        anchors=int(rng.integers(1, 10)),
        image=(stride * int(rng.integers(least, least + 2)), stride * least),
        layers=Layers(*rng.choice([True, False], len(fields(Layers))).tolist()),
    )


@pytest.mark.slow
def test_50_random_detectors_cost_what_is_predicted(random_genome: RandomGenome) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        genome = random_genome(rng)
        check(genome, random_shape(rng, genome))


@pytest.mark.slow
@pytest.mark.parametrize("name", searched_archs.names())
def test_shipped_architectures(name: str) -> None:
    genome = searched_archs.load(name)
    shape = DetectorShape("resnet10", 2, 16, 2, 1, None, 3, 2, (128, 256))
    check(genome, shape)
