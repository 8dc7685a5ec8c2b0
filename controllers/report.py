"""The report of a search: figures, and lines about the best genome."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from optuna.study import Study

from controllers.best import FINAL
from controllers.contest import FIRST
from controllers.figures import draw_search
from controllers.final import Final
from controllers.journal import IDENTITY
from controllers.ladder import climbed, on_rung, recipe_of, rung_name, rung_names
from controllers.placing import Estimate, Placing
from controllers.study import trained
from controllers.view import clock
from search_space import Cost, draw_genome
from search_space.codec import read_document
from search_space.names import padded, shown, width

OVERSTATED = (
    "the value of the best genome is that of one short training, and the best of many is mostly a "
    "lucky one; --final K trains the K best again"
)


def doubt(study: Study) -> str | None:
    """Return a line on why the best value says nothing, or None if it does.

    That is so if all values are 0 or, of several genomes, equal; with a ladder, those on its first
    rung, which all genomes have.
    """
    trials, rungs = trained(study), rung_names(study)
    values = {next(iter(climbed(trial)), trial.value) for trial in trials}
    if len(values) != 1 or (len(trials) == 1 and values != {0.0}):
        return None
    (value,) = values
    where = on_rung(rungs[0]) if rungs else ""
    return (
        f"all values{where} are {value:g}: the best genome is no better than the others; check the "
        "data with `nasfpn data show`, or train each genome for more epochs or with another "
        "training.lr"
    )


def write_report(study: Study, out: Path) -> tuple[str, ...]:
    """Draw ``figures/search.svg`` and ``figures/best.svg``, and return the lines to print.

    Args:
        study: the study of the search.
        out: its run folder, with the best genome in ``best.json``. Without that file nothing
            is drawn, and there are no lines.
    """
    best = out / "best.json"
    if not best.exists():
        return ()
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    search, picture = figures / "search.svg", figures / "best.svg"
    draw_search(study.get_trials(deepcopy=False), search, rungs=rung_names(study))
    genome, meta = read_document(best.read_text(encoding="utf-8"))
    draw_genome(genome, picture)
    if FINAL in meta:
        final = meta[FINAL]
        seeds = len(final["seeds"])
        score = f"mean value  {final['mean']:.4f} ({shown(final['name'])}, {seeds} fresh seeds)"
    else:
        rung = f", rung {meta['rung']}" if "rung" in meta else ""
        score = f"best value  {meta['value']:.4f} (trial {meta['trial']}{rung})"
    return (
        score,
        *(
            f"{node:4}  {cell.level}  {cell.op:9}  {', '.join(map(str, cell.inputs))}"
            for node, cell in enumerate(genome.cells, start=len(genome.levels))
        ),
        f"genome      {best}",
        f"score curve {search}",
        f"drawing     {picture}",
    )


def announce(final: Final, recipe: str) -> str:
    """Return a line on what a final will cost.

    The time is that of the trainings of the search, scaled by the epochs of both recipes.

    Args:
        final: the final, before it goes on.
        recipe: name of its recipe.
    """
    found, state = final.standing()
    if not state.most:
        return f"final: nothing is left to train for {len(found)} contenders"
    starts = sum(contender.start for contender in found)
    trainings = _range(str(len(state.needed)), str(state.most))
    made = sum(map(len, final.results().values()))
    before = f" besides {made} that were made before" if made else ""
    line = (
        f"final: {len(found)} contenders, of them starting points: {starts}; recipe {recipe}; "
        f"trainings: {trainings}{before}"
    )
    try:
        each = _epoch(final.study) * final.settings.arguments["recipe"]["training"]["epochs"]
        each /= final.settings.workers
    except (LookupError, TypeError, ZeroDivisionError):
        return line  # nothing says how long a training takes
    least, most = (clock(count * each) for count in (len(state.needed), state.most))
    return f"{line}; about {_range(least, most)}"


def _epoch(study: Study) -> float:
    """Return the mean seconds of an epoch in the last training of each genome of a search.

    Raises:
        LookupError, TypeError, ZeroDivisionError: nothing says how long an epoch takes.
    """
    identity = study.user_attrs[IDENTITY]
    seconds: list[float] = []
    for trial in trained(study):
        # The seconds of a trial with an error are of a rung above that of its value.
        if "seconds" in trial.user_attrs and "error" not in trial.user_attrs:
            recipe = recipe_of(identity, rung_name(study, trial))
            seconds.append(trial.user_attrs["seconds"] / recipe["training"]["epochs"])
    return sum(seconds) / len(seconds)


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def final_lines(placing: Placing, costs: Mapping[str, Cost]) -> list[str]:
    """Return a table of the contenders of a final, and a sentence on its winner.

    Args:
        placing: the result of the final.
        costs: the cost of each contender's detector, by the id of its genome.
    """
    baseline = placing.baseline
    gap = f"difference from {shown(baseline.contender.name)}" if baseline else "difference"
    rows = [["contender", "proxy", "seeds", "mean", gap, "MACs", "parameters"]]
    for place in placing.places:
        contender, cost = place.contender, costs[place.contender.identity]
        note = "failed" if place.failed else "left" if place.left else ""
        rows.append(
            [
                shown(contender.name),
                "-" if contender.value is None else f"{contender.value:.3f}{_of(contender.rung)}",
                f"{place.rounds} {note}".strip(),
                _estimate(place.score, ".3f"),
                "baseline" if place == baseline else _estimate(place.difference, "+.3f"),
                f"{cost.macs / 1e6:.1f} M",
                f"{cost.parameters / 1e6:.2f} M",
            ]
        )
    widths = [max(width(cell) for cell in column) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(padded(cell, w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return [*table, "", sentence(placing)]


def sentence(placing: Placing) -> str:
    """Return what a final says about its winner and the starting points."""
    winner, baseline = placing.winner, placing.baseline
    name = shown(winner.contender.name)
    if baseline is None:
        said = f"The winner is {name}; there is no starting point to compare it with."
    elif winner.contender.start:
        said = f"The winner is {name}, a starting point: no genome of the search is ahead of it."
    else:
        early = f" (this takes {FIRST} rounds)" if winner.rounds < FIRST else ""
        how = "ahead of" if placing.ahead else f"not distinguishable{early} from"
        assert winner.difference is not None
        gap = f"{winner.difference.mean:+.3f}"
        if winner.difference.interval is not None:
            gap += " ({:+.3f} to {:+.3f})".format(*winner.difference.interval)
        said = (
            f"The winner, {name}, is {how} the starting points: the difference of its mean from "
            f"that of the best of them, {shown(baseline.contender.name)}, is {gap}."
        )
    return f"{said}{_level(placing)}"


def _level(placing: Placing) -> str:
    if placing.level:
        names = ", ".join(shown(place.contender.name) for place in placing.level)
        return f" Not distinguishable from it: {names}."
    return " It is ahead of all others." if len(placing.places) > 1 else ""


def _of(rung: str) -> str:
    return f" ({shown(rung)})" if rung else ""


def _estimate(estimate: Estimate | None, form: str) -> str:
    if estimate is None:
        return "-"
    mean = format(estimate.mean, form)
    return mean if estimate.half is None else f"{mean} ± {estimate.half:.3f}"
