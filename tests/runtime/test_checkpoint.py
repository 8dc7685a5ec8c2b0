"""Checkpoints: old versions stay readable."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore
import numpy as np
import pytest

from nasfpn_runtime import checkpoint
from nasfpn_runtime.errors import CheckpointError

# The text entry of a checkpoint that version 0.1 wrote before there were dialects.
V1 = (Path(__file__).parents[1] / "assets" / "checkpoint_v1.json").read_text()


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
    semantics = origin.recipe.model.resolved_semantics()
    assert semantics.norm_epsilon == semantics.backbone_epsilon == 1e-4
    assert semantics.norm_momentum == meant


def test_what_is_written_is_read(tmp_path: Path) -> None:
    _, origin = checkpoint.load(write(tmp_path / "v1.ckpt", V1))
    _, again = checkpoint.load(write(tmp_path / "now.ckpt", origin.to_json()))
    assert again == origin


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    content = json.loads(V1) | {"version": checkpoint.VERSION + 1}
    with pytest.raises(CheckpointError, match=f"version {checkpoint.VERSION + 1}"):
        checkpoint.load(write(tmp_path / "later.ckpt", json.dumps(content)))
