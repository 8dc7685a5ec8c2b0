"""``nasfpn import``: from a foreign file to a checkpoint that evaluates and trains."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nasfpn_runtime import build_network
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.importers.parameters import find_paths
from nasfpn_runtime.importers.spellings import SOURCES
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from tools import import_checkpoint
from tools.cli import main

SMALL = [
    "model.width=4",
    "model.channels=8",
    "model.stacks=1",
    "model.backbone=resnet10",
    "data.image=[64, 64]",
]
OVERRIDES = [part for setting in SMALL for part in ("--set", setting)]


def written(path: Path, source: str, recipe: str, categories: int) -> dict[str, NDArray[Any]]:
    """Write random weights of a small detector under the names that a source uses."""
    net = build_network(load_recipe(recipe, SMALL), categories=categories)
    shapes = {p.name: p.shape for p in net.get_parameters()}
    paths = find_paths(shapes, 3)
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        for spelt in SOURCES[source].names(paths[name])[:1]:
            value = rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else rng.normal(0, 0.05, shape)
            value = value.astype(np.float32)
            arrays[spelt] = value.transpose(2, 3, 1, 0) if spelt.endswith("/kernel") else value
    np.savez(path, **arrays)
    return arrays


def run(*arguments: object) -> int:
    return main(["import", *OVERRIDES, *map(str, arguments)])


def test_sources_are_those_of_the_runtime() -> None:
    assert set(import_checkpoint.SOURCES) == set(SOURCES)


@pytest.mark.parametrize(("source", "categories"), [("mmdet", 80), ("modelzoo", 80), ("tf", 90)])
def test_a_detector_s_checkpoint_knows_coco(
    source: str, categories: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = f"{source}-r50-7x256-640"
    written(tmp_path / "a.npz", source, recipe, categories)
    out = tmp_path / "new" / "model.ckpt"
    assert run(tmp_path / "a.npz", "--source", source, "-o", out) == 0
    arrays, origin = checkpoint.load(out)
    assert len(origin.categories) == categories
    assert origin.categories[0] == "person"
    assert origin.categories[-1] == "toothbrush"
    assert origin.recipe == load_recipe(recipe, SMALL)
    text = capsys.readouterr().out
    assert f"to {len(arrays)} parameters" in text
    assert "missing     0" in text


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=2, test=2, size=64)
    return folder


@pytest.mark.slow
def test_an_own_model_evaluates(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["circle", "square", "triangle"]
    (tmp_path / "names.txt").write_text("\n".join([*names, ""]))
    written(tmp_path / "a.npz", "mmdet", "mmdet-r50-7x256-640", 3)
    out = tmp_path / "model.ckpt"
    arguments = [tmp_path / "a.npz", "--source", "mmdet", "-o", out]
    assert run(*arguments, "--categories", tmp_path / "names.txt") == 0
    assert checkpoint.load(out)[1].categories == tuple(names)
    assert main(["eval", "--checkpoint", str(out), "--data", str(shapes)]) == 0
    assert "AP" in capsys.readouterr().out


def test_a_backbone_makes_a_checkpoint_of_the_backbone_alone(tmp_path: Path) -> None:
    arrays = written(tmp_path / "a.npz", "torchvision", "shapes", 3)
    out = tmp_path / "model.ckpt"
    arguments = [tmp_path / "a.npz", "--source", "torchvision", "-o", out, "--recipe", "shapes"]
    assert run(*arguments) == 0
    loaded, origin = checkpoint.load(out)
    assert origin.categories == ()
    assert all(name.startswith("backbone.") for name in loaded)
    np.testing.assert_array_equal(loaded["backbone.stem.conv.weight"], arrays["conv1.weight"])


def test_a_backbone_fits_below_cells_that_no_source_has(tmp_path: Path) -> None:
    written(tmp_path / "a.npz", "torchvision", "shapes", 3)
    out = tmp_path / "model.ckpt"
    arguments = [tmp_path / "a.npz", "--source", "torchvision", "-o", out, "--recipe", "shapes"]
    assert run(*arguments, "--set", "model.separable=true") == 0
    _, origin = checkpoint.load(out)
    assert origin.recipe.model.separable


@pytest.mark.slow
def test_a_mistake_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "a.npz"
    arrays = written(good, "mmdet", "mmdet-r50-7x256-640", 80)
    np.savez(tmp_path / "more.npz", **arrays, **{"neck.fpn_stages.1.x.weight": np.ones(3)})
    del arrays["bbox_head.retina_cls.bias"]
    np.savez(tmp_path / "less.npz", **arrays)
    (tmp_path / "empty.pth").touch()
    (tmp_path / "broken.npz").write_bytes(good.read_bytes()[:1000])
    (tmp_path / "a.pth").write_bytes(b"x")
    (tmp_path / "twice.txt").write_text("a\na\n")
    monkeypatch.setitem(sys.modules, "torch", None)
    out = ["-o", tmp_path / "o.ckpt"]
    mmdet = ["--source", "mmdet", *out]
    mistakes: dict[str, tuple[list[object], str]] = {
        "nothing there": ([tmp_path / "no.npz", *mmdet], "no.npz"),
        "folder": ([tmp_path, *mmdet], "folder"),
        "empty": ([tmp_path / "empty.pth", *mmdet], "empty"),
        "truncated": ([tmp_path / "broken.npz", *mmdet], "broken.npz"),
        "no torch": ([tmp_path / "a.pth", *mmdet], "nasfpn[torch]"),
        "missing": ([tmp_path / "less.npz", *mmdet], "bbox_head.retina_cls.bias"),
        "too much": ([tmp_path / "more.npz", *mmdet], "neck.fpn_stages.1.x.weight"),
        "other source": ([good, "--source", "tf", *out], "mmdet"),
        "backbone": ([good, "--source", "mindcv", *out], "--recipe"),
        "other genome": ([good, *mmdet, "--arch", "fpn"], "nasfpn"),
        "suffix": ([good, "--source", "mmdet", "-o", tmp_path / "o.pth"], ".ckpt"),
        "separable": ([good, *mmdet, "--set", "model.separable=true"], "mmdet"),
        "other backbone": ([good, *mmdet, "--set", "model.backbone=mobilenetv2"], "mmdet"),
        "categories": ([good, *mmdet, "--categories", tmp_path / "twice.txt"], "twice.txt"),
    }
    for name, (arguments, hint) in mistakes.items():
        assert run(*arguments) == 2, name
        error = capsys.readouterr().err
        assert "Traceback" not in error, name
        assert error.splitlines()[-1].startswith("nasfpn: error: "), name
        assert hint in error.splitlines()[-1], (name, error)
        assert not (tmp_path / "o.ckpt").exists()
    assert run(tmp_path / "less.npz", *mmdet, "--partial") == 0
    assert "missing     1: head.classes.predict.bias" in capsys.readouterr().out
    assert run(tmp_path / "more.npz", *mmdet, "--partial", "--overwrite") == 0
