"""A detector as MindSpore's own files: MINDIR, and AIR for Ascend's older tools."""

from __future__ import annotations

from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor

from nasfpn_runtime.errors import DeviceError
from nasfpn_runtime.export.deployed import Deployed
from nasfpn_runtime.inference.description import ENTRY, Description


def write_mindir(path: Path, net: Deployed, description: Description) -> None:
    """Write a MINDIR with the description in its ``user_info``; sides are fixed."""
    net.set_train(False)
    mindspore.export(
        net,
        _images(description),
        file_name=str(path),
        file_format="MINDIR",
        custom_func=lambda model: model.user_info.update({ENTRY: description.to_json()}),
    )


def write_air(path: Path, net: Deployed, description: Description) -> None:
    """Write an AIR file; nothing can be written into it beside the network.

    Raises:
        DeviceError: this MindSpore is not running on Ascend.
    """
    device = mindspore.get_context("device_target")
    if device != "Ascend":
        raise DeviceError(f"AIR is written with --device Ascend only, got {device}")
    net.set_train(False)
    mindspore.export(net, _images(description), file_name=str(path), file_format="AIR")


def _images(description: Description) -> Tensor:
    sides = (3, *description.size)
    if description.batch is None:
        return Tensor(shape=(None, *sides), dtype=mindspore.float32)
    return Tensor(np.zeros((description.batch, *sides), np.float32))
