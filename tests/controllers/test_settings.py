"""Settings of the controllers: read from signatures, parsed, checked, and used."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import controllers
from controllers import (
    NSGAIISampler,
    PPOSampler,
    RegularizedEvolutionSampler,
    TPESampler,
    create_sampler,
)
from controllers.errors import ControllerError
from controllers.registry import check_controller, controller_settings
from controllers.settings import Setting, parse_settings, settings_of
from searches import ask_and_tell, new_study
from synthetic import SPACE

# A value of each setting that is not its default.
CHANGED: dict[str, dict[str, float]] = {
    "random": {},
    "evolution": {"population": 6, "tournament": 3, "crossover_probability": 0.2},
    "local-search": {"values": 3, "patience": 4},
    "ppo": {
        "hidden": 8,
        "bound": 0.2,
        "batch": 5,
        "epochs": 2,
        "learning_rate": 0.02,
        "clip": 0.1,
        "entropy": 0.0,
        "decay": 0.9,
        "heat": 0.1,
    },
    "tpe": {},
    "nsga2": {"population": 6},
    "gp": {"start": 6, "pool": 20},
}


def test_settings_are_the_keyword_arguments_of_the_signature() -> None:
    class Sampler:
        def __init__(self, space: str, seed: int = 0, *, size: int = 3, rate: float = 0.5) -> None:
            pass

    assert settings_of(Sampler) == {"size": Setting(int, 3), "rate": Setting(float, 0.5)}


@pytest.mark.parametrize("name", controllers.names())
def test_each_setting_of_each_controller_can_be_changed(name: str) -> None:
    changed = CHANGED[name]
    known = controller_settings(name)
    assert set(known) == set(changed)
    sampler = create_sampler(name, SPACE, 1, changed)
    assert {key: getattr(sampler, key) for key in changed} == changed
    assert all(known[key].default != value for key, value in changed.items())
    default = create_sampler(name, SPACE, 1)
    assert all(getattr(default, key) == setting.default for key, setting in known.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evolution", "local-search", "nsga2", "ppo", "gp"])
def test_other_settings_make_other_proposals(name: str) -> None:
    first, second = (
        ask_and_tell(new_study(create_sampler(name, SPACE, 0, settings)), 24)
        for settings in (None, CHANGED[name])
    )
    assert first != second


def test_assignments_are_parsed_as_numbers_and_the_last_one_counts() -> None:
    given = ["batch=20", "learning_rate=1e-3", " clip = 0.1", "batch=30", "decay=.5", "hidden=x=1"]
    assert parse_settings(given) == {
        "batch": 30,
        "learning_rate": 0.001,
        "clip": 0.1,
        "decay": 0.5,
        "hidden": "x=1",
    }
    assert parse_settings([]) == {}


@pytest.mark.parametrize("text", ["batch", "=3", "", " =3"])
def test_an_assignment_has_a_key_and_a_value(text: str) -> None:
    with pytest.raises(ControllerError, match=rf"KEY=VALUE, got '{text}'"):
        parse_settings([text])


def test_values_get_the_type_of_their_setting() -> None:
    given = {"learning_rate": 1, "batch": np.int64(5), "decay": np.float32(0.5)}
    checked = check_controller("ppo", given)
    assert checked == given
    assert [type(value) for value in checked.values()] == [float, int, float]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "evolution",
            {"popluation": 3},
            r"controller evolution .*population, tournament, crossover_probability, "
            r"got 'popluation', did you mean population\?$",
        ),
        ("ppo", {"zzz": 3}, r"controller ppo .*hidden, bound, .*heat, got 'zzz'$"),
        ("random", {"population": 3}, r"controller random has no settings, got 'population'$"),
        ("tpe", {"population": 3}, r"controller tpe has no settings, got 'population'$"),
        ("nsga2", {"population": 2.5}, r"population .*integer, got 2\.5 \(at controller nsga2\)"),
        ("nsga2", {"population": "many"}, r"population .*integer, got 'many' \(at .*nsga2\)"),
        ("nsga2", {"population": True}, r"population .*integer, got True \(at .*nsga2\)"),
        ("ppo", {"clip": "wide"}, r"clip .*number, got 'wide' \(at controller ppo\)"),
        ("ppo", {"clip": False}, r"clip .*number, got False \(at controller ppo\)"),
        ("ppo", {"clip": float("nan")}, r"clip .*finite number, got nan \(at controller ppo\)"),
        ("ppo", {"clip": float("inf")}, r"clip .*finite number, got inf \(at controller ppo\)"),
        ("ppo", {"clip": 10**400}, r"clip .*finite number, got 1000.* \(at controller ppo\)"),
        ("ppo", {"decay": 1}, r"decay .*below 1, got 1\.0 \(at controller ppo\)"),
        ("nsga2", {"population": 1}, r"population .*2 or more.*got 1 \(at controller nsga2\)"),
        ("evolutoin", {"population": 1}, r"got 'evolutoin', did you mean evolution\?"),
    ],
)
def test_wrong_settings_name_controller_key_and_value(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ControllerError, match=message):
        create_sampler(name, SPACE, 0, settings)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64])
def test_numpy_integers_are_seeds_and_settings(kind: type[np.integer[Any]]) -> None:
    for name in controllers.names():
        sampler = create_sampler(name, SPACE, kind(3))  # type: ignore[arg-type]
        assert type(sampler.seed) is int
        assert ask_and_tell(new_study(sampler), 3) == ask_and_tell(
            new_study(create_sampler(name, SPACE, 3)), 3
        )
    counts = {
        RegularizedEvolutionSampler: ("population", "tournament"),
        PPOSampler: ("hidden", "batch", "epochs"),
        NSGAIISampler: ("population",),
    }
    for sampler_class, names in counts.items():
        made = sampler_class(SPACE, **dict.fromkeys(names, kind(7)))  # type: ignore[arg-type]
        assert [type(getattr(made, name)) for name in names] == [int] * len(names)


@pytest.mark.parametrize("wrong", [True, np.True_, 2.5, "3", None])
def test_what_is_no_integer_is_no_seed_and_no_count(wrong: Any) -> None:
    shown = re.escape(repr(wrong))
    with pytest.raises(ControllerError, match=f"seed must be .*integer.*, got {shown}"):
        controllers.RandomSampler(SPACE, wrong)
    with pytest.raises(ControllerError, match=f"population must be an integer, got {shown}"):
        NSGAIISampler(SPACE, population=wrong)


def test_a_function_is_no_setting() -> None:
    """``--controller-set`` has numbers only."""
    for name, kind in (("tpe", TPESampler), ("nsga2", NSGAIISampler)):
        assert kind(SPACE, constraints_func=len).constraints_func is len  # type: ignore[arg-type]
        with pytest.raises(ControllerError, match="got 'constraints_func'"):
            check_controller(name, {"constraints_func": 1})
