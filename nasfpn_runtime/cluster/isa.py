"""Keep oneDNN from using AVX-512.

On an AVX-512 CPU, MindSpore 2.9 and 2.10 run 3x3 convolutions in oneDNN's reference kernel, which
is many times slower than its AVX2 kernel. This module imports nothing heavy, because it runs
whenever ``nasfpn_runtime`` is imported.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from pathlib import Path

ISA_VARIABLE = "ONEDNN_MAX_CPU_ISA"
_DNNL_AVX2 = 0x7  # dnnl_cpu_isa_avx2, include/oneapi/dnnl/dnnl_types.h
_DNNL_AVX512_BIT = 0x20  # in every dnnl_cpu_isa value with AVX-512, in no other


def guard_isa() -> None:
    """Keep oneDNN from using AVX-512 in this process and its children.

    Does nothing if the user has set ``ONEDNN_MAX_CPU_ISA``. Warns (RuntimeWarning) if a
    convolution has already run with AVX-512, because the setting can no longer be changed then.
    """
    if ISA_VARIABLE in os.environ:
        return
    os.environ[ISA_VARIABLE] = "AVX2"
    mindspore = sys.modules.get("mindspore")
    if mindspore is None or mindspore.__file__ is None:
        return
    libraries = sorted(Path(mindspore.__file__).parent.glob("lib/libdnnl.so.*"))
    if not libraries:
        return
    dnnl = ctypes.CDLL(str(libraries[0]))
    refused = dnnl.dnnl_set_max_cpu_isa(_DNNL_AVX2) != 0
    if refused and dnnl.dnnl_get_effective_cpu_isa() & _DNNL_AVX512_BIT:
        warnings.warn(
            "cannot keep oneDNN from AVX-512, with which 3x3 convolutions are many times slower: "
            "MindSpore ran a convolution before nasfpn_runtime was imported; import "
            f"nasfpn_runtime first, or start Python with {ISA_VARIABLE}=AVX2",
            RuntimeWarning,
            stacklevel=3,
        )
