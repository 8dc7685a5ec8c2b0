"""What the parity tests share: cases, the comparison, and references where installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from search_space import Genome, NASFPNSpace

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One comparison: a genome, on maps of a picture of ``size`` (height, width)."""

    genome: Genome
    size: tuple[int, int]
    batch: int
    seed: int


def _case(seed: int) -> Case:
    """Draw a genome, its inputs in either order, and sides of 128 to 768."""
    rng = np.random.default_rng(seed)
    cells = tuple(
        replace(cell, inputs=cell.inputs[:: rng.choice([-1, 1])])
        for cell in NASFPNSpace().sample(rng).cells
    )
    height, width = 128 * rng.integers(1, 7, 2)
    return Case(Genome(cells), (int(height), int(width)), 1 + 2 * (seed % 2), seed)


@pytest.fixture(scope="session")
def cases() -> list[Case]:
    """Twenty random genomes, batches of 1 and 3."""
    return [_case(seed) for seed in range(20)]


def _same(ours: Sequence[Array], theirs: Sequence[Array], tolerance: float = 1e-4) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * b.std()


@pytest.fixture(scope="session")
def same() -> Callable[..., None]:
    """Check that no value is further off than 1e-4 of its array's deviation.

    Both sides are the same float32 arithmetic in different orders.
    """
    return _same


@pytest.fixture(autouse=True)
def pynative() -> Iterator[None]:
    """Operators run one by one, without compilation."""
    import mindspore

    import nasfpn_runtime  # noqa: F401  before the first convolution

    before = mindspore.get_context("mode")
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    yield
    mindspore.set_context(mode=before)


@pytest.fixture(scope="session")
def weights() -> ModuleType:
    """``weights.py``."""
    return _beside("weights")


@pytest.fixture(scope="session")
def mmdet() -> ModuleType:
    """``reference_mmdet.py``, where its packages are installed."""
    for package in ("torch", "torchvision", "mmengine", "mmcv"):
        pytest.importorskip(package)
    return _beside("reference_mmdet")


def _beside(name: str) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        return importlib.import_module(name)
