"""The paper's controller: an LSTM policy trained by PPO on the values of its proposals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from controllers.errors import ControllerError
from controllers.samplers import Choices, LogSampler, Record
from search_space import NASFPNSpace

if TYPE_CHECKING:
    from controllers.policy import Learned, Policy

# Streams of random numbers beside those of the proposals, which are (seed, index).
_INITIAL_WEIGHTS = (0, 1)
# States kept, so that a trial that finishes late does not mean learning from the start.
_REMEMBERED = 8


@dataclass(frozen=True)
class _State:
    """What some batches have taught: weights, and level and variance of the rewards."""

    learned: Learned
    level: float | None
    variance: float


@dataclass(frozen=True)
class _Memory:
    """The last fold: its batches, and states by the number of batches that led to them."""

    batches: tuple[tuple[Record, ...], ...]
    states: dict[int, _State]

    def states_along(self, batches: tuple[tuple[Record, ...], ...]) -> dict[int, _State]:
        """Return the states that these batches lead to as well."""
        same = sum(
            1
            for _ in takewhile(
                lambda pair: pair[0] == pair[1], zip(self.batches, batches, strict=False)
            )
        )
        return {number: state for number, state in self.states.items() if number <= same}


class PPOSampler(LogSampler):
    """Samples from an autoregressive LSTM policy, trained by PPO (NAS-FPN, section 3.1).

    After every ``batch`` trials with a value the policy takes ``epochs`` steps on them. The
    advantage of a trial is its reward less a moving average of the rewards before it, in
    units of their moving standard deviation, so that the defaults hold for any scale of
    reward. Failed trials teach nothing.

    The NAS-FPN paper gives no numbers for its controller. Those of NASNet (Zoph et al.,
    CVPR 2018, appendix), by which it goes, are for tens of thousands of trials:
    ``hidden=100, bound=0.1, learning_rate=3.5e-4, entropy=1e-5, decay=0.95``. The defaults
    differ in learning rate and entropy, and learn within hundreds.

    The policy is computed on MindSpore's current device, imported at the first proposal.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        hidden: units of the LSTM.
        bound: weights start evenly distributed in (-bound, bound).
        batch: trials to an update.
        epochs: steps on each batch.
        learning_rate: of Adam.
        clip: how far a choice's probability ratio may leave 1.
        entropy: weight of the entropy of each decision, in nats.
        decay: of the moving averages, for each trial.

    Raises:
        ControllerError: ``hidden``, ``batch`` or ``epochs`` below 1, or ``decay`` outside 0..1.
    """

    def __init__(
        self,
        space: NASFPNSpace,
        seed: int = 0,
        *,
        hidden: int = 100,
        bound: float = 0.1,
        batch: int = 10,
        epochs: int = 4,
        learning_rate: float = 2e-3,
        clip: float = 0.2,
        entropy: float = 0.1,
        decay: float = 0.95,
    ) -> None:
        super().__init__(space, seed)
        for name, value in (("hidden", hidden), ("batch", batch), ("epochs", epochs)):
            if value < 1:
                raise ControllerError(f"{name} is 1 or more, got {value}")
        if not 0 <= decay < 1:
            raise ControllerError(f"decay is from 0 to below 1, got {decay}")
        self.hidden, self.bound, self.batch, self.epochs = hidden, bound, batch, epochs
        self.learning_rate, self.clip, self.entropy = learning_rate, clip, entropy
        self.decay = decay
        self._memory = _Memory((), {})

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        scored = [record for record in records if record.reward is not None]
        return self._policy().sample(self._learn(scored).learned.weights, rng)

    def _learn(self, scored: Sequence[Record]) -> _State:
        """Fold the records batch by batch; a last, incomplete batch waits."""
        ends = range(self.batch, len(scored) + 1, self.batch)
        batches = tuple(tuple(scored[end - self.batch : end]) for end in ends)
        states = self._memory.states_along(batches)
        done = max(states, default=0)
        state = states[done] if states else self._initial()
        for number, batch in enumerate(batches[done:], start=done + 1):
            state = states[number] = self._update(state, batch)
        recent = {n: states[n] for n in sorted(states)[-_REMEMBERED:]}
        # One assignment: threads of one study share a sampler.
        self._memory = _Memory(batches, recent)
        return state

    def _policy(self) -> Policy:
        from controllers.policy import Policy

        return Policy(tuple(d.size for d in self.space.decisions()), self.hidden)

    def _initial(self) -> _State:
        from controllers.policy import Learned

        weights = self._policy().initial(self.generator(*_INITIAL_WEIGHTS), self.bound)
        return _State(Learned.start(weights), None, 0.0)

    def _update(self, state: _State, batch: Sequence[Record]) -> _State:
        from controllers.policy import PPOSettings, improve

        rewards = np.asarray([record.reward for record in batch], np.float64)
        level = float(rewards.mean()) if state.level is None else state.level
        variance = float(rewards.var()) if state.level is None else state.variance
        advantages = (rewards - level) / (np.sqrt(variance) + 1e-8)
        for reward in rewards:
            variance = self.decay * variance + (1 - self.decay) * (reward - level) ** 2
            level = self.decay * level + (1 - self.decay) * reward
        learned = improve(
            self._policy(),
            PPOSettings(self.learning_rate, self.entropy, self.clip, self.epochs),
            state.learned,
            np.asarray([record.choices for record in batch], np.int64),
            advantages,
        )
        return _State(learned, float(level), float(variance))
