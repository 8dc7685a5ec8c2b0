"""Fixtures of the controllers' tests."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest


@pytest.fixture(autouse=True)
def _quiet_and_importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make ``synthetic`` importable here and in child processes; silence Optuna's log."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # Optuna before 5 calls the multivariate TPE experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
    optuna.logging.set_verbosity(verbosity)
