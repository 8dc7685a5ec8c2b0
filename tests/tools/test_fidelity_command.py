"""``nasfpn fidelity``: rungs and options, what is reused, and the reference of warm rungs."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import synthetic
from controllers import candidate, fidelity, reference
from controllers.reference import CHECKPOINT, digest_of
from controllers.trainings import TABLE, Score, Table
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training import train as training
from nasfpn_runtime.training.finetune import Init
from runs import SMALL
from search_space import genome_id, to_json
from tools.cli import main
from tools.ladder import load_ladder

RUNGS = ("proxy=shapes-proxy", "warm=shapes-warm+warm")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    return folder


@pytest.fixture(autouse=True)
def _stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stubs train the rungs and the reference."""
    make, made = fidelity.make, reference.Making
    monkeypatch.setattr(fidelity, "make", partial(make, evaluate="synthetic:evaluate_rung"))
    stub = partial(made, evaluate="synthetic:train_reference")
    monkeypatch.setattr(reference, "Making", stub)


def command(
    data: Path, out: Path, *options: str, rungs: tuple[str, ...] = RUNGS, genomes: int = 5
) -> list[str]:
    given = [part for rung in rungs for part in ("--rung", rung)]
    overrides = [part for setting in SMALL for part in ("--set", setting)]
    study = ["fidelity", "--data", str(data), "-o", str(out), "--recipe", "shapes"]
    return [*study, *given, *overrides, "--genomes", str(genomes), *options]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / TABLE).read_text().splitlines()]


@pytest.mark.slow
def test_a_study_makes_all_trainings_once_and_prints_its_table(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(shapes, out, "--dry-run")) == 0
    assert "30 of 30 trainings are left" in capsys.readouterr().out
    assert not out.exists()
    assert main(command(shapes, out)) == 0
    printed = capsys.readouterr()
    assert printed.err.count("reference: training it for 24 epochs") == 1
    text = (out / "table.md").read_text()
    assert text in printed.out
    assert re.findall(r"^\| (\w+) \| (\S+) ", text, re.M)[1:] == [
        ("target", "shapes"),
        ("proxy", "shapes-proxy"),
        ("warm", "shapes-warm+warm"),
    ]
    weights, *made = lines(out)
    assert weights["weights"] == digest_of(out / CHECKPOINT)
    assert len(made) == 30
    assert {line["reference"] for line in made if line["rung"] == "warm"} == {weights["weights"]}
    assert {line["reference"] for line in made if line["rung"] != "warm"} == {None}

    before = (out / TABLE).read_bytes()
    (out / "table.md").unlink()
    assert main(command(shapes, out)) == 0
    printed = capsys.readouterr()
    assert "0 of 30 trainings are left, about 0:00" in printed.out
    assert "reference: training" not in printed.err
    assert (out / TABLE).read_bytes() == before
    assert (out / "table.md").read_text() == text

    more = command(shapes, out, "--seeds", "0", "1", "2", genomes=6)  # 6 * 3 * 3 = 54
    assert main(more) == 0
    assert "24 of 54 trainings are left" in capsys.readouterr().out
    assert (out / TABLE).read_bytes().startswith(before)
    assert main(command(shapes, out, rungs=(*RUNGS, "short=shapes-warm"))) == 0
    assert "10 of 40 trainings are left" in capsys.readouterr().out


@pytest.mark.slow
def test_one_recipe_from_scratch_and_from_a_reference_are_two_rungs(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = command(shapes, tmp_path, rungs=("cold=shapes-warm", "warm=shapes-warm+warm"))
    assert main([*both, "--dry-run"]) == 0
    assert "30 of 30 trainings are left" in capsys.readouterr().out
    assert main(both) == 0
    weights, *made = lines(tmp_path)
    references = [line["reference"] for line in made if line["rung"] != "target"]
    assert references.count(None) == references.count(weights["weights"]) == 10


@pytest.mark.slow
def test_another_reference_gets_trainings_of_its_own_and_a_changed_one_none(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(shapes, out)) == 0
    file = out / CHECKPOINT
    content = file.read_bytes()
    file.write_bytes(b"others")
    before = (out / TABLE).read_bytes()
    assert main(command(shapes, out)) == 0  # nothing starts from it any more
    capsys.readouterr()
    assert main(command(shapes, out, genomes=6)) == 2
    assert re.search(rf"{file} has changed.*restore", capsys.readouterr().err)
    assert (out / TABLE).read_bytes() == before
    file.write_bytes(content)
    assert main(command(shapes, out, genomes=6)) == 0
    assert {line["reference"] for line in lines(out)[1:]} == {digest_of(file), None}


def test_a_training_is_a_candidate_of_a_search(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments are those that ``candidate.evaluate`` takes."""
    given: list[Any] = []

    def make(trainings: Any, table: Any, *_: Any, **__: Any) -> Any:
        given.extend(trainings)
        return iter(())

    started: list[Any] = []

    def train(recipe: Any, genome: Any, data: Path, out: Path, **options: Any) -> Any:
        started.append((recipe.name, genome_id(genome), options["seed"], options["init"]))
        return SimpleNamespace(metrics={"AP": 0.25})

    monkeypatch.setattr(fidelity, "make", make)
    monkeypatch.setattr(training, "train", train)
    assert main(command(shapes, tmp_path, "--seeds", "7")) == 2  # no scores
    for one in given:
        more = {"seed": one.seed, "genome": to_json(one.genome), "out": "anywhere"}
        candidate.evaluate({**one.rung.arguments, **more})
    init = Init(tmp_path / CHECKPOINT, drop_cells=True)
    first = genome_id(given[0].genome)
    assert started[:3] == [
        ("shapes", first, 7, None),
        ("shapes-proxy", first, 7, None),
        ("shapes-warm", first, 7, init),
    ]


@pytest.mark.slow
def test_failed_trainings_are_said_and_their_genomes_left_out(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    make = fidelity.make

    def without_first(trainings: Any, table: Any, watch: Any, tell: Any, **more: Any) -> None:
        tell(trainings[0], "killed by SIGKILL")
        make(trainings[1:], table, watch, tell, **more)

    monkeypatch.setattr(fidelity, "make", without_first)
    assert main(command(shapes, tmp_path)) == 0
    printed = capsys.readouterr()
    assert re.search(r"target, genome \w+, seed 0 failed: killed by SIGKILL", printed.err)
    assert re.search(r"warning: 1 of 5 genomes", printed.err)
    assert "4 genomes" in printed.out
    monkeypatch.setattr(fidelity, "make", make)
    assert main(command(shapes, tmp_path)) == 0
    assert "1 of 30 trainings are left" in capsys.readouterr().out


@pytest.mark.slow
def test_a_damaged_line_is_named_and_its_training_made_again(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(shapes, tmp_path)) == 0
    text = (tmp_path / "table.md").read_text()
    kept = (tmp_path / TABLE).read_text().splitlines(keepends=True)
    kept[4] = kept[4].replace('"AP": ', '"AP": 7')
    (tmp_path / TABLE).write_text("".join(kept))
    capsys.readouterr()
    assert main(command(shapes, tmp_path)) == 0
    assert re.search(rf"warning: line 5 of {tmp_path / TABLE}", capsys.readouterr().err)
    assert re.sub(r"\d+ \|", "", (tmp_path / "table.md").read_text()) == re.sub(r"\d+ \|", "", text)


def test_two_studies_do_not_train_in_one_folder(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, 2); print(1); input()"
    held = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(held, text=True, **pipes) as other:  # type: ignore[call-overload]
        other.stdout.readline()
        assert main(command(shapes, tmp_path)) == 2
        other.kill()
    assert re.search(rf"cannot train in {tmp_path}: another", capsys.readouterr().err)
    assert not (tmp_path / TABLE).exists()


@pytest.mark.parametrize(
    ("rungs", "options", "message"),
    [
        (("proxy",), [], r"NAME=RECIPE.* got proxy$"),
        (("a=+warm",), [], r"NAME=RECIPE.* got a=\+warm$"),
        (("a/b=shapes",), [], r"name of a rung .*got a/b"),
        (("target=shapes",), [], r"target, got target twice"),
        (("a=shapes", "a=shapes-proxy"), [], r"got a twice"),
        (("a=shapse",), [], r"recipe .*got 'shapse', did you mean"),
        (("a=shapes",), ["--reference", "fpn"], r"--reference.* rung that ends with \+warm"),
        (("a=bccd-warm+warm", "b=shapes-warm+warm"), [], r"anchors\.scale .*2\.0 as in shapes"),
        (("a=shapes+warm",), ["--levels", "3-6", "--reference", "fpn"], r"3-6, got 3-7"),
        (("a=shapes",), ["--set", "training.freeze_stages=2"], r"freeze_stages .*got 2"),
    ],
)
def test_rungs_that_cannot_be_are_refused(
    rungs: tuple[str, ...],
    options: list[str],
    message: str,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(command(shapes, tmp_path / "out", *options, rungs=rungs)) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_recommended_ladder_is_one_that_a_search_takes(
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The recipes of the file are those that were measured, changed settings included."""
    out = tmp_path / "out"
    seconds = {"shapes": 60.0, "shapes-proxy": 30.0, "shapes-warm": 10.0}

    def score(self: Any, training: Any) -> Score:
        recipe = training.rung.arguments["recipe"]
        noise = random.Random(f"{genome_id(training.genome)} {training.seed}").gauss(0, 1)
        ap = synthetic.reward(training.genome) / 40 + noise / recipe["training"]["epochs"]
        return Score(ap, seconds[recipe["name"]])

    monkeypatch.setattr(Table, "score", score)
    argv = command(shapes, out, "--hours", "1", "--reference-recipe", "shapes", genomes=12)
    # The recipe of the reference must be for the network that the settings of SMALL make.
    recipe = tmp_path / "reference.yaml"
    recipe.write_text(yaml.safe_dump(load_recipe("shapes", SMALL).to_dict()))
    argv[argv.index("--reference-recipe") + 1] = str(recipe)
    assert main(argv) == 0
    printed = capsys.readouterr().out
    # Final: 5 * 3 * 60 s. Reference: 30 epochs, of which 3 take 10 s.
    assert (
        "1 hours: a final of 5 genomes with 3 trainings each (15:00), for warm rungs a reference"
        in printed
    )
    assert "(about 1:40)" in printed
    rows = printed[printed.index("| ladder | one of |") :].splitlines()
    row = rows[2]
    rungs = row.split("|")[1].strip().split(", ")
    plan = load_ladder(out / "ladder.yaml")
    assert list(plan.recipes) == rungs
    assert plan.final == load_recipe("shapes", SMALL)
    for name, given in plan.recipes.items():
        wanted = {"target": "shapes", "proxy": "shapes-proxy", "warm": "shapes-warm"}[name]
        assert given == load_recipe(wanted, SMALL)
    assert plan.warm == {"warm"} & set(rungs)
    assert (plan.reference is not None) == bool(plan.warm)
    if plan.reference is not None:
        assert plan.reference == load_recipe(recipe)
    trials = re.search(rf"--data {shapes} --ladder {out}/ladder.yaml --trials (\d+)", printed)
    assert trials
    assert trials[1] == row.split("|")[4].strip()

    monkeypatch.setattr("controllers.search.search", lambda *_: None)  # nothing is trained
    searched = ["search", "--data", str(shapes), "--ladder", str(out / "ladder.yaml")]
    assert main([*searched, "-o", str(tmp_path / "search"), "--final", "0"]) == 0
    assert main(command(shapes, out, "--hours", "0.25", genomes=12)) == 2
    assert re.search(r"--hours must be above 0\.25, .* got 0\.25", capsys.readouterr().err)
