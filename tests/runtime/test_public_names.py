"""The names that ``nasfpn_runtime`` offers, which are imported on first use."""

from __future__ import annotations

from typing import Any

import pytest

import nasfpn_runtime
from nasfpn_runtime import importers
from nasfpn_runtime.importers.load import LoadResult, load_state
from nasfpn_runtime.importers.readers import read_arrays
from nasfpn_runtime.importers.spellings import SOURCES
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network, build_pyramid


def test_public_names_are_those_of_their_modules() -> None:
    assert nasfpn_runtime.Detector is Detector
    assert nasfpn_runtime.build_network is build_network
    assert nasfpn_runtime.build_pyramid is build_pyramid


@pytest.mark.parametrize(
    ("module", "old", "present", "value"),
    [
        (nasfpn_runtime, "build_detector", r"runtime\.build_network", build_network),
        (nasfpn_runtime, "checkpoint", r"network\.checkpoint", checkpoint),
        (importers, "SOURCES", r"spellings\.SOURCES", SOURCES),
        (importers, "Loaded", r"load\.LoadResult", LoadResult),
        (importers, "load_state", r"load\.load_state", load_state),
        (importers, "read_arrays", r"readers\.read_arrays", read_arrays),
    ],
)
def test_an_old_name_still_works_and_warns(
    module: Any, old: str, present: str, value: object
) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{old} .*{present}") as caught:
        assert getattr(module, old) is value
    assert [warning.filename for warning in caught] == [__file__]  # the line that has to change


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="build_nothing"):
        _ = nasfpn_runtime.build_nothing
    with pytest.raises(AttributeError, match="read_nothing"):
        _ = importers.read_nothing
