"""The results of a study of rungs, by hand."""

from __future__ import annotations

import math

import numpy as np

from controllers.fidelity_table import COLUMNS, Measured, complete, table


def measured(*ap: list[float], seconds: float = 10.0, recipe: str = "r") -> Measured:
    """Return a rung with an AP for each seed of each genome."""
    values = np.array(ap)
    return Measured(recipe, values, np.full(values.shape, seconds))


def rows(text: str) -> dict[str, dict[str, str]]:
    """Return the cells of each line by the name of its column."""
    head, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
    ]
    assert tuple(head) == COLUMNS
    return {line[0]: dict(zip(head, line, strict=True)) for line in lines}


def test_a_small_table_by_hand() -> None:
    """The mean target is .15, .25, .35, .45.

    Seed 0 of the rung has the same order: tau 1, no regret. Seed 1 has the first two and the last
    two reversed: 4 of 6 pairs are in order, tau = (4 - 2) / 6 = 1/3, its first has .35, its first
    three .45. On average tau is 2/3 and regret@1 .05. Ranks 2, 1, 4, 3 against 1, 2, 3, 4:
    rho = 1 - 6 * 4 / (4 * 15) = .6, on average .8.

    The two seeds of the target have the same order, and differ by .1 for each genome, so that
    their standard deviation is .1 / sqrt(2) = .071.
    """
    target = measured([0.1, 0.2], [0.2, 0.3], [0.3, 0.4], [0.4, 0.5], seconds=100)
    rung = measured([0.1, 0.2], [0.2, 0.1], [0.3, 0.4], [0.4, 0.3], recipe="r+warm")
    found = rows(table({"target": target, "warm": rung}))
    assert found["target"]["tau"].startswith("1.00 (1.00 to 1.00)")
    assert found["target"]["noise sd"] == "0.071"
    assert found["target"]["s a genome"] == "100"
    warm = found["warm"]
    assert warm["recipe"] == "r+warm"
    assert warm["tau"].startswith("0.67 (")
    assert warm["rho"].startswith("0.80 (")
    assert [warm[f"regret@{k}"] for k in (1, 3, 5)] == ["0.050", "0.000", "0.000"]
    assert warm["tau, top quarter"] == "-"  # one genome has no order


def test_a_training_of_the_target_is_compared_with_the_others_only() -> None:
    """Seed 1 has the first two and the last two genomes reversed: tau (4 - 2) / 6, either way."""
    target = measured([0.1, 0.2], [0.2, 0.1], [0.3, 0.4], [0.4, 0.3])
    assert rows(table({"target": target}))["target"]["tau"].startswith("0.33 (")


def test_one_seed_of_the_target_cannot_be_compared_with_another() -> None:
    target = measured([0.1], [0.2], [0.3], [0.4])
    found = rows(table({"target": target, "proxy": target}))
    assert set(found["target"].values()) == {"target", "r", "10", "-"}
    assert found["proxy"]["tau"] == "1.00 (1.00 to 1.00)"


def test_genomes_without_all_scores_are_left_out() -> None:
    whole = [[0.1, 0.2], [0.2, 0.3], [0.3, 0.4], [0.4, 0.5]]
    partial = [[9.0, math.nan], *whole[:2], [math.nan] * 2, *whole[2:]]
    padded = [[0.0, 9.0], *whole[:2], [5.0, 0.0], *whole[2:]]
    rungs = {"target": measured(*padded), "proxy": measured(*partial)}
    assert complete(rungs).tolist() == [1, 2, 4, 5]
    assert table(rungs) == table({"target": measured(*whole), "proxy": measured(*whole)})
