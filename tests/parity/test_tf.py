"""The ``tf`` dialect against TF Model Garden's own decoder, on random genomes and weights.

TensorFlow runs in a process of its own, with the Python in the environment variable
NASFPN_TF_PYTHON (default: this one). NASFPN_TPU_SOURCE is the folder models/official/detection of a
checkout of tensorflow/tpu, which is in no registry. A test is skipped if its code is not installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor

from locations import ASSETS
from nasfpn_runtime import build_pyramid
from nasfpn_runtime.importers.load import load_state
from search_space import to_tf_blocks

pytestmark = [pytest.mark.parity, pytest.mark.slow]

PYTHON = os.environ.get("NASFPN_TF_PYTHON", sys.executable)
WIDE = {3: 512, 4: 1024, 5: 2048}
NARROW = {3: 256, 4: 128, 5: 256}  # 256 is as wide as the pyramid: no lateral there
STACKS = 2


def require(module: str) -> None:
    """Skip the test if ``PYTHON`` cannot import a module."""
    ended = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, check=False)
    if ended.returncode:
        pytest.skip(f"{PYTHON} has no {module}")


def run_program(program: str, *arguments: str | Path) -> None:
    """Run a program of this folder with ``PYTHON``."""
    path = Path(__file__).with_name(program)
    variables = os.environ | {"TF_USE_LEGACY_KERAS": "1"}
    subprocess.run([PYTHON, path, *arguments], check=True, env=variables)


@pytest.fixture(scope="module")
def answers(cases: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The outputs of the decoder for all cases."""
    require("official")
    folder = tmp_path_factory.mktemp("tf")
    jobs = [
        {
            "blocks": to_tf_blocks(case.genome),
            "in_channels": in_channels(case),
            "size": case.size,
            "batch": case.batch,
            "stacks": STACKS,
            "seed": case.seed,
        }
        for case in cases
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    run_program("reference_tf.py", folder / "jobs.json", folder / "outputs.npz")
    with np.load(folder / "outputs.npz") as outputs:
        yield outputs


def in_channels(case: Any) -> dict[int, int]:
    return NARROW if case.seed % 3 == 0 else WIDE


@pytest.mark.parametrize("number", range(20))
def test_a_random_genome_gives_the_outputs_of_tensorflow(
    number: int, cases: list[Any], answers: Any, weights: ModuleType, same: Callable[..., None]
) -> None:
    case = cases[number]
    shapes = json.loads(str(answers[f"{number}/names"]))
    arrays = {name: weights.weight(name, tuple(s), case.seed) for name, s in shapes.items()}
    net = build_pyramid(case.genome, in_channels=in_channels(case), stacks=STACKS)
    result = load_state(net, arrays, "tf")
    assert set(result.mapped) == set(arrays)
    net.set_train(False)
    maps = weights.features(in_channels(case), case.size, case.batch, case.seed)
    ours = [y.asnumpy() for y in net(*(Tensor(x) for x in maps.values()))]
    same(ours, [answers[f"{number}/{level.name}"] for level in case.genome.levels])


def test_the_cases_have_ties_and_leftovers(cases: list[Any]) -> None:
    genomes = [case.genome for case in cases]
    tied = [
        len({genome.node_levels[node] for node in cell.inputs}) == 1
        for genome in genomes
        for cell in genome.cells
        if cell.op == "attention"
    ]
    assert any(tied)
    assert any(genome.leftovers() for genome in genomes)


def test_googles_own_graph_gives_the_golden_outputs(
    tmp_path: Path, same: Callable[..., None]
) -> None:
    source = os.environ.get("NASFPN_TPU_SOURCE")
    if source is None:
        pytest.skip("NASFPN_TPU_SOURCE is not set to a checkout of tensorflow/tpu")
    run_program("reference_tpu.py", source, tmp_path / "names.tsv", tmp_path / "outputs.npz")
    assert (tmp_path / "names.tsv").read_text() == (ASSETS / "tf_variable_names.tsv").read_text()
    golden, outputs = np.load(ASSETS / "tf_tpu.npz"), np.load(tmp_path / "outputs.npz")
    assert set(outputs) <= set(golden)
    for name in outputs:
        if name.endswith(("_pos", "_shape")) or outputs[name].ndim == 0:
            assert np.array_equal(outputs[name], golden[name])
        else:
            same([outputs[name]], [golden[name]])
