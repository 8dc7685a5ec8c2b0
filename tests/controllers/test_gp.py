"""The Bayesian controller: what it never proposes, other workers, and what it does not depend on.

``test_learning.py`` shows that it learns.
"""

from __future__ import annotations

import numpy as np
import pytest
from optuna.trial import TrialState

from controllers import GPSampler
from controllers.errors import ControllerError
from controllers.samplers import Record, suggest
from search_space import Level, NASFPNSpace
from searches import choices, new_study
from synthetic import SPACE, reward


def records(count: int, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    genomes = [SPACE.sample(rng) for _ in range(count)]
    return [Record(tuple(SPACE.encode(g).values()), reward(g)) for g in genomes]


def test_no_genome_is_proposed_twice_even_if_it_failed() -> None:
    sampler = GPSampler(SPACE, 0, start=5, pool=20)
    log = records(5)
    for index in range(5, 60):
        proposed = sampler.propose(log, sampler.generator(index))
        genome = sampler.decode(proposed)
        assert all(sampler.decode(record.choices) != genome for record in log)
        log.append(Record(proposed, reward(genome) if index % 3 else None))


def test_failed_trials_are_not_learned_from() -> None:
    sampler, log = GPSampler(SPACE, 0, start=5), records(30)
    (other,) = records(1, seed=1)
    failed = Record(other.choices, None)
    for index in range(10):
        with_it = sampler.propose([*log, failed], sampler.generator(index))
        assert with_it == sampler.propose(log, sampler.generator(index))


def test_running_trials_of_others_are_avoided() -> None:
    """The same random numbers would lead to the same genome if it were not being trained."""
    sampler, log = GPSampler(SPACE, 0, start=5), records(30)
    for index in range(10):
        first = sampler.propose(log, sampler.generator(index))
        second = sampler.propose_beside(log, [first], sampler.generator(index))
        assert sampler.decode(first) != sampler.decode(second)


def test_workers_of_a_study_train_different_genomes() -> None:
    study = new_study(GPSampler(SPACE, 0, start=5))
    for _ in range(10):
        trial = study.ask()
        study.tell(trial, reward(suggest(trial, SPACE)))
    asked = [choices(study.ask()) for _ in range(12)]
    assert [trial.state for trial in study.trials[10:]] == [TrialState.RUNNING] * 12
    assert len(set(asked)) == 12


def test_the_scale_of_rewards_changes_nothing() -> None:
    sampler, log = GPSampler(SPACE, 0), records(40)
    scaled = [Record(r.choices, 1024 * (r.reward or 0)) for r in log]
    for index in range(5):
        generators = sampler.generator(index), sampler.generator(index)
        assert sampler.propose(log, generators[0]) == sampler.propose(scaled, generators[1])


def test_a_space_that_is_used_up_is_no_error() -> None:
    space = NASFPNSpace((Level(3), Level(4)), 0, ops=("sum",))
    sampler = GPSampler(space, 0, start=2)
    log = [
        Record(tuple(space.encode(genome).values()), float(index))
        for index, genome in enumerate(space.enumerate())
    ]
    assert space.contains(sampler.decode(sampler.propose(log, sampler.generator(0))))


def test_an_outlier_below_changes_little() -> None:
    """A training that diverged counts as if it were as far below the median as the best is above.

    Were it taken as it is, all others would look equal, and the noise would be fitted to it.
    """
    sampler, log = GPSampler(SPACE, 0), records(40)
    bad, worse = ([*log, Record(records(1, seed=2)[0].choices, value)] for value in (-1e3, -1e9))
    for index in range(5):
        generators = sampler.generator(index), sampler.generator(index)
        assert sampler.propose(bad, generators[0]) == sampler.propose(worse, generators[1])


def test_equal_values_are_no_error() -> None:
    sampler = GPSampler(SPACE, 0, start=5)
    log = [Record(record.choices, 0.0) for record in records(20)]
    proposed = {sampler.propose(log, sampler.generator(index)) for index in range(5)}
    assert len(proposed) >= 3


@pytest.mark.slow
def test_a_log_of_thousands_is_learned_from_in_part() -> None:
    """The best trials are kept however old they are: their neighbourhood is still searched."""
    rng = np.random.default_rng(0)
    log = sorted(records(1500), key=lambda record: -(record.reward or 0))
    sampler = GPSampler(SPACE, 0)
    proposed = [reward(sampler.decode(sampler.propose(log, rng))) for _ in range(5)]
    assert min(proposed) > np.median([record.reward or 0 for record in log])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 1}, "^start .*2 or more.*got 1"),
        ({"pool": 9}, "^pool .*10 or more.*got 9"),
        ({"pool": 10_001}, "^pool .*10,000, got 10001"),
    ],
)
def test_settings_are_checked(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ControllerError, match=message):
        GPSampler(SPACE, **settings)
