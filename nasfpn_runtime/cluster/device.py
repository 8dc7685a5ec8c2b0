"""Choose CPU or Ascend, and refuse what a device cannot do."""

from __future__ import annotations

import os

from nasfpn_runtime.errors import DeviceError


def set_device(name: str) -> None:
    """Use graph mode on ``CPU`` or ``Ascend``.

    Raises:
        DeviceError: another name, or one that MindSpore cannot open, or not any more,
            because this process has run on the other.
    """
    import mindspore

    if name not in ("CPU", "Ascend"):
        raise DeviceError(f"a device is CPU or Ascend, got {name!r}")
    try:
        # msrun gives each process of a server a card of its own.
        mindspore.set_device(name, int(os.environ.get("DEVICE_ID", "0")) if name == "Ascend" else 0)
    except RuntimeError as error:
        # Once a kernel has run MindSpore refuses even the device that it ran on.
        if str(mindspore.get_context("device_target")) != name:
            first = str(error).strip().splitlines()[0]
            raise DeviceError(f"device {name} cannot be used here: {first}") from None
    mindspore.set_context(mode=mindspore.GRAPH_MODE)


def check_precision(device: str, precision: str) -> None:
    """Refuse what MindSpore has no kernels for.

    Raises:
        DeviceError: bfloat16 on the CPU.
    """
    if device == "CPU" and precision == "bfloat16":
        raise DeviceError("training.precision bfloat16 needs --device Ascend, got CPU")
