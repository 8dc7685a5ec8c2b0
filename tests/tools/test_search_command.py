"""``nasfpn search`` in a space of its own."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from nasfpn_runtime.data.drawn import write_shapes
from search_space import NASFPNSpace, load_genome
from tools.cli import main

TINY = ["model.width=4", "model.channels=8", "model.stacks=1", "training.epochs=1"]


def test_a_search_over_p3_to_p6_with_separable_convolutions(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    write_shapes(data, train=8, val=2, test=1, size=64)
    settings = [*TINY, "model.separable=true", "data.image=[64, 64]"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    space = ["--levels", "3-6", "--intermediate-cells", "1"]
    folders = ["--data", str(data), "--out", str(out)]
    search = ["--recipe", "shapes-proxy", "--trials", "1", "--controller", "random"]
    assert main(["search", *folders, *search, *space, *overrides]) == 0
    genome = load_genome(out / "best.json")
    assert genome.levels == (3, 4, 5, 6)
    assert NASFPNSpace((3, 4, 5, 6), intermediate_cells=1).contains(genome)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["space"]["levels"] == [3, 4, 5, 6]
    assert json.loads((out / "best.json").read_text())["version"] == 1
