"""``nasfpn quickstart`` in a run folder of another quick start."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.training import train as training
from search_space import genome_id, save_genome
from searched_archs import load
from tools import search
from tools.cli import main


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace search and training; return the name of the folder and the seed of each training."""
    trained: list[tuple[str, int]] = []

    def run_search(data: Path, out: Path, *, trials: int, **_: Any) -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "study.lock").touch()
        save_genome(load("panet" if trials < 5 else "bifpn"), out / "best.json")

    def train(recipe: Any, genome: Any, data: Path, out: Path, *, seed: int) -> Any:
        out.mkdir(exist_ok=True)
        save_genome(genome, out / "genome.json")
        trained.append((out.name, seed))
        return SimpleNamespace(metrics={"AP": 0.5, "AP50": 0.6})

    monkeypatch.setattr(search, "run_search", run_search)
    monkeypatch.setattr(training, "train", train)
    return trained


def test_data_drawn_with_another_seed_are_refused(
    tmp_path: Path, runs: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a kill between the data and the search, which has a seed of its own."""
    out = tmp_path / "out"
    write_shapes(out / "data", train=2, val=1, test=1, seed=3)
    assert main(["quickstart", "--out", str(out), "--seed", "4"]) == 2
    assert re.search(rf"--seed 4, got .*{out / 'data'}", capsys.readouterr().err)
    assert runs == []
    assert main(["quickstart", "--out", str(out), "--seed", "3"]) == 0
    assert runs == [("best", 3), ("nasfpn", 3)]
    file = out / "data" / "annotations" / "instances_train2017.json"
    for content in ("{", json.dumps({"images": []})):
        file.write_text(content)
        assert main(["quickstart", "--out", str(out), "--seed", "3"]) == 2


@pytest.mark.slow
def test_another_winner_after_more_trials_is_trained_beside_the_first(
    tmp_path: Path, runs: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    write_shapes(out / "data", train=2, val=1, test=1)
    for trials in ("4", "5", "4"):
        assert main(["quickstart", "--out", str(out), "--trials", trials]) == 0
    beside = f"best-{genome_id(load('bifpn'))[:8]}"
    assert [name for name, _ in runs if name != "nasfpn"] == ["best", beside, "best"]
    assert str(out / beside / "checkpoints") in capsys.readouterr().out
