"""The names that ``nasfpn_runtime`` offers, which are imported on first use."""

from __future__ import annotations

import pytest

import nasfpn_runtime
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.network.build import build_network, build_pyramid


def test_public_names_are_those_of_their_modules() -> None:
    assert nasfpn_runtime.Detector is Detector
    assert nasfpn_runtime.build_network is build_network
    assert nasfpn_runtime.build_pyramid is build_pyramid


def test_build_detector_still_works_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match=r"build_detector.*build_network") as caught:
        old = nasfpn_runtime.build_detector
    assert old is build_network
    assert caught[0].filename == __file__  # the line that has to change


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="build_nothing"):
        _ = nasfpn_runtime.build_nothing
