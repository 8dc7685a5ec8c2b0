"""``nasfpn search`` with a warm start: from the reference to the candidates, and its options."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from controllers import reference
from controllers.reference import CHECKPOINT, Trained, longer, top_down
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from runs import SMALL
from search_space import Level, genome_id, load_genome
from tools.cli import main

SETTINGS = [*SMALL, "training.epochs=1", "training.batch=2", "data.image=[64, 64]"]
SPACE = ("--levels", "3-5", "--intermediate-cells", "1")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    return folder


def command(data: Path, out: Path, *options: str, settings: list[str] = SETTINGS) -> list[str]:
    overrides = [part for setting in settings for part in ("--set", setting)]
    folders = ["--data", str(data), "--out", str(out)]
    search = ["search", *folders, "--recipe", "shapes-warm", "--controller", "random"]
    search += ["--final", "0"]
    return [*search, *SPACE, *overrides, *options]


@pytest.mark.slow
def test_a_search_trains_its_reference_once_and_every_trial_starts_from_it(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    warm = command(shapes, out, "--warm-start")
    assert main([*warm, "--trials", "1"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum("reference: training it for 8 epochs" in line for line in lines) == 1
    file = out / CHECKPOINT
    digest = reference.digest_of(file)
    first = json.loads((out / "trials" / "0" / "run.json").read_text())
    assert first["init"] == f"{digest} without cells"
    assert json.loads((out / "reference" / "run.json").read_text())["init"] == ""
    assert load_genome(out / "reference" / "genome.json") == top_down(tuple(map(Level, (3, 4, 5))))
    identity = yaml.safe_load((out / "config.yaml").read_text())["reference"]
    assert identity["recipe"]["training"]["epochs"] == 8
    best = json.loads((out / "best.json").read_text())["meta"]
    assert best["reference"] == identity
    # One epoch of one step: the head is still close to that of the reference.
    stored = checkpoint.load_weights(file)[0]["head.boxes.predict.weight"]
    trained = checkpoint.load_weights(out / "trials" / "0" / "checkpoints" / "last.ckpt")[0]
    moved = np.abs(trained["head.boxes.predict.weight"] - stored).max()
    assert 0 < moved < 0.5 * np.abs(stored).max()

    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    assert main([*warm, "--trials", "2"]) == 2
    assert re.search(rf"{file} has changed.*restore", capsys.readouterr().err)
    assert not (out / "trials" / "1").exists()
    assert main([*warm, "--trials", "1"]) == 0  # nothing is left to train
    assert main(command(shapes, out, "--trials", "2")) == 2
    assert "a training of genome" in capsys.readouterr().err
    file.write_bytes(content)
    assert main([*warm, "--trials", "2"]) == 0
    assert "reference: training" not in capsys.readouterr().err
    assert json.loads((out / "trials" / "1" / "run.json").read_text())["init"] == first["init"]

    # The same reference as a given checkpoint, in a search of another network: no candidate
    # is blamed, and the search stops at the first.
    wider = command(
        shapes, tmp_path / "wider", "--init", str(file), settings=[*SETTINGS, "model.width=8"]
    )
    assert main([*wider, "--trials", "1"]) == 2
    assert re.search(rf"cannot train trial 0: .*{file}: \d+ .*backbone", capsys.readouterr().err)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the references of searches that run nothing."""
    started: list[Any] = []
    monkeypatch.setattr("controllers.search.search", lambda *_: None)

    def ready(reference: Any, *_: Any, **__: Any) -> dict[str, Any]:
        started.append(reference)
        return {}

    monkeypatch.setattr("controllers.reference.ready", ready)
    return started


def test_what_the_reference_is_by_default_and_as_options_say(
    shapes: Path, tmp_path: Path, searched: list[Any]
) -> None:
    wide = ["--levels", "3-7"]
    assert main(command(shapes, tmp_path / "a", "--warm-start")) == 0
    given = ["--warm-start", "--reference", "panet", *wide]
    assert main(command(shapes, tmp_path / "b", *given)) == 0
    own = tmp_path / "mine.yaml"
    recipe = load_recipe("shapes-warm", [*SETTINGS, "training.epochs=7"])
    own.write_text(yaml.safe_dump(recipe.to_dict()))
    assert (
        main(command(shapes, tmp_path / "c", "--warm-start", "--reference-recipe", str(own))) == 0
    )
    first, second, third = searched
    mine = load_recipe("shapes-warm", SETTINGS).to_dict()
    assert first == Trained(top_down(tuple(map(Level, (3, 4, 5)))), longer(mine))
    assert genome_id(second.genome) != genome_id(first.genome)
    assert third == Trained(first.genome, recipe.to_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--init", "a.ckpt", "--warm-start"], r"--warm-start .*--init"),
        (["--drop-head"], r"--drop-head needs --init"),
        (["--reference", "fpn"], r"--reference needs --warm-start"),
        (["--reference-recipe", "shapes"], r"--reference-recipe needs --warm-start"),
        (["--warm-start", "--reference", "fpn"], r"--reference .*3-5, got 3-7 \(at fpn\)"),
        (
            ["--warm-start", "--reference-recipe", "bccd-128"],
            r"model\.width of --reference-recipe must be 4 as in shapes-warm, got 16 \(at bccd-128",
        ),
        (["--init", "nowhere.ckpt"], r"no checkpoint at nowhere\.ckpt"),
        (["--set", "training.freeze_stages=2"], r"freeze_stages .*got 2; give --warm-start or"),
    ],
)
def test_options_that_cannot_be_used_together_are_named(
    shapes: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    searched: list[Any],
) -> None:
    assert main(command(shapes, tmp_path / "out", *options)) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "out").exists()


def test_frozen_stages_are_those_of_candidates_not_of_the_reference(
    shapes: Path, tmp_path: Path, searched: list[Any]
) -> None:
    frozen = ["--warm-start", "--set", "training.freeze_stages=4"]
    assert main(command(shapes, tmp_path / "out", *frozen)) == 0
    assert searched[0].recipe["training"]["freeze_stages"] == 0


def test_a_given_checkpoint_may_move_but_not_change(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], searched: list[Any]
) -> None:
    file, out = tmp_path / "a.ckpt", tmp_path / "out"
    file.write_bytes(b"weights")
    assert main(command(shapes, out, "--init", str(file))) == 0
    moved = shutil.move(file, tmp_path / "b.ckpt")
    assert main(command(shapes, out, "--init", str(moved))) == 0
    Path(moved).write_bytes(b"others")
    assert main(command(shapes, out, "--init", str(moved))) == 2
    assert re.search(r"a checkpoint with the digest \w+, got a", capsys.readouterr().err)
    assert main(command(shapes, out)) == 2
    assert re.search(r"digest \w+, got none; see --warm-start", capsys.readouterr().err)


def test_a_folder_reference_that_no_search_has_made_is_not_written_into(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], searched: list[Any]
) -> None:
    (tmp_path / "reference").mkdir()
    assert main(command(shapes, tmp_path, "--warm-start")) == 2
    assert str(tmp_path / "reference") in capsys.readouterr().err
