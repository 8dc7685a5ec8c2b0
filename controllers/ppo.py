"""The controller of the paper: an LSTM policy trained by PPO on the values of its proposals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
from optuna.study import Study

from controllers import learned, policy, proximal
from controllers.learned import FILE, Batches, State, read_state, write_state
from controllers.policy import Policy
from controllers.proximal import Learned, PPOSettings, improve
from controllers.samplers import Choices, LogSampler, Record, all_trials, finished
from controllers.settings import check_count, check_range, settings_of
from search_space import SearchSpace

# Random streams beside those of the proposals, which are (seed, index).
_INITIAL_WEIGHTS = (0, 1)
# Recent states kept, so that a result that arrives late does not mean learning from the start.
_REMEMBERED = 8
# Equal first rewards have no spread, so the next one would be 1e7 standard deviations away. Adam's
# second moment would remember such a gradient for thousands of steps, in which nothing is learned.
_MOST_ADVANTAGE = 5.0
MOST_SIZE = 1000  # of the policy, a batch, and the passes over it


@dataclass(frozen=True)
class _Memory:
    """The batches of the last fold, and states by the number of batches learned from."""

    batches: Batches
    states: dict[int, State]

    def states_along(self, batches: Batches) -> dict[int, State]:
        """Return the states that are valid for these batches too: up to the first difference."""
        same = sum(
            1
            for _ in takewhile(
                lambda pair: pair[0] == pair[1], zip(self.batches, batches, strict=False)
            )
        )
        return {number: state for number, state in self.states.items() if number <= same}


class PPOSampler(LogSampler):
    """Samples from an autoregressive LSTM policy trained by PPO (NAS-FPN, section 3.1).

    After every ``batch`` trials with a value, the policy takes ``epochs`` gradient steps on
    them. The advantage of a trial is its reward minus a moving average of the earlier rewards,
    divided by their moving standard deviation, at most 5 and at least -5. The defaults therefore
    suit rewards of any scale. Failed trials are ignored. Parameters of the objective that are not
    decisions are drawn evenly and independently, not learned.

    The NAS-FPN paper gives no hyperparameters for its controller. It follows NASNet (Zoph et
    al., CVPR 2018, appendix), whose values are for tens of thousands of trials:
    ``hidden=100, bound=0.1, learning_rate=3.5e-4, entropy=1e-5, decay=0.95``. The defaults
    here have another learning rate and entropy weight, and learn within hundreds of trials.

    At this rate the policy soon becomes certain. A search does not train a genome twice, and ends
    if only known ones are proposed. Therefore nothing is learned from a trial with the choices and
    the value of an earlier one, which would make the policy more certain still; and the more of
    the latest trials were such, the hotter is the softmax of the next (``heat``). With
    ``heat=0`` neither is so.

    Args:
        space: what to search.
        seed: proposals of two seeds are independent.
        hidden: units of the LSTM.
        bound: initial weights are uniform in (-bound, bound).
        batch: trials per update.
        epochs: gradient steps on each batch.
        learning_rate: learning rate of Adam.
        clip: largest distance of a choice's probability ratio from 1 that is still rewarded.
        entropy: weight of the entropy of each decision, in nats.
        decay: decay of the moving averages, per trial.
        heat: what each known proposal in a row adds to the temperature, which is 1 otherwise.

    Raises:
        ControllerError: ``hidden``, ``batch`` or ``epochs`` is no integer or below 1, ``bound``,
            ``entropy`` or ``heat`` below 0, ``learning_rate`` or ``clip`` not above 0, or
            ``decay`` not in 0 <= decay < 1.

    Example:
        >>> import optuna
        >>> from controllers import PPOSampler, suggest
        >>> from search_space import DetectorShape, NASFPNSpace, detector_cost
        >>> space = NASFPNSpace()
        >>> def objective(trial):
        ...     return detector_cost(suggest(trial, space), DetectorShape()).macs
        >>> sampler = PPOSampler(space, seed=0, hidden=16, batch=5)
        >>> study = optuna.create_study(sampler=sampler)
        >>> study.optimize(objective, n_trials=12)
        >>> len(space.decode(study.best_params).cells)
        7
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        *,
        hidden: int = 100,
        bound: float = 0.1,
        batch: int = 10,
        epochs: int = 4,
        learning_rate: float = 1e-2,
        clip: float = 0.2,
        entropy: float = 0.05,
        decay: float = 0.95,
        heat: float = 0.02,
    ) -> None:
        super().__init__(space, seed)
        self.hidden = check_count("hidden", hidden, 1, MOST_SIZE)
        self.batch = check_count("batch", batch, 1, MOST_SIZE)
        self.epochs = check_count("epochs", epochs, 1, MOST_SIZE)
        for name, value in (("bound", bound), ("entropy", entropy), ("heat", heat)):
            check_range(name, value, value >= 0, "0 or more")
        for name, value in (("learning_rate", learning_rate), ("clip", clip)):
            check_range(name, value, value > 0, "above 0")
        check_range("decay", decay, 0 <= decay < 1, "from 0 to below 1")
        self.bound, self.learning_rate = bound, learning_rate
        self.clip, self.entropy = clip, entropy
        self.decay, self.heat = decay, heat
        self._memory = _Memory((), {})
        self._kept = 0  # batches of the file, as far as this object knows

    def propose(self, records: Sequence[Record], rng: np.random.Generator) -> Choices:
        state = self._learn(self._batches(records))
        temperature = 1 + self.heat * _known_in_a_row(records)
        return self._policy().sample(state.learned.weights, rng, temperature)

    def prepare(self, study: Study, folder: Path) -> None:
        """Learn from the finished trials, and keep in the folder what is learned.

        What is kept is learned from the trials before the first that is not finished, because a
        trial that ends later belongs before all that follow it.
        """
        trials = all_trials(study)
        settled = list(takewhile(lambda trial: trial.state.is_finished(), trials))
        batches = self._batches(finished(self.space, study, settled, self._spaces))
        if not self._memory.batches and batches:
            self._recall(folder / FILE, batches)
        state = self._learn(batches)
        if len(batches) > self._kept:
            self._kept = len(batches)
            write_state(folder / FILE, self._key(), batches, state)
        if len(settled) < len(trials):
            self._learn(self._batches(finished(self.space, study, trials, self._spaces)))

    def _recall(self, path: Path, batches: Batches) -> None:
        if (kept := read_state(path, self._key(), batches)) is not None:
            self._kept, state = kept
            self._memory = _Memory(batches[: self._kept], {self._kept: state})

    def _key(self) -> str:
        """Return a hash of all that a state depends on but the records.

        That is the settings, the seed, the space, the code, and how this machine computes: the
        result of a step shows whether another NumPy or another CPU rounds differently.
        """
        settings = {name: getattr(self, name) for name in settings_of(type(self))}
        sizes = self._policy().sizes
        total = hashlib.sha256(json.dumps([settings, self.seed, sizes]).encode())
        for path in (__file__, policy.__file__, proximal.__file__, learned.__file__):
            total.update(Path(path).read_bytes())
        rng, first = self.generator(0), self._initial().learned
        drawn = np.stack([self._policy().sample(first.weights, rng) for _ in range(self.batch)])
        one = replace(self._ppo(), epochs=1)
        step = improve(self._policy(), one, first, drawn, rng.normal(size=self.batch))
        total.update(step.weights.tobytes())
        return total.hexdigest()

    def _batches(self, records: Sequence[Record]) -> Batches:
        """Return the records with a reward in batches; known proposals only if there is no heat.

        A last batch that is not full is left out until it is.
        """
        scored = [record for record in records if record.reward is not None]
        if self.heat:
            scored = list(dict.fromkeys(scored))
        ends = range(self.batch, len(scored) + 1, self.batch)
        return tuple(tuple(scored[end - self.batch : end]) for end in ends)

    def _learn(self, batches: Batches) -> State:
        """Fold the batches and return the last state."""
        states = self._memory.states_along(batches)
        done = max(states, default=0)
        state = states[done] if states else self._initial()
        for number, batch in enumerate(batches[done:], start=done + 1):
            state = states[number] = self._update(state, batch)
        recent = {n: states[n] for n in sorted(states)[-_REMEMBERED:]}
        # A single assignment, because threads of one study share a sampler.
        self._memory = _Memory(batches, recent)
        return state

    def _policy(self) -> Policy:
        return Policy(tuple(d.size for d in self.space.decisions()), self.hidden)

    def _initial(self) -> State:
        weights = self._policy().initial(self.generator(*_INITIAL_WEIGHTS), self.bound)
        return State(Learned.start(weights), None, 0.0)

    def _ppo(self) -> PPOSettings:
        return PPOSettings(self.learning_rate, self.entropy, self.clip, self.epochs)

    def _update(self, state: State, batch: Sequence[Record]) -> State:
        rewards = np.asarray([record.reward for record in batch], np.float64)
        baseline = float(rewards.mean()) if state.baseline is None else state.baseline
        variance = float(rewards.var()) if state.baseline is None else state.variance
        advantages = (rewards - baseline) / (np.sqrt(variance) + 1e-8)
        advantages = advantages.clip(-_MOST_ADVANTAGE, _MOST_ADVANTAGE)
        for reward in rewards:
            variance = self.decay * variance + (1 - self.decay) * (reward - baseline) ** 2
            baseline = self.decay * baseline + (1 - self.decay) * reward
        learned = improve(
            self._policy(),
            self._ppo(),
            state.learned,
            np.asarray([record.choices for record in batch], np.int64),
            advantages,
        )
        return State(learned, float(baseline), float(variance))


def _known_in_a_row(records: Sequence[Record]) -> int:
    """Return how many of the latest records have the choices and the reward of earlier ones."""
    first: dict[Record, int] = {}
    for index, record in enumerate(records):
        first.setdefault(record, index)
    known = (first[records[index]] < index for index in reversed(range(len(records))))
    return sum(1 for _ in takewhile(bool, known))
