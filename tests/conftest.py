"""Faults that several parts make, temporary files, the order of files, MindSpore's mode."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

# Tests compile what they test, unless they test the cache or the variable is set, and write nothing
# to the home folder.
os.environ.setdefault("NASFPN_CACHE", "off")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give the run and all its processes a temporary folder inside the one that pytest removes.

    Some libraries leave files there; ONNX Runtime writes ``.ses`` as soon as it is imported.
    pytest keeps its folder if a test failed, and those of the last three runs at most.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit the variable
        folder = config._tmp_path_factory.getbasetemp() / "tmp"  # type: ignore[attr-defined]
        folder.mkdir()
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None  # to be looked up again


@contextmanager
def _full_disk() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def full_disk() -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which no file of this process gets beyond its first byte."""
    return _full_disk


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that have slow tests first; the order within a file stays."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _default_mode() -> Iterator[None]:
    """Start each test in MindSpore's default mode, whatever ran before: operators one by one.

    Training sets the other mode for the whole process. A small network is then compiled for
    seconds to be run once.
    """
    _set_default_mode()
    yield
    _set_default_mode()  # for the fixtures of the next module, which come before those of its test


def _set_default_mode() -> None:
    if mindspore := sys.modules.get("mindspore"):
        default = mindspore.PYNATIVE_MODE
        if mindspore.get_context("mode") != default:
            mindspore.set_context(mode=default)
