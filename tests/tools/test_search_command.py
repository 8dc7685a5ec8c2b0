"""``nasfpn search``: run folder, settings of controllers, signs of life, studies from before."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers import names
from controllers.registry import controller_settings
from controllers.search import SearchSettings
from controllers.study import open_study
from controllers.view import CandidateProgress
from formats import WRITERS, Drawn, add_val, draw, make
from locations import ASSETS, ROOT
from nasfpn_runtime import progress
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.progress import Progress
from nasfpn_runtime.recipe.recipe import from_dict
from records import packed
from runs import SMALL
from search_space import NASFPNSpace, load_genome
from tools.cli import main
from tools.search_view import ProgressView

# The settings of the search in study_v1.journal.
V1 = [*SMALL, "training.epochs=1", "training.batch=2", "data.image=[64, 64]"]


def _edited(drawn: list[Drawn]) -> list[Drawn]:
    """Return the images with one box less."""
    return [replace(drawn[0], boxes=drawn[0].boxes[1:]), *drawn[1:]]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    return folder


def command(data: Path, out: Path, *options: str, settings: list[str] = V1) -> list[str]:
    """Return a search by evolution in the space and by the recipe of study_v1.journal.

    It has no final; the tests of that are in ``test_search_final.py``.
    """
    overrides = [part for setting in settings for part in ("--set", setting)]
    folders = ["--data", str(data), "--out", str(out)]
    search = ["--recipe", "shapes-proxy", "--controller", "evolution"]
    search += ["--controller-set", "crossover_probability=0"]  # the default then
    space = ["--levels", "3-5", "--intermediate-cells", "1", "--final", "0"]
    return ["search", *folders, *search, *space, *overrides, *options]


def genome_ids(journal: Path) -> list[str]:
    """Return the genome id of each trial of a study."""
    lines = map(json.loads, journal.read_text().splitlines())
    attributes = (line.get("user_attr", {}) for line in lines)
    return [attribute["genome_id"] for attribute in attributes if "genome_id" in attribute]


@pytest.mark.slow
def test_a_search_over_p3_to_p6_with_separable_convolutions(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    out = tmp_path / "out"
    settings = [*SMALL, "training.epochs=2", "model.separable=true", "data.image=[64, 64]"]
    overrides = [part for setting in settings for part in ("--set", setting)]
    space = ["--levels", "3-6", "--intermediate-cells", "1"]
    folders = ["--data", str(shapes), "--out", str(out)]
    search = ["--recipe", "shapes-proxy", "--trials", "1", "--controller", "random", "--final", "0"]
    assert main(["search", *folders, *search, *space, *overrides]) == 0
    genome = load_genome(out / "best.json")
    assert genome.levels == (3, 4, 5, 6)
    assert NASFPNSpace((3, 4, 5, 6), intermediate_cells=1).contains(genome)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["space"]["levels"] == [3, 4, 5, 6]
    assert "controller_settings" not in config
    assert json.loads((out / "best.json").read_text())["version"] == 1
    # Training keeps the file that the search wrote before it, with the number of the trial.
    trial = json.loads((out / "trials" / "0" / "genome.json").read_text())
    assert trial["meta"] == {"trial": 0}
    assert load_genome(out / "trials" / "0" / "genome.json") == genome
    printed = capsys.readouterr()
    assert str(out / "best.json") in printed.out
    lines = printed.err.splitlines()
    assert re.match(r"search: 1 genomes by random, recipe shapes-proxy", lines[0])
    assert any(re.search(r"0/1 genomes, trial 0: compiling, epoch 1/2, \d+ s$", s) for s in lines)
    epoch = r"0/1 genomes, \d:\d\d left, trial 0: epoch 1/2, loss \d\.\d+, \d+ s$"
    assert any(re.search(epoch, line) for line in lines)
    *_, ended = (line for line in lines if not line.startswith("warning: "))
    assert re.match(r"trial 0: value 0\.\d{4} after \d+ s", ended)


@pytest.mark.slow
def test_a_study_of_an_earlier_version_is_resumed(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """study_v1.journal has ``recipe.model.semantics`` and no settings of the controller.

    Commit ed73083 wrote it, and proposed the third genome when it resumed it.
    """
    journal = tmp_path / "study.journal"
    shutil.copy(ASSETS / "study_v1.journal", journal)
    before = genome_ids(journal)
    assert main(command(shapes, tmp_path, "--trials", "2")) == 0
    assert "2 of 2 genomes" in capsys.readouterr().err
    for settings, options, message in (
        ([*V1, "model.dialect=mmdet"], [], "recipe.model.dialect must be 'tf'"),
        ([*V1, "model.width=8"], [], "recipe.model.width must be 4"),
        (V1, ["--controller-set", "population=30"], "controller_settings.population must be 20"),
    ):
        assert main(command(shapes, tmp_path, *options, settings=settings)) == 2
        assert message in capsys.readouterr().err
    assert genome_ids(journal) == before
    assert not (tmp_path / "trials").exists()
    assert main(command(shapes, tmp_path, "--trials", "3")) == 0
    third = "396e0592b911e525c33b1a4d3c63ffed82971cdfe124d319cedf0bb8421ba5cd"
    assert genome_ids(journal) == [*before, third]
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["meta"]["genome_id"] in genome_ids(journal)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_search_is_resumed_on_the_same_images_and_boxes_only(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("controllers.search.search", lambda *_: None)  # nothing is trained
    out = tmp_path / "out"
    data = add_val(make(tmp_path / "data", kind, draw(0)), kind)
    assert main(command(data, out)) == 0
    moved = Path(shutil.move(data, tmp_path / "moved"))
    converted = packed(moved, tmp_path / "converted", "train", "val")
    others = {form: add_val(make(tmp_path / "others", form, draw(0)), form) for form in WRITERS}
    for same in (moved, converted, *others.values()):
        assert main(command(same, out)) == 0
    for drawn in (draw(1), _edited(draw(0))):
        shutil.rmtree(moved)
        shutil.move(add_val(make(tmp_path / "data", kind, drawn), kind), moved)
        capsys.readouterr()
        assert main(command(moved, out)) == 2
        assert re.search(rf"study in {out}, got others \(data\.train is ", capsys.readouterr().err)


def test_a_recipe_that_is_edited_during_a_search_changes_no_trial(
    shapes: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """The recipe and the digests reach the candidates by value."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("training: {epochs: 3}")
    searched: list[Any] = []

    def search(study: Any, space: Any, settings: SearchSettings, view: Any) -> None:
        recipe.unlink()
        searched.append(settings.arguments)

    monkeypatch.setattr("controllers.search.search", search)
    argv = command(shapes, tmp_path / "out")
    argv[argv.index("--recipe") + 1] = str(recipe)
    assert main(argv) == 0
    (arguments,) = searched
    assert from_dict(arguments["recipe"], "").training.epochs == 1  # V1 overrides the file
    assert str(recipe) not in json.dumps(arguments)
    assert arguments["digests"].keys() == {"train", "val"}


@pytest.mark.slow
def test_data_that_change_during_a_search_stop_it_and_the_trial_is_repeated(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    data, out = shutil.copytree(shapes, tmp_path / "data"), tmp_path / "out"
    annotations = data / "annotations" / "instances_train2017.json"
    before = annotations.read_text()
    content = json.loads(before)
    content["annotations"].pop()

    def open_changed(*args: Any) -> Any:
        annotations.write_text(json.dumps(content))  # they were read, and no trial has started
        return open_study(*args)

    with monkeypatch.context() as patch:
        patch.setattr("controllers.study.open_study", open_changed)
        assert main(command(data, out, "--trials", "1")) == 2
    printed = capsys.readouterr().err
    assert re.search(rf"cannot train trial 0: split 'train' .*{data}.*restore", printed)
    assert not (out / "best.json").exists()
    annotations.write_text(before)
    assert main(command(data, out, "--trials", "1")) == 0
    assert "trial 0 was interrupted and will be repeated" in capsys.readouterr().err
    first, second = genome_ids(out / "study.journal")
    assert first == second


def test_another_search_is_not_put_into_a_folder_by_its_storage(
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A study in a database knows nothing of the study in the journal of the folder."""
    started: list[str] = []

    def search(study: Any, space: Any, settings: SearchSettings, view: Any) -> None:
        started.append(study.study_name)
        (settings.out / "best.json").write_text("best")

    monkeypatch.setattr("controllers.search.search", search)
    monkeypatch.setattr("controllers.report.write_report", lambda study, out: ())
    out, storage = tmp_path / "run", f"sqlite:///{tmp_path / 'a.db'}"
    assert main(command(shapes, out)) == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert main(command(shapes, out, "--seed", "1", "--storage", storage)) == 2
    assert re.search(f"seed must be 0 .*{out}, got 1", capsys.readouterr().err)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert main(command(shapes, tmp_path / "b" / "run", "--seed", "1", "--storage", storage)) == 0
    (out / "study.journal").unlink()
    assert main(command(shapes, out, "--seed", "2")) == 2
    assert started == ["search", "run"]
    for content in ("a: [", "mine", "seed: 0"):
        (out / "config.yaml").write_text(content)
        assert main(command(shapes, out, "--storage", storage)) == 2
        assert "config.yaml" in capsys.readouterr().err
        assert (out / "config.yaml").read_text() == content


def test_settings_of_the_controller_are_recorded_and_must_stay(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("controllers.search.search", lambda *_: None)  # nothing is trained
    changed = ["--controller-set", "population=6", "--controller-set", "crossover_probability=1"]
    assert main(command(shapes, tmp_path, *changed)) == 0
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    settings = {"population": 6, "tournament": 5, "crossover_probability": 1.0}
    assert config["controller_settings"] == settings
    assert main(command(shapes, tmp_path, *changed)) == 0
    capsys.readouterr()
    for options, message in (
        ([], "controller_settings.crossover_probability must be 1.0"),
        (
            [*changed, "--controller-set", "population=7"],
            "controller_settings.population must be 6",
        ),
        (
            [*changed, "--controller-set", "tournament=2"],
            "controller_settings.tournament must be 5",
        ),
    ):
        assert main(command(shapes, tmp_path, *options)) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("populatoin=3", "evolution.*got 'populatoin', did you mean population"),
        ("population=3.5", r"population .*integer, got 3\.5 \(at controller evolution\)"),
        ("population=0", r"population .*1 or more.*got 0 \(at controller evolution\)"),
        ("population", "KEY=VALUE, got 'population'"),
    ],
)
def test_wrong_settings_are_reported_before_the_data_are_read(
    assignment: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = command(tmp_path / "nowhere", tmp_path / "out", "--controller-set", assignment)
    assert main(missing) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_the_help_lists_all_settings_with_their_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["search", "--help"]) == 0
    text = capsys.readouterr().out
    for name in names():
        settings = controller_settings(name)
        listed = [f"{key}={setting.default}" for key, setting in settings.items()] or ["none"]
        pattern = r"\s+".join(map(re.escape, [name, *listed]))
        assert re.search(f"^  {pattern}$", text, re.MULTILINE), name


def test_only_the_help_of_search_needs_optuna() -> None:
    code = "import sys; from tools.cli import make_parser; make_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "optuna" not in done.stdout.split()


def test_the_first_line_comes_before_the_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path / "nowhere", tmp_path / "out", "--trials", "7")) == 2
    first, error = capsys.readouterr().err.splitlines()
    assert first.startswith("search: 7 genomes by evolution, recipe shapes-proxy, data ")
    # 1 intermediate cell on 2 levels, then 3! orders; 2 ops for each; pairs of 3, 4, 5, 6 nodes.
    assert first.endswith(f", space paper of {2 * 6 * 2**4 * 3 * 6 * 10 * 15:,} genomes")
    assert "nowhere" in error


def test_the_first_line_has_the_size_of_the_wide_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["search", "--data", str(tmp_path / "nowhere"), "--recipe", "shapes-proxy"]
    argv += ["--space", "wide", "--final", "0", "--out", str(tmp_path / "out")]
    for options, size in (
        ([], "about 8.91e+29"),
        (["--levels", "3-4", "--intermediate-cells", "1"], "1,704"),
        (["--levels", "1-10", "--intermediate-cells", "50"], "about "),
    ):
        assert main([*argv, *options]) == 2
        first, _ = capsys.readouterr().err.splitlines()
        assert f", space wide of {size}" in first


def test_a_study_is_resumed_in_its_own_kind_of_space_only(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """study_v1.journal is from before there were kinds, and goes on in the paper's."""
    monkeypatch.setattr("controllers.search.search", lambda *_: None)  # nothing is trained
    before = tmp_path / "before"
    before.mkdir()
    shutil.copy(ASSETS / "study_v1.journal", before / "study.journal")
    for out, kind, other in ((before, "paper", "wide"), (tmp_path / "wide", "wide", "paper")):
        for _ in range(2):
            assert main(command(shapes, out, "--space", kind)) == 0
        capsys.readouterr()
        assert main(command(shapes, out, "--space", other)) == 2
        *_, error = capsys.readouterr().err.splitlines()
        assert f"space.kind must be '{kind}'" in error
        assert f"got '{other}'; give --space {kind} " in error
    assert yaml.safe_load((tmp_path / "wide/config.yaml").read_text())["space"]["kind"] == "wide"
    assert main(command(shapes, tmp_path / "wide", "--space", "wide", "--levels", "3-6")) == 2
    assert "space.intermediate_levels" in capsys.readouterr().err


def test_the_time_left_is_estimated_until_the_bar_can(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 s for 2 of 8 epochs: 160 s a genome, 8 genomes are left, 45 s are over."""
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    report = {"epoch": 2, "epochs": 8, "loss": 0.5}
    with Progress("search", "genome", 10, done=2) as bar:
        view = ProgressView(bar)
        view.candidate(CandidateProgress(2, 45.0, report, 40.0))
        view.advance()
        view.candidate(CandidateProgress(3, 45.0, report, 40.0))
        view.note("trial 3: done")
    lines = capsys.readouterr().err.splitlines()
    candidate = "epoch 2/8, loss 0.500, 45 s"
    assert lines[0] == f"search: 2/10 genomes, 20:35 left, trial 2: {candidate}"
    assert re.fullmatch(rf"search: 3/10 genomes, 00:\d\d left, trial 3: {candidate}", lines[2])
    assert lines[3] == "trial 3: done"


def test_the_bar_has_all_candidates_in_training_and_shares_the_time_left_among_workers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """160 s a genome, 10 genomes are left, two at a time; 45 s are over."""
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    report = {"epoch": 2, "epochs": 8, "loss": 0.5}
    with Progress("search", "genome", 10) as bar:
        view = ProgressView(bar)
        for trial in (0, 1):
            view.candidate(CandidateProgress(trial, 45.0, report, 40.0))
    line = capsys.readouterr().err.splitlines()[1]
    candidate = "epoch 2/8, loss 0.500, 45 s"
    assert line == f"search: 0/10 genomes, 12:35 left, trial 0: {candidate}; trial 1: {candidate}"
