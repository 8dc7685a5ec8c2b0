"""Checkpoints: old versions stay readable, and a kill always leaves a complete one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest

import searched_archs
from locations import ASSETS
from nasfpn_runtime.errors import CheckpointError, DivergedError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe

# Text entry of a checkpoint that version 0.1 wrote, before there were dialects.
V1 = (ASSETS / "checkpoint_v1.json").read_text()
# Text entry of version 2 from when the setting model.dialect was named model.semantics.
V2 = (ASSETS / "checkpoint_v2.json").read_text()


def write(path: Path, entry: str, *, checksum: bool = False) -> Path:
    array = mindspore.Tensor(np.arange(3, dtype=np.float32))
    mindspore.save_checkpoint(
        [{"name": "weight", "data": array}],
        str(path),
        append_dict={checkpoint.ENTRY: entry},
        crc_check=checksum,
    )
    return path


@pytest.mark.parametrize(("written", "expected"), [(0.9, 0.9), (None, 0.997)])
def test_version_1_keeps_its_batch_norm_constants(
    written: float | None, expected: float, tmp_path: Path
) -> None:
    content = json.loads(V1)
    content["recipe"]["model"]["norm_momentum"] = written
    arrays, origin = checkpoint.load(write(tmp_path / "v1.ckpt", json.dumps(content)))
    np.testing.assert_array_equal(arrays["weight"], [0, 1, 2])
    assert (origin.epoch, origin.seed) == (50, 1)
    dialect = origin.recipe.model.resolved_dialect()
    assert dialect.norm_epsilon == dialect.backbone_epsilon == 1e-4
    assert dialect.norm_momentum == expected


def test_version_2_is_read_with_the_old_name_of_the_dialect(tmp_path: Path) -> None:
    assert json.loads(V2)["recipe"]["model"]["semantics"] == "mmdet"
    _, origin = checkpoint.load(write(tmp_path / "v2.ckpt", V2))
    overrides = ["model.dialect=mmdet", "model.norm_momentum=0.9"]
    assert origin.recipe.model == load_recipe("bccd-128", overrides).model
    assert origin.genome == searched_archs.load("fpn")
    assert origin.categories == ("RBC", "WBC", "Platelets")
    assert (origin.seed, origin.epoch, origin.best_ap) == (7, 12, 0.25)


class Holder(mindspore.nn.Cell):
    """A cell with one parameter."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__()
        array = np.array([1, value], np.float32)
        self.held = mindspore.Parameter(mindspore.Tensor(array), name=name)


def an_origin() -> checkpoint.Origin:
    return checkpoint.Origin(load_recipe("shapes"), searched_archs.load("fpn"), ("a",), 0, epoch=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weight", "bn.moving_variance", "moments.weight", "ema.weight"])
def test_no_number_that_is_not_finite_is_saved(name: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, Holder(name, 2.0), an_origin())
    before = path.read_bytes()
    with pytest.raises(DivergedError, match=rf"finite, got {value} in {name} \(at .*last\.ckpt"):
        checkpoint.save(path, Holder(name, value), an_origin(), keep=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {path.name: before}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_array_beside_the_network_is_saved_if_it_is_not_finite(
    value: float, tmp_path: Path
) -> None:
    path, more = tmp_path / "last.ckpt", {"of_cards": np.array([[0, value]], np.float32)}
    with pytest.raises(DivergedError, match=rf"finite, got {value} in of_cards"):
        checkpoint.save(path, Holder("weight", 2.0), an_origin(), more=more)
    assert not path.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weight", "bn.moving_variance", "moments.weight", "ema.weight"])
def test_a_file_with_a_number_that_is_not_finite_is_refused(
    name: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, Holder("good", 2.0), an_origin())
    with monkeypatch.context() as patch:  # as an earlier version saved it
        patch.setattr(checkpoint, "check_finite", lambda *_: None)
        checkpoint.save(path, Holder(name, value), an_origin(), keep=True)
    with pytest.raises(CheckpointError, match=rf"last\.ckpt.* finite, got {value} in {name};"):
        checkpoint.load(path)
    with pytest.warns(RuntimeWarning, match=name):
        assert "good" in checkpoint.load_newest(path)[0]  # the previous one


@pytest.mark.parametrize("cut", [slice(None, -17), slice(None, -12)])
def test_a_file_that_lost_its_checksum_is_refused(cut: slice, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, Holder("weight", 2.0), an_origin())
    whole = path.read_bytes()
    changed = whole[cut].replace(np.float32(2.0).tobytes(), np.float32(2.5).tobytes())
    path.write_bytes(
        changed.ljust(len(whole), b"\0") if len(changed) > len(whole) - 17 else changed
    )
    with pytest.raises(CheckpointError, match=r"last\.ckpt.*damaged"):
        checkpoint.load(path)


def test_an_interrupt_while_a_file_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.save(path, Holder("weight", 2.0), an_origin())
    before = path.read_bytes()

    def interrupted(net: object, file: str, **options: object) -> None:
        Path(file).write_bytes(before[:50])
        raise KeyboardInterrupt

    monkeypatch.setattr(mindspore, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, Holder("weight", 3.0), an_origin(), keep=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {path.name: before}


def test_a_part_of_an_epoch_survives_a_round_trip_and_no_earlier_version_reads_it() -> None:
    partial = checkpoint.PartialEpoch(3, (0.1, 1 / 3))
    origin = replace(an_origin(), partial=partial)
    assert checkpoint.Origin.from_json(origin.to_json(), Path("x")) == origin
    assert json.loads(origin.to_json())["version"] == 3
    assert json.loads(an_origin().to_json())["version"] == 2
    assert (an_origin().position, origin.position) == ((1, 0), (1, 3))


def test_an_origin_survives_a_round_trip(tmp_path: Path) -> None:
    _, origin = checkpoint.load(write(tmp_path / "v1.ckpt", V1))
    _, again = checkpoint.load(write(tmp_path / "now.ckpt", origin.to_json(), checksum=True))
    assert again == origin


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    content = json.loads(V1) | {"version": checkpoint.PARTIAL_VERSION + 1}
    with pytest.raises(
        CheckpointError, match=rf"version.* got {checkpoint.PARTIAL_VERSION + 1} .*later\.ckpt"
    ):
        checkpoint.load(write(tmp_path / "later.ckpt", json.dumps(content)))


# Saves an epoch. Killed as soon as the file named by the third argument has been replaced.
SAVE = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from mindspore import nn
from nasfpn_runtime.network import checkpoint

path, epoch, deadly = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
origin = checkpoint.Origin.from_json(sys.stdin.read(), path)
real = os.replace

def replace_and_die(source, target):
    real(source, target)
    if target.name == deadly:
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.os.replace = replace_and_die
checkpoint.save(path, nn.Dense(2, 2), replace(origin, epoch=epoch), keep=True)
"""


def save(path: Path, epoch: int, deadly: str = "") -> int:
    command = [sys.executable, "-c", SAVE, path, str(epoch), deadly]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, input=V1, text=True, env=environ).returncode


def epoch_to_resume_from(path: Path) -> int:
    newest = checkpoint.load_newest(path)
    assert newest is not None
    return newest[1].epoch


@pytest.mark.slow
def test_a_kill_while_the_file_after_a_broken_one_is_saved_costs_no_run(tmp_path: Path) -> None:
    """Fails if the broken file replaces the previous one, which is intact."""
    path = tmp_path / "last.ckpt"
    assert [save(path, epoch) for epoch in (1, 2)] == [0, 0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)  # MindSpore writes files without write permission
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=r"last\.ckpt.*previous checkpoint"):
        assert epoch_to_resume_from(path) == 1
    checkpoint.drop_broken(path)
    assert epoch_to_resume_from(path) == 1
    assert save(path, 2, deadly=checkpoint.previous(path).name) == -signal.SIGKILL
    assert epoch_to_resume_from(path) == 1
    assert save(path, 2) == 0
    assert epoch_to_resume_from(path) == 2


@pytest.mark.parametrize("last", [None, "intact", "broken"])
@pytest.mark.parametrize("previous", [None, "intact"])
def test_only_a_broken_file_with_an_intact_previous_one_is_dropped(
    last: str | None, previous: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    for file, state in ((path, last), (checkpoint.previous(path), previous)):
        if state == "intact":
            write(file, json.dumps(json.loads(V1) | {"epoch": 2 if file == path else 1}))
        elif state == "broken":
            file.write_text("broken")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    checkpoint.drop_broken(path)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    if (last, previous) == ("broken", "intact"):
        assert after == {"last.ckpt": before["last.previous.ckpt"]}
    else:
        assert after == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("categories", 5),
        ("categories", [1]),
        ("categories", {"a": "b"}),
        ("seed", "0"),
        ("seed", 0.5),
        ("epoch", None),
        ("best_ap", "x"),
        ("best_ap", float("nan")),
        ("data", 5),
        ("data", ["v1:a"]),
        ("data", {"train": 5}),
        ("init", 5),
        ("metrics", 5),
        ("metrics", {"AP": "x"}),
        ("metrics", {"AP": float("inf")}),
        ("partial", 5),
        ("recipe", 5),
        ("genome", 5),
        ("version", []),
    ],
)
def test_a_description_with_a_value_of_another_kind_is_refused(name: str, value: Any) -> None:
    content = {**json.loads(an_origin().to_json()), name: value}
    with pytest.raises(CheckpointError, match=r"run\.json"):
        checkpoint.Origin.from_json(json.dumps(content), Path("run.json"))
