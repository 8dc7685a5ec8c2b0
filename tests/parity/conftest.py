"""Shared by the parity tests: cases, the comparison, and the references that are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import mindspore
import numpy as np
import pytest
from numpy.typing import NDArray

import nasfpn_runtime  # noqa: F401  its oneDNN guard must precede the first convolution
from search_space import Genome, NASFPNSpace

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One comparison: a genome, on the maps of an image of ``size`` (height, width)."""

    genome: Genome
    size: tuple[int, int]
    batch: int
    seed: int


def random_case(seed: int) -> Case:
    """Return a random genome, its inputs in either order, and sides from 128 to 768."""
    rng = np.random.default_rng(seed)
    cells = tuple(
        replace(cell, inputs=cell.inputs[:: rng.choice([-1, 1])])
        for cell in NASFPNSpace().sample(rng).cells
    )
    height, width = 128 * rng.integers(1, 7, 2)
    return Case(Genome(cells), (int(height), int(width)), 1 + 2 * (seed % 2), seed)


@pytest.fixture(scope="session")
def cases() -> list[Case]:
    """Twenty random genomes, in batches of 1 and 3."""
    return [random_case(seed) for seed in range(20)]


def assert_same(ours: Sequence[Array], theirs: Sequence[Array], tolerance: float = 1e-4) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * b.std()


@pytest.fixture(scope="session")
def same() -> Callable[..., None]:
    """Check that no value differs by more than 1e-4 of its array's standard deviation.

    Both sides do the same float32 arithmetic in different orders.
    """
    return assert_same


@pytest.fixture(autouse=True)
def pynative() -> Iterator[None]:
    """Run operators one by one, without compilation."""
    before = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    yield
    mindspore.set_context(mode=before)


@pytest.fixture(scope="session")
def weights() -> ModuleType:
    """``weights.py``."""
    return import_beside("weights")


@pytest.fixture(scope="session")
def mmdet() -> ModuleType:
    """``reference_mmdet.py``; skips the test if its packages are not installed."""
    for package in ("torch", "torchvision", "mmengine", "mmcv"):
        pytest.importorskip(package)
    return import_beside("reference_mmdet")


def import_beside(name: str) -> ModuleType:
    """Import a module from this folder, which is not on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return importlib.import_module(name)
