"""A candidate: what it reports while it trains, and what its score depends on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from controllers import candidate
from controllers.errors import SearchError
from controllers.reference import digest_of
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import DataError, InitError
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from nasfpn_runtime.training import train as training
from nasfpn_runtime.training.finetune import Init
from search_space import Genome, to_json
from synthetic import SPACE


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    return folder


def arguments(data: Path, *overrides: str, recipe: str = "shapes-proxy") -> dict[str, Any]:
    genome = next(iter(SPACE.enumerate()))
    prepared = candidate.prepare(load_recipe(recipe, overrides), data, seed=3, device="CPU")
    return {**prepared, "genome": to_json(genome), "out": str(data.parent / "out")}


def test_each_epoch_is_reported(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def train(recipe: Any, genome: Genome, data: Path, out: Path, **options: Any) -> Any:
        given.update(options, genome=genome, epochs=recipe.training.epochs, out=out)
        for epoch in (1, 2):
            record = {"epoch": epoch, "step": 5 * epoch, "loss": 1 / epoch, "lr": 0.1, "AP": 0.2}
            options["options"].on_epoch(record)
        return SimpleNamespace(metrics={"AP": 0.25})

    monkeypatch.setattr(training, "train", train)
    reports: list[Any] = []
    metrics = candidate.evaluate(arguments(shapes, "training.epochs=2"), reports.append)
    assert metrics == {"AP": 0.25}
    assert reports == [
        {"epoch": 0, "epochs": 2},
        {"epoch": 1, "epochs": 2, "loss": 1.0},
        {"epoch": 2, "epochs": 2, "loss": 0.5},
    ]
    assert (given["seed"], given["device"], given["epochs"]) == (3, "CPU", 2)
    assert given["out"] == shapes.parent / "out"
    assert not given["options"].progress
    assert candidate.evaluate(arguments(shapes)) == {"AP": 0.25}  # also without a report


def test_arguments_are_plain_data_and_have_the_recipe_by_value(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe file that is edited or removed during the search changes no later trial."""
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 2}")
    given = arguments(shapes, "training.batch=4", recipe=str(file))
    assert json.loads(json.dumps(given)) == given
    file.unlink()
    trained: list[Recipe] = []

    def train(recipe: Recipe, *_: Any, **options: Any) -> Any:
        trained.append(recipe)
        assert options["expected"] == given["digests"]
        return SimpleNamespace(metrics={"AP": 0.25})

    monkeypatch.setattr(training, "train", train)
    candidate.evaluate(given)
    file.write_text("training: {epochs: 2, batch: 4}")
    assert trained == [load_recipe(file)]


def test_a_candidate_on_changed_data_is_no_failure_of_the_genome(
    shapes: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(shapes, tmp_path / "copy")
    given = arguments(copy)
    (image,) = (copy / "val2017").iterdir()
    image.write_bytes(image.read_bytes() + b"more")
    with pytest.raises(SearchError, match=f"'val' .*{copy}"):
        candidate.evaluate(given)


def test_a_candidate_starts_from_the_reference_without_its_cells(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Init | None] = []

    def train(*_: Any, **options: Any) -> Any:
        started.append(options["init"])
        return SimpleNamespace(metrics={"AP": 0.25})

    monkeypatch.setattr(training, "train", train)
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    init = {"path": str(path), "digest": digest_of(path), "drop_head": True}
    given = {**arguments(shapes), "init": init}
    candidate.evaluate(arguments(shapes))
    candidate.evaluate(given)
    assert started == [None, Init(path, drop_head=True, drop_cells=True)]
    for change in (lambda: path.write_bytes(b"other"), path.unlink):
        change()
        with pytest.raises(SearchError, match=rf"{path} .*got (\w{{14}}|a missing file); restore"):
            candidate.evaluate(given)
    assert len(started) == 2


def test_a_reference_that_fits_no_candidate_is_no_failure_of_the_genome(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **options: Any) -> Any:
        raise InitError("cannot start from a.ckpt: 3 of the parameters do not match")

    monkeypatch.setattr(training, "train", train)
    with pytest.raises(SearchError, match=r"a\.ckpt: 3"):
        candidate.evaluate(arguments(shapes))


def test_dependencies_are_the_recipe_and_the_data(shapes: Path, tmp_path: Path) -> None:
    dependencies = candidate.dependencies(arguments(shapes, "training.epochs=2"))
    assert dependencies.keys() == {"recipe", "data", "annotations"}
    assert dependencies["data"].keys() == {"train", "val"}
    assert dependencies["recipe"]["training"]["epochs"] == 2
    assert "description" not in dependencies["recipe"]
    copy = tmp_path / "copy"
    shutil.copytree(shapes, copy)
    assert candidate.dependencies(arguments(copy, "training.epochs=2")) == dependencies
    annotations = next((copy / "annotations").glob("*.json"))
    annotations.write_text(annotations.read_text() + "\n")
    changed = candidate.dependencies(arguments(copy, "training.epochs=2"))
    assert changed["recipe"] == dependencies["recipe"]
    assert changed["annotations"] != dependencies["annotations"]
    assert changed["data"] == dependencies["data"]  # a blank in a file is no change of the data


def test_images_left_out_of_training_are_reported(shapes: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shapes, tmp_path / "copy")
    file = copy / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    first = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != first]
    file.write_text(json.dumps(content))
    for share, expected in ((0.0, ["1 without boxes"]), (0.25, [])):
        lines: list[str] = []
        recipe = load_recipe("shapes-proxy", [f"data.background={share}"])
        candidate.prepare(recipe, copy, seed=3, device="CPU", report=lines.append)
        assert [re.findall(r"\d+ without boxes", line) for line in lines] == (
            [expected] if expected else []
        )
    recipe = load_recipe("shapes-proxy", ["data.background=0.25"])
    with pytest.raises(DataError, match=r"data\.background .*got 0\.25"):
        candidate.prepare(recipe, shapes, seed=3, device="CPU")


def test_data_are_checked(shapes: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shapes, copy)
    next((copy / "annotations").glob("*val*.json")).unlink()
    with pytest.raises(DataError, match="val"):
        candidate.dependencies(arguments(copy))


def test_splits_with_other_categories_end_a_search_before_it_begins(
    shapes: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(shapes, tmp_path / "data")
    file = data / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text().replace("circle", "disc"))
    with pytest.raises(DataError, match=r"circle, .*disc, "):
        candidate.prepare(load_recipe("shapes-proxy"), data, seed=0, device="CPU")


def test_other_weights_to_start_from_are_another_final(shapes: Path) -> None:
    """The path is not told apart: the file may move."""
    cold = arguments(shapes)
    inits = [
        {"path": path, "digest": digest, "drop_head": drop}
        for path, digest, drop in (
            ("a", "1", False),
            ("b", "1", False),
            ("a", "2", False),
            ("a", "1", True),
        )
    ]
    texts = [json.dumps(candidate.settings_and_data({**cold, "init": init})) for init in inits]
    texts.append(json.dumps(candidate.settings_and_data(cold)))
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4


@pytest.mark.parametrize(
    ("override", "read"),
    [("training.lr=0.5", 0), ("data.merge_names=true", 2), ("data.exif=stored", 2)],
)
def test_another_recipe_is_prepared_as_if_from_the_start_and_reads_data_only_if_it_must(
    shapes: Path, monkeypatch: pytest.MonkeyPatch, override: str, read: int
) -> None:
    first = candidate.prepare(load_recipe("shapes-proxy"), shapes, seed=3, device="CPU")
    recipe = load_recipe("shapes-proxy", [override])
    expected = candidate.prepare(recipe, shapes, seed=3, device="CPU")
    splits: list[str] = []

    def load_split(folder: Path, split: str, **options: Any) -> Any:
        splits.append(split)
        return load(folder, split, **options)

    load = candidate.load_split
    monkeypatch.setattr(candidate, "load_split", load_split)
    assert candidate.with_recipe(first, recipe) == expected
    assert len(splits) == read
    with pytest.raises(DataError, match="background"):  # no image is without boxes
        candidate.with_recipe(first, load_recipe("shapes-proxy", ["data.background=0.5"]))
