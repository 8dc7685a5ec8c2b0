"""The run folder: one run, one process, and nothing of anything else is overwritten."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mindspore
import pytest
import yaml
from PIL import Image

import searched_archs
from locations import TWO_LEVELS
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import ChangedDataError, CheckpointError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training.finetune import Init
from nasfpn_runtime.training.runfolder import alone_in, difference, write_settings
from nasfpn_runtime.training.runlog import PROGRESS, RunOptions
from nasfpn_runtime.training.train import train
from records import packed
from runs import LIMIT, SMALL, train_command
from search_space import load_genome

pytestmark = pytest.mark.slow
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
        (r"seed \(0 there, 1 here\)", None, 1, "training.batch=2"),
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


@pytest.mark.parametrize(
    "name", ["faults.txt", "config.yaml", "genome.json", "run.json", "train.log"]
)
def test_files_of_something_else_are_not_overwritten(data: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match=f"{tmp_path / name}[: ]"):
        train(load_recipe("shapes", SETTINGS), GENOME, data, tmp_path, options=QUIET)
    assert (tmp_path / name).read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} <= {name, ".lock"}


def test_a_run_without_its_checkpoints_starts_again_with_the_same_settings_only(
    without_checkpoints: Path, data: Path
) -> None:
    out = without_checkpoints
    before = (out / "metrics.jsonl").read_bytes()
    other = load_recipe("shapes", [*SETTINGS, "training.lr=0.01"])
    with pytest.raises(CheckpointError, match=r"run holds .*training\.lr is \S+ there, 0\.01 here"):
        train(other, GENOME, data, out, options=QUIET)
    with pytest.raises(CheckpointError, match=r"run holds .*seed \(0 there, 1 here\)"):
        train(load_recipe("shapes", SETTINGS), GENOME, data, out, seed=1, options=QUIET)
    assert (out / "metrics.jsonl").read_bytes() == before
    train(load_recipe("shapes", SETTINGS), GENOME, data, out, options=QUIET)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_settings_are_compared_by_value_and_may_have_old_names(without_checkpoints: Path) -> None:
    """``model.dialect`` was ``model.semantics`` when older run folders were written."""
    out, run = without_checkpoints, Origin(load_recipe("shapes", SETTINGS), GENOME, (), 0, 0)
    config = out / "config.yaml"
    present = config.read_text()
    content = yaml.safe_load(present)
    content["model"]["semantics"] = content["model"].pop("dialect")
    config.write_text(yaml.safe_dump(content, sort_keys=True))
    (out / "run.json").unlink()  # run folders had none then
    write_settings(out, run)
    assert config.read_text() == present
    (out / "run.json").unlink()
    content["model"]["semantics"] = "mmdet"
    config.write_text(yaml.safe_dump(content))
    with pytest.raises(CheckpointError, match=r"run/config\.yaml"):
        write_settings(out, run)


@pytest.mark.parametrize("content", ["[1]", "model: {width: wide}", "a: [", "\x00", "!!int x"])
def test_settings_that_are_not_a_recipe_are_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        write_settings(tmp_path, Origin(load_recipe("shapes"), GENOME, (), 0, 0))
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


def change_a_box(data: Path) -> None:
    """Move the first box of the train split by 1 px."""
    file = data / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    file.write_text(json.dumps(content))


def change_a_file(data: Path) -> None:
    """Write an image of the train split again, with the same pixels in more bytes."""
    path = min((data / "train2017").iterdir())
    Image.open(path).save(path, compress_level=0)


def leave_an_image_out(data: Path) -> None:
    """Remove an image of the val split."""
    max((data / "val2017").iterdir()).unlink()


@pytest.mark.parametrize("kept", [True, False], ids=["resumed", "started again"])
@pytest.mark.parametrize(
    ("change", "split"),
    [(change_a_box, "train"), (change_a_file, "train"), (leave_an_image_out, "val")],
)
def test_a_run_on_another_data_set_is_refused(
    finished: Path,
    data: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    split: str,
    kept: bool,
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    if not kept:
        shutil.rmtree(out / "checkpoints")
    other = shutil.copytree(data, tmp_path / "other")
    change(other)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=f"run holds .*another dataset .*{split}"):
        train(load_recipe("shapes", SETTINGS), GENOME, other, out, options=QUIET)
    assert {path: path.read_bytes() for path in before} == before


def test_the_same_data_elsewhere_and_as_mindrecord_resume_the_run(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    recipe = load_recipe("shapes", SETTINGS)
    moved = shutil.copytree(data, tmp_path / "moved")
    converted = packed(data, tmp_path / "converted", "train", "val")
    for folder in (moved, converted):
        out = shutil.copytree(finished, tmp_path / f"run-{folder.name}")
        train(recipe, GENOME, folder, out, options=QUIET)
        assert "already finished (2 of 2 epochs)" in (out / "train.log").read_text()


def test_a_checkpoint_of_an_earlier_version_has_no_digest_and_is_resumed(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    """As before, its categories are compared."""
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "run.json").unlink()
    last = out / "checkpoints" / "last.ckpt"
    _, origin = checkpoint.load(last)
    assert origin.data is not None
    entries = mindspore.load_checkpoint(str(last))
    entry = json.loads(str(entries.pop("nasfpn")))
    del entry["data"], entry["init"]
    entries["learning_rate"] = mindspore.Tensor([0.1] * 4)  # of all steps
    mindspore.save_checkpoint(
        [{"name": name, "data": value} for name, value in entries.items()],
        str(last),
        append_dict={"nasfpn": json.dumps(entry)},
        crc_check=True,
    )
    other = shutil.copytree(data, tmp_path / "other")
    change_a_box(other)
    train(load_recipe("shapes", SETTINGS), GENOME, other, out, options=QUIET)
    for name in ("train", "val"):
        file = other / "annotations" / f"instances_{name}2017.json"
        file.write_text(file.read_text().replace("circle", "disc"))
    with pytest.raises(CheckpointError, match=r"run holds .*categories \(circle, .*disc, "):
        train(load_recipe("shapes", SETTINGS), GENOME, other, out, options=QUIET)


def test_a_run_from_other_weights_is_refused(finished: Path, data: Path, tmp_path: Path) -> None:
    recipe, last = load_recipe("shapes", SETTINGS), finished / "checkpoints" / "last.ckpt"

    def start(out: Path, init: Init | None) -> None:
        train(recipe, GENOME, data, out, options=QUIET, init=init)

    for file in (last, tmp_path / "missing.ckpt"):
        with pytest.raises(CheckpointError, match=r"other initial weights .*random there"):
            start(finished, Init(file))
    start(tmp_path / "run", Init(last))
    start(tmp_path / "run", Init(last))
    best = finished / "checkpoints" / "best.ckpt"
    for other in (None, Init(last, drop_head=True), Init(last, drop_cells=True), Init(best)):
        with pytest.raises(CheckpointError, match="other initial weights"):
            start(tmp_path / "run", other)
    moved = shutil.copy(last, tmp_path / "moved.ckpt")
    start(tmp_path / "run", Init(Path(moved)))
    start(tmp_path / "run", Init(tmp_path / "removed.ckpt"))  # cannot be compared


def test_scores_that_were_edited_are_those_of_the_checkpoint_again(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    lines = (out / "metrics.jsonl").read_text()
    recipe = load_recipe("shapes", SETTINGS)
    metrics = train(recipe, GENOME, data, out, options=QUIET).metrics
    first, last = map(json.loads, lines.splitlines())
    assert metrics.items() <= last.items()
    assert "AP" in metrics
    bare = {name: last[name] for name in PROGRESS}
    for edited in ({**last, "AP": 0.99}, bare, {**last, "AP": None}):
        (out / "metrics.jsonl").write_text(f"{json.dumps(first)}\n{json.dumps(edited)}\n")
        (out / "figures" / "curves.svg").write_text("curves of other lines")
        if edited.get("AP", 0) is None:
            with pytest.raises(CheckpointError, match=r"line 2 of .*metrics\.jsonl"):
                train(recipe, GENOME, data, out, options=QUIET)
        else:
            assert train(recipe, GENOME, data, out, options=QUIET).metrics == metrics
            assert (out / "metrics.jsonl").read_text() == lines
            assert "<svg" in (out / "figures" / "curves.svg").read_text()


def test_settings_of_a_resumed_run_are_those_of_its_checkpoint(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    names = ("config.yaml", "genome.json", "run.json")
    before = {name: (out / name).read_bytes() for name in names}
    for name in names:
        for damage in (b"", b"\xff\xfe", before[name].replace(b"width", b"w"), None):
            if damage is None:
                (out / name).unlink()
            else:
                (out / name).write_bytes(damage)
            train(load_recipe("shapes", SETTINGS), GENOME, data, out, options=QUIET)
            assert {name: (out / name).read_bytes() for name in names} == before
            log = (out / "train.log").read_text().splitlines()
            assert [line for line in log if name in line]


def test_curves_of_something_else_stay(data: Path, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "curves.svg").write_text("mine")
    with pytest.raises(CheckpointError, match=r"figures/curves\.svg"):
        train(load_recipe("shapes", SETTINGS), GENOME, data, tmp_path, options=QUIET)
    assert (tmp_path / "figures" / "curves.svg").read_text() == "mine"


def test_data_digested_by_another_version_are_not_compared() -> None:
    run = Origin(load_recipe("shapes"), GENOME, (), 0, 0, data={"train": "v1:a", "val": "v1:b"})
    assert not difference(run, replace(run, data={"train": "v2:a", "val": "v2:b"}))
    assert "val" in difference(run, replace(run, data={"train": "v2:a", "val": "v1:c"}))


def test_what_cannot_be_extended_says_how_to_train_on(finished: Path, data: Path) -> None:
    longer = load_recipe("shapes", [*SETTINGS, "training.epochs=3"])
    with pytest.raises(CheckpointError) as refused:
        train(longer, GENOME, data, finished, options=QUIET)
    message = str(refused.value)
    assert "training.epochs is 2 there, 3 here" in message
    assert f"--init {finished / 'checkpoints' / 'last.ckpt'}" in message
    for other in (["training.epochs=1"], ["training.epochs=3", "training.lr=0.01"]):
        with pytest.raises(CheckpointError) as refused:
            train(load_recipe("shapes", [*SETTINGS, *other]), GENOME, data, finished, options=QUIET)
        assert "--init" not in str(refused.value)


def test_data_that_are_not_the_expected_are_refused(data: Path, tmp_path: Path) -> None:
    recipe = load_recipe("shapes", SETTINGS)
    with pytest.raises(ChangedDataError, match=f"'val' .*{data}"):
        train(recipe, GENOME, data, tmp_path / "run", options=QUIET, expected={"val": "v1:0f"})
    assert not (tmp_path / "run").exists()
