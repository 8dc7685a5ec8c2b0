"""The training step: loss, gradients and weight update as compiled graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import mindspore
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops
from numpy.typing import NDArray

from nasfpn_runtime.cluster.cards import ALONE, Cards
from nasfpn_runtime.cluster.compiled import compile_once
from nasfpn_runtime.cluster.sharing import lock
from nasfpn_runtime.network.checkpoint import AVERAGE
from nasfpn_runtime.network.dropblock import DropBlock
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.network.normalise import Normalise
from nasfpn_runtime.recipe.settings import Training

# Setting ``training.decay`` -> whether weight decay applies to a parameter.
DECAYS: dict[str, Callable[[Parameter], bool]] = {
    "kernels": lambda parameter: len(parameter.shape) == 4,
    "no_norm": lambda parameter: not parameter.name.endswith(("gamma", "beta")),
    "all": lambda parameter: True,
}
STATISTICS = ("moving_mean", "moving_variance")
SCALE_WINDOW = 1000  # finite updates before the loss scale doubles (model zoo's default)


class DetectorWithLoss(nn.Cell):
    """Compute the loss of ``Inputs``: the mean over the supervised stacks."""

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
    """Compute the loss of ``Inputs`` and the gradients of ``loss * scale``."""

    def __init__(self, network: nn.Cell, weights: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.network.set_grad()

        def scaled(scale: Tensor, *part: Tensor) -> tuple[Tensor, Tensor]:
            loss = network(*part)
            return loss * scale, loss

        # The loss comes from the pass that is derived: a graph with a pass of its own for it
        # takes longer to compile.
        self.derive = ops.value_and_grad(scaled, None, weights, has_aux=True)

    def construct(self, scale: Tensor, *part: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        (_, loss), gradients = self.derive(scale, *part)
        return loss, gradients


class WeightUpdate(nn.Cell):
    """Update the weights by the gradients of a whole batch.

    The gradients are summed over the cards, divided by the loss scale, clipped by their global
    norm and applied by SGD with momentum. The moving average of the weights follows.

    Called with the gradients and the learning rate, a float32 scalar. Returns whether the gradients
    were finite. Only float16 checks this: if they are not finite, nothing changes except the loss
    scale, which is halved.
    """

    def __init__(self, network: nn.Cell, training: Training, cards: Cards) -> None:
        super().__init__(auto_prefix=False)
        decays = DECAYS[training.decay]
        groups = [
            {"params": [p for p in network.trainable_params() if decays(p) == decayed]}
            | {"weight_decay": training.weight_decay if decayed else 0.0}
            for decayed in (True, False)
        ]
        self.optimizer = nn.Momentum(
            [group for group in groups if group["params"]],
            learning_rate=0.0,  # assigned in each update
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

    def construct(self, gradients: tuple[Tensor, ...], rate: Tensor) -> Tensor:
        # Assigned here, because `if finite` does not see what Parameter.set_data sets (2.10).
        ops.assign(self.optimizer.learning_rate, rate)
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
            gradients = clip_by_norm(gradients, self.clip)
        self.optimizer(gradients)
        if self.ema is not None:
            # Early averages decay faster (TensorFlow, ExponentialMovingAverage, num_updates).
            age = self.optimizer.global_step.astype(mindspore.float32).reshape(())
            kept = ops.minimum(Tensor(self.ema, mindspore.float32), (1.0 + age) / (10.0 + age))
            ops.HyperMap()(ops.partial(_update_average, kept), self.averages, self.sources)

    def _rescale(self, finite: Tensor) -> None:
        """Double the loss scale after ``SCALE_WINDOW`` finite updates in a row, or halve it."""
        count = (self.finite_updates + 1.0) * finite.astype(mindspore.float32)
        grows = (count >= SCALE_WINDOW).astype(mindspore.float32)
        halved = (1.0 - finite.astype(mindspore.float32)) * 0.5
        ops.assign(self.scale, self.scale * (1.0 + grows - halved))
        ops.assign(self.finite_updates, count * (1.0 - grows))


class FullStep(nn.Cell):
    """Train on a whole batch: backward pass and weight update in one graph."""

    def __init__(self, backward: BackwardPass, update: WeightUpdate) -> None:
        super().__init__(auto_prefix=False)
        self.backward, self.update = backward, update

    def construct(self, rate: Tensor, *part: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradients = self.backward(self.update.scale, *part)
        return loss, self.update(gradients, rate)


class AccumulateStep(nn.Cell):
    """Process a part of a batch: backward pass, gradients added to those of earlier parts."""

    def __init__(self, backward: BackwardPass, update: WeightUpdate) -> None:
        super().__init__(auto_prefix=False)
        self.backward, self.update = backward, update
        self.sums = update.weights.clone("sum", init="zeros")

    def construct(self, *part: Tensor) -> Tensor:
        loss, gradients = self.backward(self.update.scale, *part)
        ops.HyperMap()(ops.assign_add, self.sums, gradients)
        return loss


class AccumulatedUpdate(nn.Cell):
    """Update the weights after the last part of a batch, and set the summed gradients to zero."""

    def __init__(self, update: WeightUpdate, sums: ParameterTuple) -> None:
        super().__init__(auto_prefix=False)
        self.update, self.sums = update, sums

    def construct(self, rate: Tensor) -> Tensor:
        finite = self.update(self.sums, rate)
        ops.HyperMap()(_set_to_zero, self.sums)
        return finite


class StepOutcome(NamedTuple):
    """The result of a training step.

    Attributes:
        loss: loss of the batch, over all cards.
        finite: whether the gradients were finite. If not, the weights did not change.
        stop: whether a card was asked to stop, so that all of them stop after this step.
    """

    loss: float
    finite: bool
    stop: bool = False


class TrainStep:
    """Update the weights of a network batch by batch.

    The parts are cells rather than ``mindspore.jit`` functions: on CPU the main thread of the
    latter polls while it waits and takes a core from the computation (``nasfpn bench step``
    measures both).

    Args:
        network: computes the loss of ``Inputs``, a scalar.
        rates: learning rate of each update that is finite.
        cards: cards whose losses and gradients are summed.

    Attributes:
        state: cell with all parameters that the next update depends on: weights, momenta, ...
    """

    def __init__(
        self, network: nn.Cell, training: Training, rates: Sequence[float], cards: Cards = ALONE
    ) -> None:
        self.rates, self.cards = rates, cards
        self._compiled: set[nn.Cell] = set()
        self.update = WeightUpdate(network, training, cards)
        self.backward = BackwardPass(network, self.update.weights)
        self.state = FullStep(self.backward, self.update)
        self.state.set_train()
        self._set_aside: list[NDArray[np.float32]] | None = None

    def __call__(self, *parts: Sequence[Tensor]) -> StepOutcome:
        """Update the weights once by a batch, given as the ``Inputs`` of its one or more parts.

        Detectors in other threads wait until the step has ended.

        Raises:
            EngineError: MindSpore cannot be used in this process, see ``sharing.check_usable``.
        """
        with lock("mindspore"):
            return self._update(parts)

    def _update(self, parts: Sequence[Sequence[Tensor]]) -> StepOutcome:
        done = int(self.update.optimizer.global_step.asnumpy()[0])  # counts finite updates
        rate = Tensor(self.rates[done], mindspore.float32)
        if len(parts) == 1:
            loss, finite = self._run(self.state, rate, *parts[0])
        else:
            accumulate, update = self._accumulation
            loss = sum(self._run(accumulate, *part) for part in parts)
            finite = self._run(update, rate)
        stop = self.cards.asked_to_stop()
        total, stopping = self.cards.sum([float(loss.asnumpy()), float(stop)])
        return StepOutcome(total, bool(finite.asnumpy()), stopping > 0)

    def _run(self, cell: nn.Cell, *inputs: Tensor) -> Any:
        """Run a cell, whose inputs have the same shapes each time."""
        if cell not in self._compiled:
            compile_once(cell, *inputs)
            self._compiled.add(cell)
        return cell(*inputs)

    @cached_property
    def _accumulation(self) -> tuple[AccumulateStep, AccumulatedUpdate]:
        """Cells for batches of several parts, made on demand: sums need memory for all weights."""
        accumulate = AccumulateStep(self.backward, self.update)
        return accumulate, AccumulatedUpdate(self.update, accumulate.sums)

    @property
    def scale(self) -> float:
        """Factor of the loss that keeps gradients large enough for float16."""
        return float(self.update.scale.asnumpy())

    def share_statistics(self) -> None:
        """Average the running statistics of batch norm over the cards."""
        if self.cards.count > 1:
            self._set_statistics(self.cards.mean(self._statistics()))

    def gather_statistics(self) -> NDArray[np.float32]:
        """Return the running statistics of batch norm of all cards, a row for each."""
        return self.cards.gather(self._statistics()[None])

    def restore_statistics(self, table: NDArray[np.float32]) -> None:
        """Set this card's row of :meth:`gather_statistics`; the mean, if there were other cards."""
        same = len(table) == self.cards.count
        self._set_statistics(table[self.cards.rank] if same else table.mean(axis=0))

    def _running(self) -> list[Parameter]:
        return [p for p in self.state.get_parameters() if p.name.endswith(STATISTICS)]

    def _statistics(self) -> NDArray[np.float32]:
        return np.concatenate([p.asnumpy() for p in self._running()])

    def _set_statistics(self, values: NDArray[np.float32]) -> None:
        running = self._running()
        ends = np.cumsum([p.shape[0] for p in running])[:-1]
        for parameter, part in zip(running, np.split(values, ends), strict=True):
            parameter.set_data(Tensor(part))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights inside the block, if the recipe asks for averages."""
        if self.update.ema is None:
            yield
            return
        self._set_aside = [source.asnumpy().copy() for source in self.update.sources]
        try:
            for source, average in zip(self.update.sources, self.update.averages, strict=True):
                source.set_data(Tensor(average.asnumpy().copy()))
            yield
        finally:
            self.put_weights_back()

    def put_weights_back(self) -> None:
        """Undo :meth:`averaged`, unless that is done.

        An interrupt may have kept the block from doing it; whoever saves the state after one
        calls this before.
        """
        if self._set_aside is not None:
            for source, weight in zip(self.update.sources, self._set_aside, strict=True):
                source.set_data(Tensor(weight))
            self._set_aside = None


def use_precision(detector: Network, precision: str) -> None:
    """Let the convolutions of a detector compute in ``float16`` or ``bfloat16``.

    Weights stay float32 and are cast at each use. Batch norm computes in float32 (MindSpore's
    level O2). The CPU supports float16 only, and slowly.
    """
    if precision != "float32":
        amp.custom_mixed_precision(
            detector,
            black_list=[*amp.get_black_list(), DropBlock],
            dtype=getattr(mindspore, precision),
        )


def clip_by_norm(gradients: tuple[Tensor, ...], limit: float) -> tuple[Tensor, ...]:
    """Scale gradients so that their global norm, over all elements of all, is at most ``limit``.

    ``mindspore.ops.clip_by_global_norm``, which is deprecated, has 5 operations for each gradient.
    Here are 3, so that the graph is compiled in less time. ``ops.L2Loss`` would save one more, but
    on CPU its error is 20 times as large.
    """
    norm = ops.sqrt(ops.addn(ops.HyperMap()(_sum_of_squares, gradients)))
    factor = limit / ops.maximum(norm, Tensor(limit, mindspore.float32))
    scaled: tuple[Tensor, ...] = ops.HyperMap()(ops.partial(ops.mul, factor), gradients)
    return scaled


def _sum_of_squares(gradient: Tensor) -> Tensor:
    return ops.ReduceSum()(ops.square(gradient))


def _scalar(value: float, name: str) -> Parameter:
    return Parameter(Tensor(value, mindspore.float32), name=name, requires_grad=False)


def _update_average(kept: Tensor, average: Parameter, source: Parameter) -> Tensor:
    return ops.assign(average, kept * average + (1.0 - kept) * source)


def _set_to_zero(total: Parameter) -> Tensor:
    return ops.assign(total, ops.zeros_like(total))
