"""The policy of the paper's controller: an LSTM that makes the decisions one after another.

The LSTM has one layer. Its input is the previous decision as a one-hot vector, or a start
symbol for the first decision. Each decision has its own softmax on the output
(Zoph et al., CVPR 2018, appendix; NAS-FPN, section 3.1).

All weights are in one flat vector, so the state of training is three arrays. Learning uses
MindSpore, compiled once for each shape of policy and batch. Proposals use NumPy: a proposal is
a few small matrix products, which take less time than the call of a graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import Any, TypeAlias

import mindspore as ms
import numpy as np
from mindspore import ops

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# MindSpore runs one graph at a time, but several threads of a study may learn at once.
_ONE_GRAPH = threading.Lock()
# Added to the logits of choices that a decision does not have. exp(-1e9) is 0 in float32.
_CLOSED = -1e9


@dataclass(frozen=True)
class Policy:
    """The shape of a policy. The weights are passed to its methods.

    Attributes:
        sizes: number of choices of each decision.
        hidden: units of the LSTM.
    """

    sizes: tuple[int, ...]
    hidden: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights in the order of the flat vector, as MindSpore's CPU LSTM has it.

        They are: input to gates, with a column for the start symbol and for each choice of each
        decision; hidden to gates; bias of the gates (input, forget, candidate, output); hidden
        to logits, and bias of the logits, for each decision, padded to the largest size.
        """
        steps, width, gates = len(self.sizes), max(self.sizes), 4 * self.hidden
        return (
            (gates, self.inputs),
            (gates, self.hidden),
            (gates,),
            (steps, self.hidden, width),
            (steps, 1, width),
        )

    @property
    def inputs(self) -> int:
        """Width of the one-hot input: the start symbol and all choices of all decisions."""
        return 1 + sum(self.sizes)

    @property
    def _first_tokens(self) -> tuple[int, ...]:
        """Input symbol of choice 0 of each decision; symbol 0 is the start."""
        return tuple(accumulate(self.sizes[:-1], initial=1))

    @property
    def mask(self) -> Array:
        """Values to add to the logits, shape (decisions, 1, largest size), float32."""
        open_ = np.arange(max(self.sizes)) < np.asarray(self.sizes)[:, None]
        return np.where(open_, 0, _CLOSED).astype(np.float32)[:, None]

    def initial(self, rng: np.random.Generator, bound: float) -> Array:
        """Return weights drawn uniformly from (-bound, bound), float32."""
        return rng.uniform(-bound, bound, sum(map(prod, self.shapes))).astype(np.float32)

    def sample(self, weights: Array, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw one choice for each decision."""
        arrays = split(weights, self.shapes)
        hidden = cell = np.zeros((1, self.hidden), np.float32)
        choices: list[int] = []
        token = 0
        for step, (size, first) in enumerate(zip(self.sizes, self._first_tokens, strict=True)):
            hidden, cell = _numpy_step(arrays, np.asarray([token]), hidden, cell)
            logits = (hidden @ arrays[3][step] + arrays[4][step])[0, :size]
            # Gumbel-max trick: the argmax of logits plus Gumbel noise is a draw from the softmax.
            choices.append(int(np.argmax(logits + rng.gumbel(size=size))))
            token = first + choices[-1]
        return tuple(choices)

    def log_probabilities(self, weights: Array, choices: Array) -> Array:
        """Return the log probability of each choice, given the previous choices.

        Args:
            weights: flat, float32.
            choices: integers, shape (samples, decisions).

        Returns:
            Shape (decisions, samples, largest size), float32.
        """
        arrays = split(weights, self.shapes)
        hidden = cell = np.zeros((len(choices), self.hidden), np.float32)
        outputs = []
        for token in self.tokens(choices):
            hidden, cell = _numpy_step(arrays, token, hidden, cell)
            outputs.append(hidden)
        logits = np.stack(outputs) @ arrays[3] + arrays[4] + self.mask
        logits -= logits.max(-1, keepdims=True)
        result: Array = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return result

    def tokens(self, choices: Array) -> Array:
        """Return the input symbol of each step: the start symbol, then the previous choice.

        Args:
            choices: integers, shape (samples, decisions).

        Returns:
            Shape (decisions, samples). The last decision is not an input.
        """
        return np.concatenate(
            [np.zeros((1, len(choices)), np.int64), (choices + self._first_tokens)[:, :-1].T]
        )

    def one_hot(self, choices: Array) -> Array:
        """Return choices of shape (samples, decisions) one-hot.

        Returns:
            Shape (decisions, samples, largest size), float32.
        """
        return np.eye(max(self.sizes), dtype=np.float32)[choices.T]


@dataclass(frozen=True)
class PPOSettings:
    """Hyperparameters of an update (Schulman et al. 2017, equation 7).

    Attributes:
        learning_rate: learning rate of Adam.
        entropy: weight of the entropy of each decision, in nats, relative to the advantage.
        clip: largest distance of a choice's probability ratio from 1 that is still rewarded.
        epochs: gradient steps on each batch.
    """

    learning_rate: float
    entropy: float
    clip: float
    epochs: int


@dataclass(frozen=True)
class Learned:
    """State of training: weights and Adam's two moments, flat float32 arrays, and steps taken."""

    weights: Array
    mean: Array
    square: Array
    steps: int = 0

    @classmethod
    def start(cls, weights: Array) -> Learned:
        """Return the state before the first step."""
        return cls(weights, np.zeros_like(weights), np.zeros_like(weights))


def improve(
    policy: Policy,
    settings: PPOSettings,
    learned: Learned,
    choices: Array,
    advantages: Array,
) -> Learned:
    """Return the state of training after PPO on one batch.

    ``learned`` is the old policy of the probability ratio. It drew the batch, except that with
    several workers some trials may be drawn before the latest results are in.

    Args:
        choices: integers, shape (samples, decisions).
        advantages: shape (samples,).
    """
    onehot = policy.one_hot(choices)
    old = (policy.log_probabilities(learned.weights, choices) * onehot).sum(-1)
    inputs = np.eye(policy.inputs)[policy.tokens(choices)]
    arrays = (inputs, onehot, policy.mask, old, advantages)
    batch = [ms.Tensor(array, ms.float32) for array in arrays]
    rates = [
        ms.Tensor(value, ms.float32)
        for value in (settings.clip, settings.entropy, settings.learning_rate)
    ]
    with _ONE_GRAPH:
        step = _compiled(policy)
        state = tuple(map(ms.Tensor, (learned.weights, learned.mean, learned.square)))
        for number in range(learned.steps + 1, learned.steps + 1 + settings.epochs):
            state = step(*state, ms.Tensor(number, ms.float32), *batch, *rates)
        weights, mean, square = (tensor.asnumpy() for tensor in state)
    return Learned(weights, mean, square, learned.steps + settings.epochs)


def split(weights: Any, shapes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
    """Cut a flat array or tensor into arrays of the given shapes."""
    parts: tuple[Any, ...] = ()
    start = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        parts = (*parts, weights[start : start + size].reshape(shape))
        start += size
    return parts


def forward(policy: Policy, weights: Any, inputs: Any, mask: Any) -> Any:
    """Compute :meth:`Policy.log_probabilities` on tensors, differentiably.

    Args:
        policy: shape of the policy.
        weights: flat weights.
        inputs: one-hot, shape (decisions, samples, inputs).
        mask: see :attr:`Policy.mask`.
    """
    *recurrent, heads, head_bias = split(weights, policy.shapes)
    # One operator for all steps: unrolled, a training step would be hundreds of small kernels.
    lstm = ops.LSTM(policy.inputs, policy.hidden, 1, True, False, 0.0)
    start = ops.zeros((1, inputs.shape[1], policy.hidden), ms.float32)
    flat = ops.concat(tuple(part.reshape(-1, 1, 1) for part in recurrent))
    hidden, *_ = lstm(inputs, start, start, flat)
    return ops.log_softmax(ops.bmm(hidden, heads) + head_bias + mask, axis=-1)


@lru_cache(maxsize=16)
def _compiled(policy: Policy) -> Callable[..., Any]:
    """Return a step of Adam on the PPO loss as a graph, compiled once for all samplers."""

    def loss(weights, inputs, onehot, mask, old, advantages, clip, entropy):  # type: ignore[no-untyped-def]
        logs = forward(policy, weights, inputs, mask)
        ratio = ops.exp((logs * onehot).sum(-1) - old)
        clipped = ops.minimum(ops.maximum(ratio, 1 - clip), 1 + clip)
        gain = ops.minimum(ratio * advantages, clipped * advantages)
        # A masked choice has p = 0 and log p near -1e9. The bound avoids 0 * -inf.
        total_entropy = -(ops.exp(logs) * ops.maximum(logs, -100.0)).sum(-1)
        return -(gain + entropy * total_entropy).sum(0).mean()

    def step(  # type: ignore[no-untyped-def]
        weights, mean, square, number, inputs, onehot, mask, old, advantages, clip, entropy, rate
    ):
        gradient = ms.grad(loss)(weights, inputs, onehot, mask, old, advantages, clip, entropy)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient * gradient
        rate = rate * ops.sqrt(1 - ops.pow(0.999, number)) / (1 - ops.pow(0.9, number))
        return weights - rate * mean / (ops.sqrt(square) + 1e-8), mean, square

    return ms.jit(step)  # type: ignore[no-any-return]


def _numpy_step(
    arrays: Sequence[Array], token: Array, hidden: Array, cell: Array
) -> tuple[Array, Array]:
    gates = arrays[0].T[token] + arrays[2] + hidden @ arrays[1].T
    into, keep, candidate, out = np.split(gates, 4, axis=1)
    cell = _sigmoid(keep) * cell + _sigmoid(into) * np.tanh(candidate)
    return _sigmoid(out) * np.tanh(cell), cell


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result
