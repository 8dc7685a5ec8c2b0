"""Selection of the device."""

from __future__ import annotations

import mindspore
import pytest

from fresh_process import run_script
from nasfpn_runtime.cluster.device import check_precision, set_device
from nasfpn_runtime.errors import DeviceError


@pytest.mark.slow
def test_ascend_works_or_is_refused_in_one_line() -> None:
    result = run_script("""
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.errors import DeviceError
try:
    set_device("Ascend")
except DeviceError as error:
    report(error=str(error))
else:
    report(error=None, value=convolve())
""")
    if result["error"] is None:
        assert result["value"] == 27
    else:
        assert result["error"].startswith("cannot use device Ascend here: ")
        assert "\n" not in result["error"]


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(DeviceError, match=r"CPU or Ascend, got 'TPU'$"):
        set_device("TPU")


def test_an_error_of_mindspore_is_cut_to_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, number: int) -> None:
        raise RuntimeError(f"\nno driver for {name} {number}\n-----\nC++ call stack\n")

    monkeypatch.setattr(mindspore, "set_device", refuse)
    monkeypatch.setenv("DEVICE_ID", "3")  # set by msrun for the fourth process of a server
    with pytest.raises(DeviceError, match=r"Ascend.*: no driver for Ascend 3$"):
        set_device("Ascend")


@pytest.mark.usefixtures("pynative")
def test_setting_a_device_sets_graph_mode() -> None:
    set_device("CPU")
    assert mindspore.get_context("mode") == mindspore.GRAPH_MODE


@pytest.mark.parametrize("device", ["CPU", "Ascend"])
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_only_bfloat16_on_the_cpu_is_refused(device: str, precision: str) -> None:
    if (device, precision) == ("CPU", "bfloat16"):
        with pytest.raises(DeviceError, match=r"bfloat16.*CPU"):
            check_precision(device, precision)
    else:
        check_precision(device, precision)


@pytest.mark.slow
def test_the_device_in_use_may_be_set_again() -> None:
    # MindSpore refuses this once a kernel has run, if no device was set before.
    result = run_script("""
import nasfpn_runtime
value = convolve()
from nasfpn_runtime.cluster.device import set_device
set_device("CPU")
report(values=[value, convolve()])
""")
    assert result["values"] == [27, 27]
