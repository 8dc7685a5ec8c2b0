"""``nasfpn compare``: one command from data to table; a second run repeats nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from locations import TWO_LEVELS
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.scoring import evaluate
from nasfpn_runtime.scoring.evaluate import score_checkpoint
from search_space import DetectorShape, detector_cost, genome_id, load_genome, save_genome
from searched_archs import load
from stub_trainings import Trainings
from tools import search
from tools.cli import main

RECIPE = """
model: {backbone: resnet10, width: 4, channels: 8, stacks: 1, head_convs: 0}
data: {image: [128, 128], fit: squash}
training: {epochs: 1, batch: 2, evaluate_every: 0, save_every: 0}
"""


@pytest.mark.slow
def test_table_and_figure_from_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe, out = tmp_path / "data", tmp_path / "tiny.yaml", tmp_path / "out"
    write_shapes(data, train=2, val=1, test=1)
    recipe.write_text(RECIPE)
    argv = ["compare", "--data", str(data), "--out", str(out), "--proxy", str(recipe)]
    argv += ["--recipe", str(recipe), "--controllers", "random", "--trials", "1"]
    argv += ["--archs", str(TWO_LEVELS), "--seeds", "0"]
    assert main(argv) == 0
    table = (out / "table.md").read_text()
    assert table in capsys.readouterr().out
    rows = {row.split("|")[1].strip(): row for row in table.splitlines()[2:]}
    assert set(rows) == {"two_levels", "random winner"}
    shape = DetectorShape("resnet10", 4, 8, 1, 0, classes=4, image=(128, 128))
    assert (
        f"{detector_cost(load_genome(TWO_LEVELS), shape).parameters / 1e6:.2f} M"
        in rows["two_levels"]
    )
    assert (out / "searches.svg").stat().st_size > 0
    # A second run trains nothing: everything it needs is in the run folder.
    for checkpoint in out.rglob("last.ckpt"):
        checkpoint.unlink()
    assert main(argv) == 0
    assert (out / "table.md").read_text() == table
    assert not list(out.rglob("last.ckpt"))


@pytest.mark.slow
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
    argv += ["--controllers", "--archs", str(TWO_LEVELS), "--seeds", "0"]

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


def rows(out: Path) -> dict[str, list[str]]:
    """Return the cells of each row of the table by its name."""
    lines = (out / "table.md").read_text().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in cells}


@pytest.fixture
def comparison(tmp_path: Path) -> list[str]:
    """Return the command line of a comparison of ``fpn`` with a file, on drawn data."""
    write_shapes(tmp_path / "data", train=2, val=1, test=1, size=64)
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    save_genome(load("panet"), tmp_path / "best.json")
    argv = ["compare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    argv += ["--recipe", str(tmp_path / "tiny.yaml"), "--controllers", "--seeds", "0"]
    return [*argv, "--archs", "fpn", str(tmp_path / "best.json")]


def edit_recipe(folder: Path) -> list[str]:
    (folder / "tiny.yaml").write_text(RECIPE.replace("epochs: 1", "epochs: 2"))
    return []


def set_setting(folder: Path) -> list[str]:
    return ["--set", "training.lr=0.5"]


def change_a_split(folder: Path, split: str) -> list[str]:
    file = folder / "data" / "annotations" / f"instances_{split}2017.json"
    content = json.loads(file.read_text())
    content["annotations"].pop()
    file.write_text(json.dumps(content))
    return []


@pytest.mark.parametrize("scored", [True, False], ids=["scored", "only started"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit_recipe, r"recipe \(training\.epochs is 1 there, 2 here\)"),
        (set_setting, r"recipe \(training\.lr is \S+ there, 0\.5 here\)"),
        (partial(change_a_split, split="train"), "dataset .*split train"),
        (partial(change_a_split, split="val"), "dataset .*split val"),
        (partial(change_a_split, split="test"), "dataset .*split test"),
    ],
)
def test_scores_of_another_recipe_or_data_set_are_not_reused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    comparison: list[str],
    change: Callable[[Path], list[str]],
    message: str,
    scored: bool,
) -> None:
    trainings, out = Trainings(monkeypatch), tmp_path / "out"
    assert main(comparison) == 0
    assert trainings.runs == ["fpn/seed0", "best/seed0"]
    assert main(comparison) == 0
    assert len(trainings.runs) == 2  # nothing has changed, nothing is trained
    if not scored:
        for file in out.rglob("scores.json"):
            file.unlink()
    table = (out / "table.md").read_bytes()
    more = change(tmp_path)
    if not scored and "test" in message:
        return  # the test split is not a part of the training
    assert main([*comparison, *more]) == 2
    assert re.search(rf"fpn/seed0 holds a run of another {message}", capsys.readouterr().err)
    assert len(trainings.runs) == 2
    assert (out / "table.md").read_bytes() == table
    assert main([*comparison, *more, "--seeds", "1", "--out", str(tmp_path / "other")]) == 0


def test_other_genomes_seeds_and_more_of_them_get_runs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comparison: list[str]
) -> None:
    trainings, out = Trainings(monkeypatch), tmp_path / "out"
    assert main(comparison) == 0
    before = rows(out)
    save_genome(load("bifpn"), tmp_path / "best.json")
    assert main([*comparison, "--seeds", "0", "1", "0"]) == 0
    name = f"best-{genome_id(load('bifpn'))[:8]}"
    runs = ["fpn/seed0", "best/seed0", "fpn/seed1", f"{name}/seed0", f"{name}/seed1"]
    assert trainings.runs == runs
    after = rows(out)
    assert after.keys() == before.keys() == {"fpn", "best"}
    assert after["best"] != before["best"]
    save_genome(load("panet"), tmp_path / "best.json")
    assert main(comparison) == 0
    assert rows(out) == before
    assert trainings.runs == runs


@pytest.mark.parametrize("turned", [False, True])
def test_files_of_one_name_are_rows_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comparison: list[str], turned: bool
) -> None:
    trainings, out = Trainings(monkeypatch), tmp_path / "out"
    genomes = {"a": "panet", "b": "bifpn", "c": "panet"}
    files = [str(tmp_path / name / "best.json") for name in genomes]
    for file, genome in zip(files, genomes.values(), strict=True):
        Path(file).parent.mkdir()
        save_genome(load(genome), file)
    assert main([*comparison[:-3], "--archs", *files]) == 0
    if turned:
        files = files[::-1]
    assert main([*comparison[:-3], "--archs", *files]) == 0
    assert rows(out).keys() == set(files)
    assert len(trainings.runs) == 2  # one genome is in two files
    a, b, c = (rows(out)[file] for file in sorted(files))
    assert a == c != b


@pytest.mark.parametrize(
    "content", ['{"val": 0.1, "test": 0.2}', "", "[]", '{"val": 0.1, "run": 3}']
)
def test_scores_that_do_not_say_what_they_are_of_are_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    comparison: list[str],
    content: str,
) -> None:
    """An earlier version wrote the first."""
    trainings, out = Trainings(monkeypatch), tmp_path / "out"
    file = out / "fpn" / "seed0" / "scores.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert main(comparison) == 0
    assert f"{file} does not say which run" in capsys.readouterr().err
    assert rows(out)["fpn"][0] == "0.500"
    assert "fpn/seed0" in trainings.runs
    assert main(comparison) == 0
    assert "does not say" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("val", math.nan),
        ("test", math.inf),
        ("val", 5),
        ("val", True),
        ("val", "0.5"),
        ("run.data", None),
        ("run.data", {}),
        ("run.init", None),
    ],
)
def test_scores_that_cannot_be_those_of_a_run_are_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    comparison: list[str],
    key: str,
    value: object,
) -> None:
    trainings, out = Trainings(monkeypatch), tmp_path / "out"
    assert main(comparison) == 0
    before = rows(out)["fpn"][0]
    file = out / "fpn" / "seed0" / "scores.json"
    content = json.loads(file.read_text())
    section, _, name = key.rpartition(".")
    (content[section] if section else content)[name] = value
    file.write_text(json.dumps(content))
    assert main(comparison) == 0
    assert f"{file} does not say which run" in capsys.readouterr().err
    assert trainings.runs == ["fpn/seed0", "best/seed0", "fpn/seed0"]
    assert rows(out)["fpn"][0] == before


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b'{"version": 2, "data": 5}'])
def test_a_run_that_cannot_be_read_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    comparison: list[str],
    content: bytes,
) -> None:
    Trainings(monkeypatch)
    assert main(comparison) == 0
    file = tmp_path / "out" / "fpn" / "seed0" / "run.json"
    file.write_bytes(content)
    assert main(comparison) == 2
    assert str(file) in capsys.readouterr().err.splitlines()[-1]


def test_data_that_change_meanwhile_end_the_comparison(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    comparison: list[str],
) -> None:
    Trainings(monkeypatch)
    score = evaluate.score_checkpoint

    def score_and_change(*args: Any) -> dict[str, float]:
        change_a_split(tmp_path, "test")
        return score(*args)

    monkeypatch.setattr(evaluate, "score_checkpoint", score_and_change)
    assert main(comparison) == 2
    assert re.search(f"split 'test' .*{tmp_path / 'data'}", capsys.readouterr().err)
    assert not list((tmp_path / "out").rglob("scores.json"))


def test_settings_of_both_recipes_and_more_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comparison: list[str]
) -> None:
    """With more trials another genome wins; its scores are not those of the earlier winner."""
    trainings, searches = Trainings(monkeypatch), []

    def run_search(data: Path, out: Path, *, recipe: Recipe, trials: int, **_: Any) -> Any:
        searches.append((recipe.training.lr, trials))
        out.mkdir(parents=True, exist_ok=True)
        (out / "study.lock").touch()
        save_genome(load("panet" if trials < 5 else "bifpn"), out / "best.json")
        return optuna.create_study()

    monkeypatch.setattr(search, "run_search", run_search)
    argv = [*comparison[:-3], "--controllers", "random", "--archs", "fpn"]
    argv += ["--set", "training.lr=0.25", "--proxy-set", "training.lr=0.125"]
    for trials in ("4", "5"):
        assert main([*argv, "--trials", trials]) == 0
    assert searches == [(0.125, 4), (0.125, 5)]
    winner = f"random-winner-{genome_id(load('bifpn'))[:8]}"
    assert trainings.runs == ["fpn/seed0", "random-winner/seed0", f"{winner}/seed0"]
    config = yaml.safe_load((tmp_path / "out" / winner / "seed0" / "config.yaml").read_text())
    assert config["training"]["lr"] == 0.25
