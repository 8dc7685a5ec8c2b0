"""Checkpoints: old versions stay readable, one of two is whole whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import mindspore
import numpy as np
import pytest

from locations import ASSETS
from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.network import checkpoint

# The text entry of a checkpoint that version 0.1 wrote before there were dialects.
V1 = (ASSETS / "checkpoint_v1.json").read_text()


def write(path: Path, entry: str) -> Path:
    array = mindspore.Tensor(np.arange(3, dtype=np.float32))
    mindspore.save_checkpoint(
        [{"name": "weight", "data": array}], str(path), append_dict={checkpoint.ENTRY: entry}
    )
    return path


@pytest.mark.parametrize(("said", "meant"), [(0.9, 0.9), (None, 0.997)])
def test_version_1_keeps_its_constants_of_batch_norm(
    said: float | None, meant: float, tmp_path: Path
) -> None:
    content = json.loads(V1)
    content["recipe"]["model"]["norm_momentum"] = said
    arrays, origin = checkpoint.load(write(tmp_path / "v1.ckpt", json.dumps(content)))
    np.testing.assert_array_equal(arrays["weight"], [0, 1, 2])
    assert (origin.epoch, origin.seed) == (50, 1)
    dialect = origin.recipe.model.resolved_dialect()
    assert dialect.norm_epsilon == dialect.backbone_epsilon == 1e-4
    assert dialect.norm_momentum == meant


def test_what_is_written_is_read(tmp_path: Path) -> None:
    _, origin = checkpoint.load(write(tmp_path / "v1.ckpt", V1))
    _, again = checkpoint.load(write(tmp_path / "now.ckpt", origin.to_json()))
    assert again == origin


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    content = json.loads(V1) | {"version": checkpoint.VERSION + 1}
    with pytest.raises(CheckpointError, match=f"version {checkpoint.VERSION + 1}"):
        checkpoint.load(write(tmp_path / "later.ckpt", json.dumps(content)))


# Saves an epoch; killed when the file of the third argument has been replaced.
SAVE = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from mindspore import nn
from nasfpn_runtime.network import checkpoint

path, epoch, deadly = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
origin = checkpoint._origin(sys.stdin.read(), path)
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


def epoch_to_go_on_from(path: Path) -> int:
    found = checkpoint.load_newest(path)
    assert found is not None
    return found[1].epoch


def test_a_kill_while_the_file_after_a_broken_one_is_saved_costs_no_run(tmp_path: Path) -> None:
    """Breaks if the broken file takes the place of the one before, which is whole."""
    path = tmp_path / "last.ckpt"
    assert [save(path, epoch) for epoch in (1, 2)] == [0, 0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)  # MindSpore leaves it without permission to write
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="going on from the one before"):
        assert epoch_to_go_on_from(path) == 1
    checkpoint.drop_broken(path)
    assert epoch_to_go_on_from(path) == 1
    assert save(path, 2, deadly=checkpoint.previous(path).name) == -signal.SIGKILL
    assert epoch_to_go_on_from(path) == 1
    assert save(path, 2) == 0
    assert epoch_to_go_on_from(path) == 2


@pytest.mark.parametrize("last", [None, "whole", "broken"])
@pytest.mark.parametrize("previous", [None, "whole"])
def test_nothing_but_a_broken_file_with_a_whole_one_before_it_is_dropped(
    last: str | None, previous: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    for place, state in ((path, last), (checkpoint.previous(path), previous)):
        if state == "whole":
            write(place, json.dumps(json.loads(V1) | {"epoch": 2 if place == path else 1}))
        elif state == "broken":
            place.write_text("broken")
    before = {place.name: place.read_bytes() for place in tmp_path.iterdir()}
    checkpoint.drop_broken(path)
    after = {place.name: place.read_bytes() for place in tmp_path.iterdir()}
    if (last, previous) == ("broken", "whole"):
        assert after == {"last.ckpt": before["last.previous.ckpt"]}
    else:
        assert after == before
