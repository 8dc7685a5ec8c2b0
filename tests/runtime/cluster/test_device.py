"""The guard against oneDNN's slow kernels, in processes of its own, and the device's name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import mindspore
import pytest

from locations import ROOT
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.cluster.isa import ISA_VARIABLE
from nasfpn_runtime.errors import DeviceError

AVX512 = 0x20  # bit of dnnl_cpu_isa_t, include/oneapi/dnnl/dnnl_types.h
SSE41 = 0x1

COMMON = """
import ctypes, json, os, sys, warnings
from pathlib import Path

def isa():
    import mindspore
    library, = Path(mindspore.__file__).parent.glob("lib/libdnnl.so.*")
    return ctypes.CDLL(str(library)).dnnl_get_effective_cpu_isa()

def convolve():
    import mindspore, numpy
    conv = mindspore.nn.Conv2d(3, 4, 3, weight_init="ones")
    ones = mindspore.Tensor(numpy.ones((1, 3, 8, 8), numpy.float32))
    return float(conv(ones).asnumpy()[0, 0, 4, 4])

def report(**values):
    values["variable"] = os.environ.get("ONEDNN_MAX_CPU_ISA")
    print(json.dumps(values))
"""


def run(script: str, **variables: str) -> dict[str, Any]:
    """Run a script in a fresh process, oneDNN's variable unset unless given."""
    environment = {k: v for k, v in os.environ.items() if k != ISA_VARIABLE} | variables
    done = subprocess.run(
        [sys.executable, "-c", COMMON + script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_mindspore_may_be_imported_first() -> None:
    found = run("""
import mindspore
import nasfpn_runtime.network.network
report(value=convolve(), isa=isa())
""")
    assert found["value"] == 27  # 3 channels of 3x3 ones
    assert not found["isa"] & AVX512
    assert found["variable"] == "AVX2"  # children inherit it


def test_importing_the_package_does_not_import_mindspore() -> None:
    found = run("""
import nasfpn_runtime
loaded = "mindspore" in sys.modules
report(loaded=loaded, value=convolve(), isa=isa())
""")
    assert not found["loaded"]
    assert not found["isa"] & AVX512


def test_a_convolution_before_the_import_is_warned_of() -> None:
    found = run("""
convolve()
before = isa()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import nasfpn_runtime
report(before=before, caught=[[w.category.__name__, str(w.message)] for w in caught])
""")
    # Only where it does harm: on a machine without AVX-512 there is nothing to warn of.
    assert len(found["caught"]) == bool(found["before"] & AVX512)
    for category, message in found["caught"]:
        assert category == "RuntimeWarning"
        assert f"{ISA_VARIABLE}=AVX2" in message


def test_the_users_own_setting_stays() -> None:
    script = """
import mindspore
import nasfpn_runtime.network.network
report(value=convolve(), isa=isa())
"""
    found = run(script, **{ISA_VARIABLE: "SSE41"})
    assert found["value"] == 27
    assert found["variable"] == "SSE41"
    assert found["isa"] & ~SSE41 == 0


def test_ascend_works_or_says_at_once_that_it_cannot() -> None:
    found = run("""
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.errors import DeviceError
try:
    set_device("Ascend")
except DeviceError as error:
    report(error=str(error))
else:
    report(error=None, value=convolve())
""")
    if found["error"] is None:
        assert found["value"] == 27
    else:
        assert found["error"].startswith("device Ascend cannot be used here: ")
        assert "\n" not in found["error"]


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(DeviceError, match=r"^a device is CPU or Ascend, got 'TPU'$"):
        set_device("TPU")


def test_what_mindspore_says_is_cut_to_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, number: int) -> None:
        raise RuntimeError(f"\nno driver for {name} {number}\n-----\nC++ call stack\n")

    monkeypatch.setattr(mindspore, "set_device", refuse)
    monkeypatch.setenv("DEVICE_ID", "3")  # msrun's, of the fourth process of a server
    message = "^device Ascend cannot be used here: no driver for Ascend 3$"
    with pytest.raises(DeviceError, match=message):
        set_device("Ascend")


@pytest.mark.usefixtures("pynative")
def test_a_device_comes_with_graph_mode() -> None:
    set_device("CPU")
    assert mindspore.get_context("mode") == mindspore.GRAPH_MODE


def test_the_device_in_use_may_be_set_again() -> None:
    # MindSpore refuses to, once a kernel has run without a device set before.
    found = run("""
import nasfpn_runtime
value = convolve()
from nasfpn_runtime.cluster.device import set_device
set_device("CPU")
report(values=[value, convolve()])
""")
    assert found["values"] == [27, 27]
