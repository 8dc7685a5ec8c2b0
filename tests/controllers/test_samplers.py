"""Single controllers against results worked out by hand, and how trials become records."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from controllers import LocalSearchSampler, NSGAIISampler, RegularizedEvolutionSampler
from controllers.samplers import REPEATS, Record, distributions, finished, trial_index
from search_space import Genome
from synthetic import SPACE


def record(genome: Genome, reward: float | None) -> Record:
    return Record(tuple(SPACE.encode(genome).values()), reward)


def genomes(count: int) -> list[Genome]:
    rng = np.random.default_rng(1)
    return [SPACE.sample(rng) for _ in range(count)]


def test_evolution_mutates_the_best_of_the_latest_and_drops_the_oldest() -> None:
    """A tournament of 200 draws from 4 misses the best with probability 0.75 ** 200 = 1e-25."""
    sampler = RegularizedEvolutionSampler(SPACE, population=4, tournament=200)
    pool = genomes(5)
    log = [record(g, r) for g, r in zip(pool, (9, 1, 7, 2, 3), strict=True)]
    failed = Record(log[0].choices, None)
    for index in range(20):
        child = sampler.decode(sampler.propose([*log, failed, failed], sampler.generator(index)))
        assert child in set(SPACE.neighbours(pool[2]))  # 9 is the oldest of five


def test_local_search_climbs_tries_all_neighbours_and_restarts() -> None:
    sampler = LocalSearchSampler(SPACE, values=1, patience=0)
    start = genomes(1)[0]
    around = list(SPACE.neighbours(start))
    log = [record(start, 5.0)]
    proposed = set()
    for index in range(len(around)):
        choices = sampler.propose(log, sampler.generator(index))
        proposed.add(sampler.decode(choices))
        log.append(Record(choices, None if index % 3 else 5.0))
    assert proposed == set(around)  # each once; it moves neither to failures nor to equals
    restart = sampler.propose(log, sampler.generator(1000))
    assert restart == sampler.encode(SPACE.sample(sampler.generator(1000)))
    log.append(Record(restart, 1.0))
    lower = set(SPACE.neighbours(sampler.decode(restart)))
    assert sampler.decode(sampler.propose(log, sampler.generator(1001))) in lower


def test_local_search_moves_at_the_first_improvement_even_to_the_last_neighbour() -> None:
    sampler = LocalSearchSampler(SPACE, values=1, patience=0)
    start = genomes(1)[0]
    *others, last = SPACE.neighbours(start)
    log = [record(start, 5.0), *(record(g, 4.0) for g in others), record(last, 6.0)]
    untried = set(SPACE.neighbours(last)) - {start, *others}
    drawn = {sampler.decode(sampler.propose(log, sampler.generator(i))) for i in range(600)}
    assert drawn == untried  # 26 genomes: 600 uniform draws miss one with probability 2e-9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: RegularizedEvolutionSampler(s, population=0), "population .*1 or more.*got 0"),
        (lambda s: RegularizedEvolutionSampler(s, tournament=0), "tournament .*1 or more.*got 0"),
        (
            lambda s: RegularizedEvolutionSampler(s, crossover_probability=1.5),
            r"crossover_probability .*from 0 to 1, got 1\.5",
        ),
        (lambda s: NSGAIISampler(s, population=1), "population .*2 or more.*got 1"),
    ],
)
def test_settings_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(SPACE)  # type: ignore[operator]


def test_crossover_makes_children_of_two_parents() -> None:
    """With a population of two and crossover in each trial, some children mix cells of both."""
    a, b = genomes(2)
    sampler = RegularizedEvolutionSampler(
        SPACE, population=2, tournament=1, crossover_probability=1.0
    )
    log = [record(a, 1.0), record(b, 1.0)]
    children = [sampler.decode(sampler.propose(log, sampler.generator(i))) for i in range(50)]
    near = {*SPACE.neighbours(a), *SPACE.neighbours(b), a, b}
    assert any(child not in near for child in children)


def frozen(state: TrialState, **given: object) -> FrozenTrial:
    all_ = distributions(SPACE)
    params = dict.fromkeys(all_, 0)
    return create_trial(
        **{"state": state, "params": params, "distributions": all_, **given}  # type: ignore[arg-type]
    )


def study_of(*trials: FrozenTrial, direction: str = "maximize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return study


def test_records_of_trials() -> None:
    study = study_of(
        frozen(TrialState.COMPLETE, value=2.0),
        frozen(TrialState.FAIL),
        frozen(TrialState.PRUNED, value=0.5, intermediate_values={1: 0.5}),
        frozen(TrialState.PRUNED),
        frozen(TrialState.COMPLETE, value=float("inf")),
        frozen(TrialState.WAITING),
        frozen(TrialState.COMPLETE, value=9.0, params={}, distributions={}),
        frozen(TrialState.FAIL),
        frozen(TrialState.COMPLETE, value=3.0, user_attrs={REPEATS: 7}),
    )
    rewards = [r.reward for r in finished(SPACE, study, study.trials)]
    assert rewards == [2.0, None, 0.5, None, None, 3.0]
    study = study_of(frozen(TrialState.COMPLETE, value=2.0), direction="minimize")
    assert [r.reward for r in finished(SPACE, study, study.trials)] == [-2.0]


def test_a_repetition_has_the_index_of_its_first_attempt_and_shifts_no_other() -> None:
    """Trial 3 repeats trial 1, and trial 4 repeats trial 3; the others have indices 0, 2, 3."""
    study = study_of(
        frozen(TrialState.COMPLETE, value=0.0),
        frozen(TrialState.FAIL),
        frozen(TrialState.COMPLETE, value=0.0),
        frozen(TrialState.FAIL, user_attrs={REPEATS: 1}),
        frozen(TrialState.WAITING, user_attrs={REPEATS: 3}),
        frozen(TrialState.COMPLETE, value=0.0),
    )
    assert [trial_index(t, study.trials) for t in study.trials] == [0, 1, 2, 1, 1, 3]
