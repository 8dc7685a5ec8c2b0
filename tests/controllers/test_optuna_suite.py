"""Optuna's own tests of samplers, on all controllers.

``optuna.testing.pytest_samplers`` has them as classes, and asks for a fixture ``sampler``. Their
objectives ask for parameters of their own and never for a decision of the space: every controller
then has to work with what is asked.

Which classes apply to which controller is in ``APPLIES``, and why the others do not in
``EXCLUDED``; a test checks that each pair is in one of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing import pytest_samplers
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

import controllers
from controllers import TPESampler, create_sampler
from synthetic import SPACE, WIDE

Make = Callable[[], BaseSampler]
pytestmark = pytest.mark.slow


class EagerTPESampler(TPESampler):
    """TPE that learns from the first trial on, as Optuna's own is tested by this suite.

    All but Optuna's sampler inside is the controller's. With the usual ten random trials, the tests
    would see nothing of TPE.
    """

    def inner(self, seed: int) -> BaseSampler:
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=0
        )


MAKE: dict[str, Make] = {
    **{name: lambda name=name: create_sampler(name, SPACE) for name in controllers.names()},
    "tpe, eager": lambda: EagerTPESampler(SPACE),
    # One of our own and one of Optuna's: what is tested here hardly depends on the space.
    "gp, wide": lambda: create_sampler("gp", WIDE),
    "tpe, wide": lambda: create_sampler("tpe", WIDE),
}
SINGLE = ("random", "evolution", "local-search", "ppo", "gp", "gp, wide")
SEVERAL = ("tpe", "nsga2", "tpe, eager", "tpe, wide")

APPLIES: dict[type, tuple[str, ...]] = {
    BasicSamplerTestCase: tuple(MAKE),
    MultiObjectiveSamplerTestCase: SEVERAL,
    SingleOnlySamplerTestCase: SINGLE,
    RelativeSamplerTestCase: ("tpe, eager",),
}
_DECISIONS_ONLY = "it proposes decisions jointly, and draws other parameters one by one"
_FIRST_TEN = "its first ten trials are random and the tests ask in the second; 'tpe, eager' runs"
EXCLUDED: dict[type, dict[str, str]] = {
    BasicSamplerTestCase: {},
    MultiObjectiveSamplerTestCase: dict.fromkeys(
        SINGLE, "it refuses several objectives; SingleOnlySamplerTestCase tests that"
    ),
    SingleOnlySamplerTestCase: dict.fromkeys(SEVERAL, "it is for several objectives, too"),
    RelativeSamplerTestCase: {
        **dict.fromkeys(SINGLE, _DECISIONS_ONLY),
        "tpe": _FIRST_TEN,
        "tpe, wide": _FIRST_TEN,
        "nsga2": "its first generation is random and the tests ask in the second trial; Optuna "
        "leaves out its own NSGA-II, too",
    },
}


class TestBasic(BasicSamplerTestCase):
    @pytest.fixture(params=APPLIES[BasicSamplerTestCase])
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        return MAKE[request.param]


class TestSeveralObjectives(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=APPLIES[MultiObjectiveSamplerTestCase])
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        return MAKE[request.param]


class TestOneObjectiveOnly(SingleOnlySamplerTestCase):
    @pytest.fixture(params=APPLIES[SingleOnlySamplerTestCase])
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        return MAKE[request.param]


class TestRelative(RelativeSamplerTestCase):
    @pytest.fixture(params=APPLIES[RelativeSamplerTestCase])
    def sampler(self, request: pytest.FixtureRequest) -> Make:
        return MAKE[request.param]


def test_every_class_of_the_suite_runs_on_every_controller_or_says_why_not() -> None:
    classes = {
        value
        for name, value in inspect.getmembers(pytest_samplers, inspect.isclass)
        if name.endswith("SamplerTestCase") and not name.startswith("_")
    }
    assert classes == APPLIES.keys() == EXCLUDED.keys()
    for suite in classes:
        assert {*APPLIES[suite], *EXCLUDED[suite]} == set(MAKE)
        assert not set(APPLIES[suite]) & EXCLUDED[suite].keys()
        assert all(EXCLUDED[suite].values())
