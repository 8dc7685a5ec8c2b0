"""Faults that tests of several parts make, the order of the files, MindSpore's mode."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


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
