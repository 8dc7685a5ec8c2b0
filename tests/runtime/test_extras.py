"""Optional packages: one kind of error, which says what needs the package and where it is."""

from __future__ import annotations

import sys

import pytest

from nasfpn_runtime.errors import MissingPackageError
from nasfpn_runtime.extras import PACKAGES, require


@pytest.mark.parametrize("package", PACKAGES)
def test_a_missing_package_comes_with_its_purpose_and_the_remedy(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=package) as failure:
        require(package)
    for text in PACKAGES[package]:
        assert text in str(failure.value)
    assert "\n" not in str(failure.value)


def test_an_installed_package_is_imported() -> None:
    assert require("onnx") is sys.modules["onnx"]
