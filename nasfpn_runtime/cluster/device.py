"""Selection of the device, CPU or Ascend, and checks of what it supports."""

from __future__ import annotations

import os

from nasfpn_runtime.errors import DeviceError, first_line


def set_device(name: str) -> None:
    """Use ``CPU`` or ``Ascend`` in graph mode.

    Raises:
        DeviceError: the name is another one, or MindSpore cannot open the device, for example
            because this process has already run on the other one.
    """
    import mindspore

    if name not in ("CPU", "Ascend"):
        raise DeviceError(f"--device must be CPU or Ascend, got {name!r}")
    try:
        # msrun assigns a card to each process of a server.
        mindspore.set_device(name, int(os.environ.get("DEVICE_ID", "0")) if name == "Ascend" else 0)
    except RuntimeError as error:
        # Once a kernel has run, MindSpore refuses every call, even with the same device.
        if str(mindspore.get_context("device_target")) != name:
            raise DeviceError(f"cannot use device {name} here: {first_line(error)}") from None
    mindspore.set_context(mode=mindspore.GRAPH_MODE)


def check_precision(device: str, precision: str) -> None:
    """Check that MindSpore has kernels for a precision on a device.

    Raises:
        DeviceError: ``precision`` is ``bfloat16`` and ``device`` is ``CPU``.
    """
    if device == "CPU" and precision == "bfloat16":
        raise DeviceError("training.precision bfloat16 needs --device Ascend, got CPU")
