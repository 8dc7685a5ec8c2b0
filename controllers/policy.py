"""The policy of the paper's controller: an LSTM that makes the decisions one after another.

One layer; its input is the decision before as a one-hot vector (for the first decision, a
start symbol), its output goes through a softmax of its own for every decision
(Zoph et al., CVPR 2018, appendix; NAS-FPN, section 3.1).

All weights lie in one flat vector, so that the state of training is three arrays. Learning
is MindSpore, compiled once for a policy's shape and batch; one proposal is a handful of
small products, for which a graph call costs more than NumPy does.
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

# MindSpore runs one graph at a time, and threads of a study may learn at once.
_ONE_GRAPH = threading.Lock()
# Added to the logits of choices that a decision does not have; exp(-1e9) is 0 in float32.
_CLOSED = -1e9


@dataclass(frozen=True)
class Policy:
    """The shape of a policy; its weights are passed in.

    Attributes:
        sizes: number of choices of every decision.
        hidden: units of the LSTM.
    """

    sizes: tuple[int, ...]
    hidden: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights in their flat order, which is that of MindSpore's CPU LSTM.

        Input to gates, a column for the start and for each choice of each decision; hidden
        to gates; bias of the gates (input, forget, candidate, output); hidden to logits and
        bias of the logits, one each for every decision, as wide as the largest.
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
        """Input symbol of every decision's choice 0; symbol 0 is the start."""
        return tuple(accumulate(self.sizes[:-1], initial=1))

    @property
    def mask(self) -> Array:
        """What is added to the logits, shape (decisions, 1, largest size), float32."""
        open_ = np.arange(max(self.sizes)) < np.asarray(self.sizes)[:, None]
        return np.where(open_, 0, _CLOSED).astype(np.float32)[:, None]

    def initial(self, rng: np.random.Generator, bound: float) -> Array:
        """Return weights drawn evenly from (-bound, bound), float32."""
        return rng.uniform(-bound, bound, sum(map(prod, self.shapes))).astype(np.float32)

    def sample(self, weights: Array, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw one choice for every decision."""
        arrays = split(weights, self.shapes)
        hidden = cell = np.zeros((1, self.hidden), np.float32)
        choices: list[int] = []
        token = 0
        for step, (size, first) in enumerate(zip(self.sizes, self._first_tokens, strict=True)):
            hidden, cell = _numpy_step(arrays, np.asarray([token]), hidden, cell)
            logits = (hidden @ arrays[3][step] + arrays[4][step])[0, :size]
            # Gumbel-max: the arg max of logits plus Gumbel noise is a draw from the softmax.
            choices.append(int(np.argmax(logits + rng.gumbel(size=size))))
            token = first + choices[-1]
        return tuple(choices)

    def log_probabilities(self, weights: Array, choices: Array) -> Array:
        """Return log p of every choice, given those before it.

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
        """Return the input symbol of every step: the start, then what was chosen.

        Args:
            choices: integers, shape (samples, decisions).

        Returns:
            Shape (decisions, samples); the last decision is the input of none.
        """
        return np.concatenate(
            [np.zeros((1, len(choices)), np.int64), (choices + self._first_tokens)[:, :-1].T]
        )

    def one_hot(self, choices: Array) -> Array:
        """Return shape (decisions, samples, largest size), float32, of (samples, decisions)."""
        return np.eye(max(self.sizes), dtype=np.float32)[choices.T]


@dataclass(frozen=True)
class PPOSettings:
    """How a batch of trials changes the weights (Schulman et al. 2017, equation 7).

    Attributes:
        learning_rate: of Adam.
        entropy: weight of the entropy of each decision, in nats, beside its advantage.
        clip: how far a choice's probability ratio may leave 1.
        epochs: steps on each batch.
    """

    learning_rate: float
    entropy: float
    clip: float
    epochs: int


@dataclass(frozen=True)
class Learned:
    """Weights with Adam's two moments, flat float32 arrays, and its number of steps."""

    weights: Array
    mean: Array
    square: Array
    steps: int = 0

    @classmethod
    def start(cls, weights: Array) -> Learned:
        """Return the weights with nothing learned."""
        return cls(weights, np.zeros_like(weights), np.zeros_like(weights))


def improve(
    policy: Policy,
    settings: PPOSettings,
    learned: Learned,
    choices: Array,
    advantages: Array,
) -> Learned:
    """Return what is learned after PPO on one batch.

    The old policy of the ratio is ``learned``: it drew the batch, or nearly so where
    several workers run ahead of each other's results.

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
    """Cut a flat array or tensor into arrays of those shapes."""
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
    """Return the same as :meth:`Policy.log_probabilities`, differentiable, on tensors.

    Args:
        policy: shape of the policy.
        weights: flat.
        inputs: one-hot, shape (decisions, samples, inputs).
        mask: see :attr:`Policy.mask`.
    """
    *recurrent, heads, head_bias = split(weights, policy.shapes)
    # One operator for all steps: unrolled, a step of learning is hundreds of small kernels.
    lstm = ops.LSTM(policy.inputs, policy.hidden, 1, True, False, 0.0)
    start = ops.zeros((1, inputs.shape[1], policy.hidden), ms.float32)
    flat = ops.concat(tuple(part.reshape(-1, 1, 1) for part in recurrent))
    hidden, *_ = lstm(inputs, start, start, flat)
    return ops.log_softmax(ops.bmm(hidden, heads) + head_bias + mask, axis=-1)


@lru_cache(maxsize=16)
def _compiled(policy: Policy) -> Callable[..., Any]:
    """Return one step of Adam on the PPO loss as a graph: compiled once, used by every sampler."""

    def loss(weights, inputs, onehot, mask, old, advantages, clip, entropy):  # type: ignore[no-untyped-def]
        logs = forward(policy, weights, inputs, mask)
        ratio = ops.exp((logs * onehot).sum(-1) - old)
        clipped = ops.minimum(ops.maximum(ratio, 1 - clip), 1 + clip)
        gain = ops.minimum(ratio * advantages, clipped * advantages)
        # A closed choice has p = 0 and log p near -1e9: bounded, or 0 * -inf may arise.
        disorder = -(ops.exp(logs) * ops.maximum(logs, -100.0)).sum(-1)
        return -(gain + entropy * disorder).sum(0).mean()

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
