"""Checkpoints that TensorFlow writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.importers.readers import read_arrays

pytestmark = [pytest.mark.parity, pytest.mark.slow]


def test_a_tensorflow_checkpoint_is_read_by_variable_name(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow").compat.v1
    kernel = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.get_variable("resample_l3/conv2d/kernel", initializer=kernel)
        tf.train.get_or_create_global_step()
        session.run(tf.global_variables_initializer())
        prefix = Path(tf.train.Saver().save(session, str(tmp_path / "model.ckpt"), global_step=7))
    for path in (prefix, prefix.with_name(f"{prefix.name}.index")):
        arrays = read_arrays(path)
        assert arrays.keys() == {"resample_l3/conv2d/kernel", "global_step"}
        np.testing.assert_array_equal(arrays["resample_l3/conv2d/kernel"], kernel)
    for part in (".data-00000-of-00001", ".index"):
        file = prefix.with_name(prefix.name + part)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(CheckpointError, match=prefix.name):
            read_arrays(prefix)
