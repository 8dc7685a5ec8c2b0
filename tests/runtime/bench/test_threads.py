"""The speed of a detector that several threads call: rows, not times."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasfpn_runtime.bench.threads import FILES, time_threads
from small_networks import GENOME, small_recipe


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
def test_there_is_a_row_for_each_engine_and_number_of_threads(tmp_path: Path) -> None:
    recipe = small_recipe("bccd-128", "model.stacks=1")
    rows = list(time_threads(tmp_path, recipe, 1, GENOME, threads=(1, 3), images=4))
    assert [(r.format, r.engine, r.threads) for r in rows] == [
        (format, engine, threads) for format, engine in FILES for threads in (1, 3)
    ]
    assert all(row.own > 0 and row.locked > 0 for row in rows)
