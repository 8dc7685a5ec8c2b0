"""Local search: what it proposes again, and that noise does not mislead it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from controllers import LocalSearchSampler
from controllers.samplers import Choices, Record
from synthetic import SPACE, reward


def climb(sampler: LocalSearchSampler, trials: int, noise: float, seed: int) -> list[Record]:
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for index in range(trials):
        choices = sampler.propose(records, sampler.generator(index))
        value = reward(sampler.decode(choices)) + noise * rng.normal()
        records.append(Record(choices, value))
    return records


def test_nothing_is_proposed_again_if_that_is_switched_off() -> None:
    for seed in range(5):
        sampler = LocalSearchSampler(SPACE, seed, values=1, patience=0)
        asked = [record.choices for record in climb(sampler, 120, 3.0, seed)]
        assert len(set(asked)) == len(asked)
        assert not sampler.repeats


def test_without_noise_at_most_three_genomes_are_proposed_again() -> None:
    """Values that are equal whenever they are repeated need no repeating."""
    for seed in range(5):
        records = climb(LocalSearchSampler(SPACE, seed), 120, 0.0, seed)
        assert 120 - len({record.choices for record in records}) == 3


@pytest.mark.parametrize("values", [2, 3])
def test_a_better_neighbour_is_proposed_until_it_has_its_values(values: int) -> None:
    """It is lucky once, so the search stays; the next is better each time, so it moves."""
    sampler = LocalSearchSampler(SPACE, 0, values=values, patience=0)

    def ask(log: list[Record]) -> Choices:
        return sampler.propose(log, sampler.generator(len(log)))

    log = [Record(ask([]), 1.0)]
    top = log[0].choices
    lucky = ask(log)
    log.append(Record(lucky, 2.0))
    assert ask(log) == lucky
    log.append(Record(lucky, -9.0))
    better = ask(log)
    assert better not in (top, lucky)
    assert better in sampler._neighbours(top)
    for number in range(values):
        log.append(Record(better, 2.0 + number))
        assert (ask(log) == better) == (number + 1 < values)
    after = ask(log)
    assert after in sampler._neighbours(better)


def test_a_lucky_incumbent_is_found_out_after_some_patience() -> None:
    """Its mean falls below that of a neighbour that was tried before, which is then current."""
    sampler = LocalSearchSampler(SPACE, 0, values=1, patience=4)

    def ask(log: list[Record]) -> Choices:
        return sampler.propose(log, sampler.generator(len(log)))

    log = [Record(ask([]), 9.0)]
    lucky = log[0].choices
    for value in (1.0, 3.0, 2.0, 1.0):
        log.append(Record(ask(log), value))
    assert ask(log) == lucky
    log.append(Record(lucky, -5.0))
    assert ask(log) in sampler._neighbours(log[2].choices)


def test_a_training_that_fails_is_not_proposed_again() -> None:
    sampler = LocalSearchSampler(SPACE, 0, patience=3)
    log = [Record(sampler.propose([], sampler.generator(0)), 1.0)]
    for value in (2.0, None, 0.5, None, None):
        log.append(Record(sampler.propose(log, sampler.generator(len(log))), value))
    assert Counter(record.choices for record in log).most_common(1)[0][1] == 2
