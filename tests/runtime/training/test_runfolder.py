"""The run folder: one run, one process, and nothing of anything else is overwritten."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import searched_archs
from locations import TWO_LEVELS
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training.runfolder import alone_in, write_settings
from nasfpn_runtime.training.runlog import RunOptions
from nasfpn_runtime.training.train import train
from runs import LIMIT, SMALL, train_command
from search_space import load_genome

QUIET = RunOptions(progress=False)
SETTINGS = [*SMALL, "training.batch=2", "training.epochs=2", "training.evaluate_every=0"]
GENOME = load_genome(TWO_LEVELS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=4, val=2, test=1, size=64)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has ended."""
    out = tmp_path_factory.mktemp("finished")
    train(load_recipe("shapes", SETTINGS), GENOME, data, out, options=QUIET)
    return out


@pytest.fixture
def without_checkpoints(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder without the checkpoints that a run resumes from."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for file in (out / "checkpoints").glob("last*.ckpt"):
        file.unlink()
    return out


@pytest.mark.parametrize(
    ("difference", "arch", "seed", "override"),
    [
        (r"recipe \(training.lr is \S+ there, 0.01 here\)", None, 0, "training.lr=0.01"),
        ("genome", "panet", 0, "training.batch=2"),
        ("seed", None, 1, "training.batch=2"),
    ],
)
def test_a_folder_of_another_run_is_refused(
    finished: Path, data: Path, difference: str, arch: str | None, seed: int, override: str
) -> None:
    with pytest.raises(CheckpointError, match=f"{finished.name}.*another {difference}"):
        train(
            load_recipe("shapes", [*SETTINGS, override]),
            searched_archs.load(arch) if arch else GENOME,
            data,
            finished,
            seed=seed,
            options=QUIET,
        )


@pytest.mark.parametrize("name", ["faults.txt", "config.yaml", "genome.json", "train.log"])
def test_files_of_something_else_are_not_overwritten(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=f"{tmp_path / name} "):
        train(load_recipe("shapes", SETTINGS), GENOME, data, tmp_path, options=QUIET)
    assert (tmp_path / name).read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} <= {name, ".lock"}


def test_a_run_without_its_checkpoints_starts_again_with_the_same_settings_only(
    without_checkpoints: Path, data: Path
) -> None:
    out = without_checkpoints
    before = (out / "metrics.jsonl").read_bytes()
    other = load_recipe("shapes", [*SETTINGS, "training.lr=0.01"])
    with pytest.raises(CheckpointError, match=r"run/config\.yaml"):
        train(other, GENOME, data, out, options=QUIET)
    assert (out / "metrics.jsonl").read_bytes() == before
    train(load_recipe("shapes", SETTINGS), GENOME, data, out, options=QUIET)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_settings_are_compared_by_value_and_may_have_old_names(without_checkpoints: Path) -> None:
    """``model.dialect`` was ``model.semantics`` when older run folders were written."""
    out, recipe = without_checkpoints, load_recipe("shapes", SETTINGS)
    config = out / "config.yaml"
    present = config.read_text()
    content = yaml.safe_load(present)
    content["model"]["semantics"] = content["model"].pop("dialect")
    config.write_text(yaml.safe_dump(content, sort_keys=True))
    write_settings(out, recipe, GENOME)
    assert config.read_text() == present
    content["model"]["semantics"] = "mmdet"
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"run/config\.yaml"):
        write_settings(out, recipe, GENOME)


@pytest.mark.parametrize("content", ["[1]", "model: {width: wide}", "a: [", "\x00", "!!int x"])
def test_settings_that_are_not_a_recipe_are_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        write_settings(tmp_path, load_recipe("shapes"), GENOME)
    assert (tmp_path / "config.yaml").read_text() == content


def test_two_runs_in_one_folder_are_refused(data: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path):
        refused = subprocess.run(
            train_command(data, tmp_path, SETTINGS),
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    assert refused.returncode == 2
    assert f"cannot train in {tmp_path}: another process" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
