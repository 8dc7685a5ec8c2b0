"""``nasfpn compare``: one command from data to table; a second run repeats nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.scoring import evaluate
from nasfpn_runtime.scoring.evaluate import score_checkpoint
from search_space import DetectorShape, detector_cost
from searched_archs import load
from tools.cli import main

RECIPE = """
model: {backbone: resnet10, width: 4, channels: 8, stacks: 1, head_convs: 0}
data: {image: [128, 128], fit: squash}
training: {epochs: 1, batch: 2, evaluate_every: 0, save_every: 0}
"""


def test_table_and_figure_from_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe, out = tmp_path / "data", tmp_path / "tiny.yaml", tmp_path / "out"
    write_shapes(data, train=2, val=1, test=1)
    recipe.write_text(RECIPE)
    argv = ["compare", "--data", str(data), "--out", str(out), "--proxy", str(recipe)]
    argv += ["--recipe", str(recipe), "--controllers", "random", "--trials", "1"]
    argv += ["--archs", "fpn", "--seeds", "0"]
    assert main(argv) == 0
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    rows = {row.split("|")[1].strip(): row for row in table.splitlines()[2:]}
    assert set(rows) == {"fpn", "random winner"}
    shape = DetectorShape("resnet10", 4, 8, 1, 0, classes=4, image=(128, 128))
    assert f"{detector_cost(load('fpn'), shape).parameters / 1e6:.2f} M" in rows["fpn"]
    assert (out / "searches.svg").stat().st_size > 0
    # A second run trains nothing: everything it needs is in the run folder.
    for checkpoint in out.rglob("last.ckpt"):
        checkpoint.unlink()
    assert main(argv) == 0
    assert (out / "table.md").read_text() == table
    assert not list(out.rglob("last.ckpt"))


def test_a_full_disk_loses_only_the_file_being_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    full_disk: Callable[[], AbstractContextManager[None]],
) -> None:
    data, recipe, out = tmp_path / "data", tmp_path / "tiny.yaml", tmp_path / "out"
    write_shapes(data, train=2, val=1, test=1)
    recipe.write_text(RECIPE)
    argv = ["compare", "--data", str(data), "--out", str(out), "--recipe", str(recipe)]
    argv += ["--controllers", "--archs", "fpn", "--seeds", "0"]

    def score_and_fill(*args: Any) -> dict[str, float]:
        scores = score_checkpoint(*args)
        filled.enter_context(full_disk())
        return scores

    with monkeypatch.context() as patch, ExitStack() as filled:
        patch.setattr(evaluate, "score_checkpoint", score_and_fill)
        assert main(argv) == 2
    assert "File too large" in capsys.readouterr().err
    assert not list(out.rglob("*scores.json*"))
    assert main(argv) == 0
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    with full_disk():
        assert main(argv) == 2
    assert (out / "table.md").read_text() == table
    assert len(list(out.glob("*table.md*"))) == 1
