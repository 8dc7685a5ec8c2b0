"""One training step: loss, gradients and update as compiled graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops

from nasfpn_runtime.cluster.cards import ALONE, Cards
from nasfpn_runtime.network.checkpoint import AVERAGE
from nasfpn_runtime.network.dropblock import DropBlock
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.normalise import Normalise
from nasfpn_runtime.recipe.settings import Training

# Which parameters weight decay pulls towards 0.
DECAYS: dict[str, Callable[[Parameter], bool]] = {
    "kernels": lambda parameter: len(parameter.shape) == 4,
    "no_norm": lambda parameter: not parameter.name.endswith(("gamma", "beta")),
    "all": lambda parameter: True,
}
STATISTICS = ("moving_mean", "moving_variance")
SCALE_WINDOW = 1000  # finite updates after which the loss scale doubles (model zoo's default)


class DetectorWithLoss(nn.Cell):
    """``Inputs`` to their loss, the mean over the supervised stacks."""

    def __init__(self, detector: Network, loss: DetectionLoss) -> None:
        super().__init__(auto_prefix=False)
        self.normalise, self.detector, self.loss = Normalise(), detector, loss

    def construct(
        self,
        images: Tensor,
        sizes: Tensor,
        labels: Tensor,
        deltas: Tensor,
        normaliser: Tensor,
        keep: Tensor,
        key: Tensor,
    ) -> Tensor:
        total = Tensor(0.0, mindspore.float32)
        outputs = self.detector.outputs(self.normalise(images, sizes), keep, key)
        for logits, offsets in outputs:
            total = total + self.loss(
                logits.astype(mindspore.float32),
                offsets.astype(mindspore.float32),
                labels,
                deltas,
                normaliser,
            )
        return total / len(outputs)


class BackwardPass(nn.Cell):
    """``Inputs`` to its loss and the gradients of ``loss * scale``."""

    def __init__(self, network: nn.Cell, weights: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.network.set_grad()
        self.weights = weights
        self.gradient = ops.GradOperation(get_by_list=True, sens_param=True)

    def construct(self, scale: Tensor, *part: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = self.network(*part)
        return loss, self.gradient(self.network, self.weights)(*part, scale.reshape(loss.shape))


class WeightUpdate(nn.Cell):
    """Gradients of all parts to new weights: reduce, unscale, clip, momentum, average.

    Returns whether the gradients were finite; where they are scaled and were not, all stays
    as it was but for the scale, which is halved.
    """

    def __init__(
        self, network: nn.Cell, training: Training, rates: Sequence[float], cards: Cards
    ) -> None:
        super().__init__(auto_prefix=False)
        decays = DECAYS[training.decay]
        groups = [
            {"params": [p for p in network.trainable_params() if decays(p) == decayed]}
            | {"weight_decay": training.weight_decay if decayed else 0.0}
            for decayed in (True, False)
        ]
        self.optimizer = nn.Momentum(
            [group for group in groups if group["params"]],
            learning_rate=list(rates),
            momentum=training.momentum,
        )
        self.weights = ParameterTuple(self.optimizer.parameters)
        self.clip = training.clip
        self.reduce = (
            nn.DistributedGradReducer(self.weights, mean=False, degree=cards.count)
            if cards.count > 1
            else None
        )
        self.scaled = training.precision == "float16"
        self.scale = _scalar(training.loss_scale if self.scaled else 1.0, "loss_scale")
        self.finite_updates = _scalar(0.0, "finite_updates")
        self.ema = training.ema
        if self.ema is not None:
            self.sources = ParameterTuple(network.get_parameters())
            self.averages = self.sources.clone(AVERAGE.rstrip("."), init="same")
            for average in self.averages:
                average.requires_grad = False

    def construct(self, gradients: tuple[Tensor, ...]) -> Tensor:
        if self.reduce is not None:
            gradients = self.reduce(gradients)
        if not self.scaled:
            self._apply(gradients)
            return Tensor(True)
        gradients = ops.HyperMap()(ops.partial(ops.mul, 1.0 / self.scale), gradients)
        finite = amp.all_finite(gradients)
        if finite:
            self._apply(gradients)
        self._rescale(finite)
        return finite

    def _apply(self, gradients: tuple[Tensor, ...]) -> None:
        if self.clip is not None:
            gradients = ops.clip_by_global_norm(gradients, self.clip)
        self.optimizer(gradients)
        if self.ema is not None:
            # Young averages forget faster (TensorFlow, ExponentialMovingAverage, num_updates).
            age = self.optimizer.global_step.astype(mindspore.float32).reshape(())
            share = ops.minimum(Tensor(self.ema, mindspore.float32), (1.0 + age) / (10.0 + age))
            ops.HyperMap()(ops.partial(_average, share), self.averages, self.sources)

    def _rescale(self, finite: Tensor) -> None:
        count = (self.finite_updates + 1.0) * finite.astype(mindspore.float32)
        grows = (count >= SCALE_WINDOW).astype(mindspore.float32)
        halved = (1.0 - finite.astype(mindspore.float32)) * 0.5
        ops.assign(self.scale, self.scale * (1.0 + grows - halved))
        ops.assign(self.finite_updates, count * (1.0 - grows))


class FullStep(nn.Cell):
    """A batch in one part: backward pass and update in one graph."""

    def __init__(self, backward: BackwardPass, update: WeightUpdate) -> None:
        super().__init__(auto_prefix=False)
        self.backward, self.update = backward, update

    def construct(self, *part: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradients = self.backward(self.update.scale, *part)
        return loss, self.update(gradients)


class PartialStep(nn.Cell):
    """A part of a batch: backward pass, gradients added to those of the parts before."""

    def __init__(self, backward: BackwardPass, update: WeightUpdate) -> None:
        super().__init__(auto_prefix=False)
        self.backward, self.update = backward, update
        self.sums = update.weights.clone("sum", init="zeros")

    def construct(self, *part: Tensor) -> Tensor:
        loss, gradients = self.backward(self.update.scale, *part)
        ops.HyperMap()(ops.assign_add, self.sums, gradients)
        return loss


class FinalUpdate(nn.Cell):
    """After the last part: update, and sums back to zero."""

    def __init__(self, update: WeightUpdate, sums: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.update, self.sums = update, sums

    def construct(self) -> Tensor:
        finite = self.update(self.sums)
        ops.HyperMap()(_clear, self.sums)
        return finite


class StepOutcome(NamedTuple):
    """The loss of a batch, and whether its gradients were finite, so that weights changed."""

    loss: float
    finite: bool


class TrainStep:
    """Batches to losses, updating the weights by SGD with momentum.

    Cells and not ``mindspore.jit`` functions: on CPU the main thread of the latter polls
    while it waits and takes a core from the work (``nasfpn bench step`` measures both).

    Args:
        network: ``Inputs`` to their loss, a scalar.
        rates: learning rate of every update.
        cards: whose losses and gradients are added up.

    Attributes:
        state: the cell of all that the next update depends on: weights, momenta, ...
    """

    def __init__(
        self, network: nn.Cell, training: Training, rates: Sequence[float], cards: Cards = ALONE
    ) -> None:
        self.cards = cards
        self.update = WeightUpdate(network, training, rates, cards)
        self.backward = BackwardPass(network, self.update.weights)
        self.state = FullStep(self.backward, self.update)
        self.state.set_train()

    def __call__(self, *parts: Sequence[Tensor]) -> StepOutcome:
        """WeightUpdate the weights once, by the ``Inputs`` of a batch in one or more parts."""
        if len(parts) == 1:
            loss, finite = self.state(*parts[0])
        else:
            accumulate, finish = self._in_parts
            loss = sum(accumulate(*part) for part in parts)
            finite = finish()
        (total,) = self.cards.sum([float(loss.asnumpy())])
        return StepOutcome(total, bool(finite.asnumpy()))

    @cached_property
    def _in_parts(self) -> tuple[PartialStep, FinalUpdate]:
        """The cells for batches of several parts, whose sums take the memory of all weights."""
        accumulate = PartialStep(self.backward, self.update)
        return accumulate, FinalUpdate(self.update, accumulate.sums)

    @property
    def scale(self) -> float:
        """What losses are multiplied with so that gradients are large enough for float16."""
        return float(self.update.scale.asnumpy())

    def share_statistics(self) -> None:
        """Set the running statistics of batch norm to their means over the cards."""
        if self.cards.count == 1:
            return
        running = [p for p in self.state.get_parameters() if p.name.endswith(STATISTICS)]
        means = self.cards.mean(np.concatenate([p.asnumpy() for p in running]))
        ends = np.cumsum([p.shape[0] for p in running])[:-1]
        for parameter, mean in zip(running, np.split(means, ends), strict=True):
            parameter.set_data(Tensor(mean))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averages in place of the weights, where the recipe has them, for a while."""
        if self.update.ema is None:
            yield
            return
        weights = [source.asnumpy().copy() for source in self.update.sources]
        for source, average in zip(self.update.sources, self.update.averages, strict=True):
            source.set_data(Tensor(average.asnumpy().copy()))
        try:
            yield
        finally:
            for source, weight in zip(self.update.sources, weights, strict=True):
                source.set_data(Tensor(weight))


def use_precision(detector: Network, precision: str) -> None:
    """Make a detector's convolutions compute in ``float16`` or ``bfloat16``.

    Weights stay float32 and are cast where they are used; batch norm computes in float32
    (MindSpore's level O2). Run on CPU in float16 only, which is slow there.
    """
    if precision != "float32":
        amp.custom_mixed_precision(
            detector,
            black_list=[*amp.get_black_list(), DropBlock],
            dtype=getattr(mindspore, precision),
        )


def _scalar(value: float, name: str) -> Parameter:
    return Parameter(Tensor(value, mindspore.float32), name=name, requires_grad=False)


def _average(share: Tensor, average: Parameter, source: Parameter) -> Tensor:
    return ops.assign(average, share * average + (1.0 - share) * source)


def _clear(total: Parameter) -> Tensor:
    return ops.assign(total, ops.zeros_like(total))
