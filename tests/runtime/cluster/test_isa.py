"""The guard against oneDNN's slow kernels, in processes of their own."""

from __future__ import annotations

import pytest

from fresh_process import run_script
from nasfpn_runtime.cluster.isa import ISA_VARIABLE

pytestmark = pytest.mark.slow  # each test starts a process that imports MindSpore
AVX512 = 0x20  # bit of dnnl_cpu_isa_t, include/oneapi/dnnl/dnnl_types.h
SSE41 = 0x1


def test_mindspore_may_be_imported_first() -> None:
    result = run_script("""
import mindspore
import nasfpn_runtime.network.network
report(value=convolve(), isa=isa())
""")
    assert result["value"] == 27
    assert not result["isa"] & AVX512
    assert result["variable"] == "AVX2"  # children inherit it


def test_importing_the_package_does_not_import_mindspore() -> None:
    result = run_script("""
import nasfpn_runtime
loaded = "mindspore" in sys.modules
report(loaded=loaded, value=convolve(), isa=isa())
""")
    assert not result["loaded"]
    assert not result["isa"] & AVX512


def test_a_convolution_before_the_import_causes_a_warning() -> None:
    result = run_script("""
convolve()
before = isa()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import nasfpn_runtime
report(before=before, caught=[[w.category.__name__, str(w.message)] for w in caught])
""")
    # There is nothing to warn of on a machine without AVX-512.
    assert len(result["caught"]) == bool(result["before"] & AVX512)
    for category, message in result["caught"]:
        assert category == "RuntimeWarning"
        assert f"{ISA_VARIABLE}=AVX2" in message


def test_a_setting_of_the_user_stays() -> None:
    script = """
import mindspore
import nasfpn_runtime.network.network
report(value=convolve(), isa=isa())
"""
    result = run_script(script, **{ISA_VARIABLE: "SSE41"})
    assert result["value"] == 27
    assert result["variable"] == "SSE41"
    assert result["isa"] & ~SSE41 == 0
