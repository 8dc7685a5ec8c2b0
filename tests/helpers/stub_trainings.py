"""Trainings that write no weights and take no time, for tests of what is made of their results."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.digest import digests
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.scoring import evaluate
from nasfpn_runtime.training import train as training
from nasfpn_runtime.training.runfolder import write_settings
from search_space import Genome


class Trainings:
    """Replaces training and scoring by files and numbers; remembers the runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[str] = []
        monkeypatch.setattr(training, "train", self._train)
        monkeypatch.setattr(evaluate, "score_checkpoint", lambda *_: {"AP": len(self.runs) / 10})

    def _train(
        self, recipe: Recipe, genome: Genome, data: Path, out: Path, *, seed: int, expected: Any
    ) -> Any:
        splits = {split: load_split(data, split) for split in ("train", "val")}
        assert digests(splits) == expected
        categories = splits["train"].categories
        out.mkdir(parents=True, exist_ok=True)
        write_settings(out, Origin(recipe, genome, categories, seed, 0, data=expected, init=""))
        self.runs.append(f"{out.parent.name}/{out.name}")
        return SimpleNamespace(metrics={"AP": 0.5}, last=out)
