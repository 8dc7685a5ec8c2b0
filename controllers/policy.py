"""The policy of the paper's controller: an LSTM that makes the decisions one after another.

The LSTM has one layer. Its input is the previous decision as a one-hot vector, or a start
symbol for the first decision. Each decision has its own softmax on the output
(Zoph et al., CVPR 2018, appendix; NAS-FPN, section 3.1).

All weights are in one flat vector. It is computed with NumPy, backwards too, because its matrices
are small: calling a graph takes longer than such a product, and compiling it longer than all that
a search of hundreds of trials learns. The tests compare values and gradients with MindSpore's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# Added to the logits of choices that a decision does not have. exp(-1e9) is 0 in float32.
_CLOSED = -1e9


@dataclass(frozen=True)
class Run:
    """What a policy computes for given choices.

    Attributes:
        choices: shape (samples, decisions).
        gates: input, forget, candidate and output gate of each step, after their functions;
            shape (decisions, samples, 4, hidden).
        cells: state of the cell, first the zeros before the first step; shape
            (decisions + 1, samples, hidden).
        hidden: output of the LSTM, likewise.
        logs: log probability of each choice; shape (decisions, samples, largest size).
    """

    choices: Array
    gates: Array
    cells: Array
    hidden: Array
    logs: Array


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

    def sample(
        self, weights: Array, rng: np.random.Generator, temperature: float = 1.0
    ) -> tuple[int, ...]:
        """Draw one choice for each decision, from the softmax of logits / temperature."""
        into, recurrent, bias, heads, head_bias = split(weights, self.shapes)
        hidden = cell = np.zeros((1, self.hidden), weights.dtype)
        choices: list[int] = []
        token = 0
        for step, (size, first) in enumerate(zip(self.sizes, self._first_tokens, strict=True)):
            gates = _gates(into[:, token] + bias + hidden @ recurrent.T)
            cell, hidden = _step(gates, cell)
            logits = (hidden @ heads[step] + head_bias[step])[0, :size] / temperature
            # Gumbel-max trick: the argmax of logits plus Gumbel noise is a draw from the softmax.
            choices.append(int(np.argmax(logits + rng.gumbel(size=size))))
            token = first + choices[-1]
        return tuple(choices)

    def run(self, weights: Array, choices: Array) -> Run:
        """Compute the probabilities of all choices, each given the choices before it.

        Args:
            weights: flat, float32; in float64 all is computed in float64.
            choices: integers, shape (samples, decisions).
        """
        into, recurrent, bias, heads, head_bias = split(weights, self.shapes)
        tokens = self.tokens(choices)
        steps, samples = tokens.shape
        gates = np.empty((steps, samples, 4, self.hidden), weights.dtype)
        cells = np.zeros((steps + 1, samples, self.hidden), weights.dtype)
        hidden = np.zeros_like(cells)
        given = into.T[tokens] + bias
        for step in range(steps):
            gates[step] = _gates(given[step] + hidden[step] @ recurrent.T)
            cells[step + 1], hidden[step + 1] = _step(gates[step], cells[step])
        logits = hidden[1:] @ heads + head_bias + self.mask
        logits = logits - logits.max(-1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return Run(choices, gates, cells, hidden, logs)

    def log_probabilities(self, weights: Array, choices: Array) -> Array:
        """Return the log probability of each choice, given the previous choices.

        Args:
            weights: flat, float32.
            choices: integers, shape (samples, decisions).

        Returns:
            Shape (decisions, samples, largest size), float32.
        """
        return self.run(weights, choices).logs

    def gradient(self, weights: Array, run: Run, to_logits: Array) -> Array:
        """Return the gradient of a loss with respect to the weights, flat.

        Args:
            weights: those of the run.
            run: what :meth:`run` returned.
            to_logits: gradient of the loss with respect to the logits; shape
                (decisions, samples, largest size).
        """
        _, recurrent, _, heads, _ = split(weights, self.shapes)
        steps, samples, _, _ = run.gates.shape
        to_raw = np.empty((steps, samples, 4 * self.hidden), weights.dtype)
        to_hidden = to_logits @ heads.transpose(0, 2, 1)
        later = to_cell = np.zeros((samples, self.hidden), weights.dtype)
        squashed = np.tanh(run.cells[1:])
        # Derivatives of the gates' functions: s(1 - s) of the sigmoid s, 1 - t^2 of the tanh t.
        slopes = run.gates * (1 - run.gates)
        slopes[:, :, 2] = 1 - run.gates[:, :, 2] ** 2
        for step in reversed(range(steps)):
            new, keep, candidate, out = run.gates[step].swapaxes(0, 1)
            total = to_hidden[step] + later
            to_cell = to_cell + total * out * (1 - squashed[step] ** 2)
            by_gate = (
                to_cell * candidate,
                to_cell * run.cells[step],
                to_cell * new,
                total * squashed[step],
            )
            to_raw[step] = (np.stack(by_gate, 1) * slopes[step]).reshape(samples, -1)
            later = to_raw[step] @ recurrent
            to_cell = to_cell * keep
        rows = to_raw.reshape(-1, 4 * self.hidden)
        # The input is the start symbol in the first step, and then the decision before; symbols
        # are numbered by decision, and no step reads the last decision.
        read = self.one_hot(run.choices)[:-1].transpose(0, 2, 1) @ to_raw[1:]
        to_into = np.zeros((self.inputs, 4 * self.hidden), weights.dtype)
        to_into[0] = to_raw[0].sum(0)
        to_into[1 : 1 + sum(self.sizes[:-1])] = read[self.mask[:-1, 0] == 0]
        parts = (
            to_into.T,
            rows.T @ run.hidden[:-1].reshape(-1, self.hidden),
            rows.sum(0),
            run.hidden[1:].transpose(0, 2, 1) @ to_logits,
            to_logits.sum(1),
        )
        return np.concatenate([part.reshape(-1) for part in parts])

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


def split(weights: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Return the parts of a flat array in the given shapes, as views."""
    parts = np.split(weights, list(accumulate(map(prod, shapes)))[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _gates(raw: Array) -> Array:
    """Return the four gates of an LSTM, shape (samples, 4, hidden)."""
    raw = raw.reshape(len(raw), 4, -1)
    gates: Array = 0.5 * np.tanh(0.5 * raw) + 0.5  # the sigmoid; 1 / (1 + exp(-x)) can overflow
    gates[:, 2] = np.tanh(raw[:, 2])
    return gates


def _step(gates: Array, cell: Array) -> tuple[Array, Array]:
    """Return the next state of the cell and the output."""
    cell = gates[:, 1] * cell + gates[:, 0] * gates[:, 2]
    return cell, gates[:, 3] * np.tanh(cell)
