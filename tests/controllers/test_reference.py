"""The reference of a warm start: made once, by one process, and never silently another one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import searched_archs
from controllers.errors import SearchError, StudyError
from controllers.reference import (
    CHECKPOINT,
    FOLDER,
    WEIGHTS,
    Given,
    Making,
    Record,
    Trained,
    longer,
    ready,
    top_down,
    weights_of,
)
from nasfpn_runtime.recipe.recipe import from_dict, load_recipe
from runs import wait_until
from search_space import Level, MergingCell
from searches import opened

RECIPE = {"training": {"epochs": 16}}
REFERENCE = Trained(top_down((Level(3), Level(4), Level(5))), RECIPE)
# Makes the reference of the run folder OUT in a process of its own, and prints its digest.
SCRIPT = "import sys, test_reference; print(test_reference.made(sys.argv[1])['digest'])"


def made(out: Path | str, *, begun: bool = False, **arguments: Any) -> dict[str, Any]:
    """Make the reference of a study ready, with a stub that writes other weights each time."""
    out = Path(out)
    making = Making(arguments, evaluate="synthetic:train_reference")
    return ready(REFERENCE, out, weights_of(opened(out)), making, begun=begun)


def start(out: Path) -> subprocess.Popen[str]:
    """Start :func:`made` in another process."""
    paths = [str(Path(__file__).parent), *sys.path]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def trainings(out: Path) -> int:
    file = out / FOLDER / "trainings"
    return len(file.read_text()) if file.exists() else 0


def test_fpn_for_any_levels() -> None:
    assert top_down(tuple(map(Level, range(3, 8)))) == searched_archs.load("fpn")
    # Inputs 0 (P3), 1 (P4), 2 (P5). Node 3 is P4 + P5, node 4 is P3 + node 3, node 5 is P5.
    cells = ((4, "sum", (1, 2)), (3, "sum", (0, 3)), (5, "identity", (2,)))
    assert REFERENCE.genome.cells == tuple(MergingCell(Level(v), *rest) for v, *rest in cells)
    for finest in range(1, 6):
        for coarsest in range(finest + 1, 11):
            levels = tuple(map(Level, range(finest, coarsest + 1)))
            genome = top_down(levels)
            assert set(genome.outputs) == set(levels)


@pytest.mark.parametrize("name", ["bccd-warm", "shapes-warm"])
def test_the_recipe_of_a_reference_is_that_of_a_candidate_for_longer(name: str) -> None:
    recipe = load_recipe(name, ["training.freeze_stages=2"])
    own = from_dict(longer(recipe.to_dict()), "")
    training = recipe.training
    changed = {"epochs": 8 * training.epochs, "freeze_stages": 0, "save_every": training.epochs}
    assert own == replace(recipe, training=replace(training, **changed))


def test_it_is_trained_once_and_its_digest_recorded(tmp_path: Path) -> None:
    first = made(tmp_path)
    weights = (tmp_path / CHECKPOINT).read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    path = str(tmp_path / CHECKPOINT)
    assert first == {"path": path, "digest": digest, "drop_head": False}
    assert opened(tmp_path).user_attrs[WEIGHTS] == digest
    assert made(tmp_path) == made(tmp_path, begun=True) == first
    assert trainings(tmp_path) == 1


def test_its_training_gets_the_genome_and_the_recipe_of_the_reference(tmp_path: Path) -> None:
    out = tmp_path
    making = Making({"recipe": {}, "seed": 7}, evaluate="synthetic:keep_arguments")
    written: list[str] = []
    with pytest.raises(SearchError, match=rf"must write {out / CHECKPOINT}"):
        ready(REFERENCE, out, Record(lambda: None, written.append), making, begun=False)
    assert written == []
    given = json.loads((out / FOLDER / "arguments.json").read_text())
    assert (given["recipe"], given["seed"]) == (RECIPE, 7)
    assert given["genome"]["levels"] == [3, 4, 5]


@pytest.mark.parametrize("change", [Path.unlink, lambda file: file.write_bytes(b"other weights")])
def test_weights_that_are_changed_or_removed_stop_the_search_until_they_are_restored(
    tmp_path: Path, change: Any
) -> None:
    first = made(tmp_path)
    file = tmp_path / CHECKPOINT
    content = file.read_bytes()
    change(file)
    for begun in (False, True):
        with pytest.raises(StudyError, match=rf"{file} (is missing|has changed).*restore"):
            made(tmp_path, begun=begun)
    assert trainings(tmp_path) == 1
    file.write_bytes(content)
    assert made(tmp_path, begun=True) == first


def test_a_study_that_lost_the_digest_does_not_get_another_reference(tmp_path: Path) -> None:
    """As after a line of a journal was lost: values exist, so the reference must exist."""
    opened(tmp_path)
    with pytest.raises(StudyError, match=rf"{tmp_path / CHECKPOINT} is missing"):
        made(tmp_path, begun=True)
    assert trainings(tmp_path) == 0


@pytest.mark.slow
def test_a_training_that_fails_is_reported_with_its_log_and_made_again(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "fail").touch()
    with pytest.raises(SearchError, match=rf"reference: .*loss is not finite; see {folder}/log"):
        made(tmp_path)
    assert WEIGHTS not in opened(tmp_path).user_attrs
    (folder / "fail").unlink()
    made(tmp_path)
    assert trainings(tmp_path) == 2


def test_a_reference_that_finds_nothing_is_doubted(tmp_path: Path) -> None:
    lines: list[str] = []
    making = Making({"AP": 0.0}, say=lines.append, evaluate="synthetic:train_reference")
    ready(REFERENCE, tmp_path, weights_of(opened(tmp_path)), making, begun=False)
    assert [line for line in lines if line.startswith("warning: ")] == lines[2:]
    assert len(lines) == 3


@pytest.mark.slow
def test_a_kill_during_its_training_loses_nothing_that_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "hang").touch()
    process = start(tmp_path)
    wait_until(lambda: trainings(tmp_path) == 1)
    process.kill()
    process.communicate()
    assert not (tmp_path / CHECKPOINT).exists()
    (folder / "hang").unlink()
    digest = made(tmp_path)["digest"]
    assert digest == opened(tmp_path).user_attrs[WEIGHTS]
    assert trainings(tmp_path) == 2


@pytest.mark.slow
def test_two_processes_train_it_once(tmp_path: Path) -> None:
    """The second one starts while the first one trains, and gets the same weights."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "hang").touch()
    first = start(tmp_path)
    wait_until(lambda: trainings(tmp_path) == 1)
    second = start(tmp_path)
    third = start(tmp_path)
    first.kill()  # the lock ends with its process, and one of the others goes on
    first.communicate()
    (folder / "hang").unlink()
    digests = {process.communicate()[0] for process in (second, third)}
    assert digests == {opened(tmp_path).user_attrs[WEIGHTS] + "\n"}
    assert trainings(tmp_path) == 2


def test_a_given_checkpoint_is_identified_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    with pytest.raises(SearchError, match=str(file)):
        Given(file).identity()
    file.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert Given(file).identity() == {"weights": digest}
    assert Given(file, drop_head=True).identity() == {"weights": digest, "drop_head": True}
    init = ready(Given(file), tmp_path, weights_of(opened(tmp_path)), Making({}), begun=False)
    assert init == {"path": str(file), "digest": digest, "drop_head": False}
    assert not (tmp_path / FOLDER).exists()
