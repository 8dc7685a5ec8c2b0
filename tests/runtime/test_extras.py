"""Optional packages: one kind of error, which says what needs the package and where it is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

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


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "error", ["OSError('libx.so: no such file')", "AttributeError('_ARRAY_API')", "KeyError()"]
)
def test_a_package_that_fails_when_it_is_imported_is_named(
    package: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise {error}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package, raising=False)
    with pytest.raises(MissingPackageError, match=package) as failure:
        require(package)
    assert (re.findall(r"'(.+)'", error) or [error[:-2]])[0] in str(failure.value)


def test_an_installed_package_is_imported() -> None:
    assert require("onnx") is sys.modules["onnx"]
