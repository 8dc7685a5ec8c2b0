"""Write a detector in MindSpore's own formats: MINDIR, and AIR for Ascend's older tools."""

from __future__ import annotations

from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor

from nasfpn_runtime.cluster.sharing import lock
from nasfpn_runtime.errors import DeviceError
from nasfpn_runtime.export.deployed import DeployedNetwork
from nasfpn_runtime.inference.description import Description


def write_mindir(path: Path, net: DeployedNetwork, description: Description) -> None:
    """Write a MINDIR file with the description in its ``user_info``; its sides are fixed."""
    net.set_train(False)
    with lock("mindspore"):
        mindspore.export(
            net,
            _example_input(description),
            file_name=str(path),
            file_format="MINDIR",
            custom_func=lambda model: model.user_info.update(description.entries()),
        )


def write_air(path: Path, net: DeployedNetwork, description: Description) -> None:
    """Write an AIR file. It cannot hold the description.

    Raises:
        DeviceError: MindSpore is not running on Ascend.
    """
    require_ascend()
    net.set_train(False)
    mindspore.export(net, _example_input(description), file_name=str(path), file_format="AIR")


def require_ascend() -> None:
    """Check that AIR can be written here.

    Raises:
        DeviceError: MindSpore is not running on Ascend.
    """
    device = mindspore.get_context("device_target")
    if device != "Ascend":
        raise DeviceError(f"device for AIR must be Ascend, got {device}: use --device Ascend")


def _example_input(description: Description) -> Tensor:
    sides = (3, *description.size)
    if description.batch is None:
        return Tensor(shape=(None, *sides), dtype=mindspore.float32)
    return Tensor(np.zeros((description.batch, *sides), np.float32))
