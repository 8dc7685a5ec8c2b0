"""The report of a search: figures, and lines about the best genome."""

from __future__ import annotations

from pathlib import Path

from optuna.study import Study

from controllers.figures import draw_search
from search_space import draw_genome, load_genome


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
            f"  {cell.level}  {cell.op:9}  {', '.join(map(str, cell.inputs))}"
            for cell in genome.cells
        ),
        f"genome      {best}",
        f"search      {search}",
        f"picture     {picture}",
    )
