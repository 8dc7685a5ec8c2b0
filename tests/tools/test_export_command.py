"""``nasfpn export`` and ``nasfpn eval`` of what it wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nasfpn_runtime.bench.parity import write_random
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.inference.engines.registry import read_description
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.scoring.evaluate import score_checkpoint
from search_space import Genome, MergingCell, detector_cost
from tools.cli import main

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
SMALL = ["model.width=4", "model.channels=8", "model.stacks=1", "model.head_convs=1"]
RECIPE = load_recipe("shapes-proxy", SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint and a dataset of its categories in another order."""
    folder = tmp_path_factory.mktemp("export")
    write_random(folder / "a.ckpt", RECIPE, GENOME)
    write_shapes(folder / "data", train=1, val=5, test=1, size=64)
    for path in (folder / "data" / "annotations").iterdir():
        content = json.loads(path.read_text())
        for number, category in enumerate(content["categories"]):
            category["name"] = f"class{2 - number}"
        path.write_text(json.dumps(content))
    return folder


@pytest.mark.slow
def test_what_was_written_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, data = str(folder / "a.ckpt"), str(folder / "data")
    assert main(["export", source, "--format", "onnx", "--data", data, "--size", "70", "90"]) == 0
    path = folder / "a.onnx"  # beside the checkpoint
    about = read_description(path)
    assert about.size == (96, 96)  # multiples of 32
    text = capsys.readouterr().out
    assert f"{path.stat().st_size:,} bytes, fp32" in text
    assert "1 x 3 x 96x96" in text
    cost = detector_cost(GENOME, RECIPE.shape(3, GENOME.levels))
    assert f"{cost.parameters:,} parameters" in text
    assert "from the checkpoint on 4 images" in text


@pytest.mark.slow
def test_exported_files_score_as_their_checkpoint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, data = folder / "a.ckpt", folder / "data"
    command = ["export", str(source), "--format", "onnx", "--with-nms", "--dynamic"]
    assert main([*command, "--overwrite"]) == 0
    assert "suppression" in capsys.readouterr().out
    expected = score_checkpoint(source, data, "val", progress=False)
    assert expected["AR100"] > 0.005  # else there is nothing to compare
    for engine in (None, "openvino"):
        scored = score_checkpoint(folder / "a.onnx", data, "val", engine=engine, progress=False)
        assert scored == pytest.approx(expected, abs=5e-4)
    command = ["eval", "--checkpoint", str(folder / "a.onnx"), "--data", str(data)]
    assert main(command) == 0
    assert f"= {expected['AP']:.3f}" in capsys.readouterr().out
    assert main([*command, "--protocol", "modelzoo"]) == 2
    assert "modelzoo" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "air"], r"AIR.*Ascend.*CPU"),
        (["--format", "mindir", "--with-nms"], r"onnx.*mindir"),
        (["--format", "onnx", "-o", "m.mindir"], r"--out .*\.onnx .*, got m\.mindir"),
        (["--format", "onnx", "--stacks", "9", "--overwrite"], r"from 1 to 1\b"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(folder / "a.ckpt"), *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert re.search(f"(?i)^nasfpn: error: .*{message}", error.splitlines()[-1])
