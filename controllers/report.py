"""The report of a search: figures, and lines about the best genome."""

from __future__ import annotations

from pathlib import Path

from optuna.study import Study

from controllers.figures import draw_search
from controllers.study import trained
from search_space import draw_genome, load_genome


def doubt(study: Study) -> str | None:
    """Return a line on why the best value says nothing, or None if it does.

    That is so if all values are 0 or, of several genomes, equal.
    """
    values = {trial.value for trial in trained(study)}
    if len(values) != 1 or (len(trained(study)) == 1 and values != {0.0}):
        return None
    (value,) = values
    return (
        f"all values are {value:g}: the best genome is no better than the others; check the data "
        "with `nasfpn data show`, or train each genome for more epochs or with another training.lr"
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
    draw_search(study.get_trials(deepcopy=False), search)
    genome = load_genome(best)
    draw_genome(genome, picture)
    return (
        f"best value  {study.best_value:.4f} (trial {study.best_trial.number})",
        *(
            f"{node:4}  {cell.level}  {cell.op:9}  {', '.join(map(str, cell.inputs))}"
            for node, cell in enumerate(genome.cells, start=len(genome.levels))
        ),
        f"genome      {best}",
        f"score curve {search}",
        f"drawing     {picture}",
    )
