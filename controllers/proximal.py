"""Proximal policy optimisation of an LSTM policy (Schulman et al. 2017), with Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from controllers.policy import Policy

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


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
    for _ in range(settings.epochs):
        gradient = loss_gradient(policy, settings, learned.weights, choices, old, advantages)
        learned = _adam(learned, gradient, settings.learning_rate)
    return learned


def loss_gradient(
    policy: Policy,
    settings: PPOSettings,
    weights: Array,
    choices: Array,
    old: Array,
    advantages: Array,
) -> Array:
    """Return the gradient of the loss: minus clipped gain and entropy, averaged over the batch.

    Args:
        weights: flat; the result has its type.
        choices: integers, shape (samples, decisions).
        old: log probability of each choice under the old policy, shape (decisions, samples).
        advantages: shape (samples,).
    """
    run, onehot = policy.run(weights, choices), policy.one_hot(choices)
    ratio = np.exp((run.logs * onehot).sum(-1) - old)
    clipped = ratio.clip(1 - settings.clip, 1 + settings.clip)
    # Where the clipped gain is the smaller one, it does not depend on the weights.
    gain = np.where(ratio * advantages <= clipped * advantages, ratio * advantages, 0)
    p = np.exp(run.logs)
    # A masked choice has p = 0 and log p near -1e9. The bound avoids 0 * -inf.
    logs = np.maximum(run.logs, -100)
    entropy = -(p * logs).sum(-1, keepdims=True)
    to_logits = gain[..., None] * (p - onehot) + settings.entropy * p * (logs + entropy)
    return policy.gradient(weights, run, (to_logits / len(choices)).astype(weights.dtype))


def _adam(learned: Learned, gradient: Array, rate: float) -> Learned:
    """Return the state after a step of Adam (Kingma and Ba, ICLR 2015, end of section 2)."""
    steps = learned.steps + 1
    mean = 0.9 * learned.mean + 0.1 * gradient
    square = 0.999 * learned.square + 0.001 * gradient * gradient
    rate *= float(np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps))
    return Learned(learned.weights - rate * mean / (np.sqrt(square) + 1e-8), mean, square, steps)
