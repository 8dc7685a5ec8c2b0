"""Scripts in processes of their own, in which MindSpore has not been imported yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from locations import ROOT
from nasfpn_runtime.cluster.isa import ISA_VARIABLE

# What a script may use. ``convolve`` returns 27, for 3 channels of 3 x 3 ones.
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


def run_script(script: str, **variables: str) -> dict[str, Any]:
    """Run a script and return what it reported; oneDNN's variable is unset unless given."""
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
