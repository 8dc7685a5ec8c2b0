"""What must be the same when a search is resumed."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers import candidate
from controllers.errors import StudyError
from controllers.identity import EARLIER_DEFAULTS, check_same, identify, write_config
from locations import ASSETS
from search_space import WideSpace
from synthetic import SPACE, WIDE

OUT = Path("runs/x")
RECIPE = {"name": "proxy", "model": {"dialect": "tf", "width": 4}}


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the identity of a search by evolution with default settings."""
    monkeypatch.setattr(
        candidate, "dependencies", lambda _: {"recipe": RECIPE, "annotations": "0f"}
    )
    return identify("evolution", {}, SPACE, {"seed": 3})


def with_digests(identity: dict[str, Any], annotations: str, **digests: str) -> dict[str, Any]:
    """Return the identity with digests of the data, as studies have them now."""
    return {**identity, "annotations": annotations, "data": digests}


def test_digests_of_the_data_are_compared_where_both_have_them(identity: dict[str, Any]) -> None:
    now = with_digests(identity, "0f", train="v1:a", val="v1:b")
    converted = with_digests(identity, "1f", train="v1:a", val="v1:b")
    check_same(now, converted, OUT)
    check_same(identity, now, OUT)  # a study from before, and the same annotation files
    check_same(now, identity, OUT)
    with pytest.raises(StudyError, match=r"dataset .*runs/x.*annotations is 0f there, 1f here"):
        check_same(identity, converted, OUT)
    changed = with_digests(identity, "0f", train="v1:a", val="v1:c")
    with pytest.raises(StudyError, match=r"dataset .*runs/x.*data\.val is v1:b there, v1:c here"):
        check_same(now, changed, OUT)


def test_digests_of_another_version_say_nothing(identity: dict[str, Any]) -> None:
    before = with_digests(identity, "0f", train="v1:a", val="v1:b")
    now = with_digests(identity, "0f", train="v2:c", val="v2:d")
    check_same(before, now, OUT)  # the annotation files are compared instead
    with pytest.raises(StudyError, match=r"annotations is 0f there, 1f here"):
        check_same(before, {**now, "annotations": "1f"}, OUT)


def stored_before() -> dict[str, Any]:
    """Return the identity in a study of the version before settings of controllers."""
    lines = (ASSETS / "study_v1.journal").read_text().splitlines()
    (attributes,) = (
        a for line in lines if "identity" in (a := json.loads(line).get("user_attr", {}))
    )
    stored: dict[str, Any] = attributes["identity"]
    return stored


def test_identity_is_plain_data_with_all_settings(identity: dict[str, Any]) -> None:
    assert identity == {
        "controller": "evolution",
        "controller_settings": {"population": 20, "tournament": 5, "crossover_probability": 0.5},
        "seed": 3,
        "space": {
            "levels": [3, 4, 5],
            "intermediate_cells": 1,
            "intermediate_levels": [4],
            "ops": ["sum", "attention"],
        },
        "recipe": RECIPE,
        "annotations": "0f",
    }
    assert json.loads(json.dumps(identity)) == identity
    given = identify("evolution", {"population": 5}, SPACE, {"seed": 3})
    settings = {**identity["controller_settings"], "population": 5}
    assert given == {**identity, "controller_settings": settings}
    assert "controller_settings" not in identify("random", {}, SPACE, {"seed": 3})


def test_a_study_keeps_the_defaults_it_was_made_with(
    identity: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defaults change: a study that recorded none has those of its version, others their own."""
    monkeypatch.setitem(EARLIER_DEFAULTS, "evolution", {"population": 50})
    without = {key: value for key, value in identity.items() if key != "controller_settings"}
    with pytest.raises(
        StudyError, match=r"^controller_settings\.population .*50 .*got 20; .*-set population=50 "
    ):
        check_same(without, identity, OUT)
    as_before = identify("evolution", {"population": 50}, SPACE, {"seed": 3})
    check_same(without, as_before, OUT)
    check_same(identity, identity, OUT)
    explicit = {**without, "controller_settings": {"population": 20}}
    check_same(explicit, identity, OUT)


@pytest.mark.parametrize("controller", EARLIER_DEFAULTS)
def test_a_study_from_before_a_default_changed_goes_on_with_the_earlier_one(
    controller: str, identity: dict[str, Any]
) -> None:
    """Such a study recorded nothing, or all settings that there were then."""
    earlier, arguments = EARLIER_DEFAULTS[controller], {"seed": 3}
    now, then = (identify(controller, given, SPACE, arguments) for given in ({}, earlier))
    new = {key: value for key, value in earlier.items() if key in ("heat", "values", "patience")}
    recorded = {k: v for k, v in then["controller_settings"].items() if k not in new}
    without = {key: value for key, value in then.items() if key != "controller_settings"}
    for study in (without, {**without, "controller_settings": recorded}):
        check_same(study, then, OUT)
        with pytest.raises(StudyError, match=r"^controller_settings\.\w+ ") as refused:
            check_same(study, now, OUT)
        # What the message says is enough to go on.
        named = re.findall(r"--controller-set (\w+)=([\d.e-]+) ", str(refused.value))
        given = {key: float(value) for key, value in named}
        check_same(study, identify(controller, given, SPACE, arguments), OUT)


def test_a_study_in_another_kind_of_space_is_refused_with_the_option(
    identity: dict[str, Any],
) -> None:
    """Studies in the space of the paper do not record its kind: once there was no other."""
    assert "kind" not in identity["space"]
    wide = identify("evolution", {}, WIDE, {"seed": 3})
    assert wide["space"] == {
        "kind": "wide",
        "levels": [3, 4, 5],
        "intermediate_cells": 2,
        "intermediate_levels": [4, 5],
        "ops": ["sum", "attention", "weighted", "identity"],
    }
    check_same(wide, copy.deepcopy(wide), OUT)
    message = r"^space\.kind .*'paper' .*runs/x, got 'wide'; .*--space paper "
    with pytest.raises(StudyError, match=message):
        check_same(identity, wide, OUT)
    message = r"^space\.kind .*'wide' .*runs/x, got 'paper'; .*--space wide "
    with pytest.raises(StudyError, match=message):
        check_same(wide, identity, OUT)
    more = identify("evolution", {}, WideSpace(SPACE.levels, 3), {"seed": 3})
    with pytest.raises(StudyError, match=r"^space\.intermediate_cells .*2 .*got 3; .*-cells 2 "):
        check_same(wide, more, OUT)


def test_the_controller_of_a_study_is_named_as_an_option(identity: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"'evolution' .*got 'gp'; give --controller evolution "):
        check_same(identity, {**identity, "controller": "gp"}, OUT)


def test_the_same_search_passes(identity: dict[str, Any]) -> None:
    check_same(identity, copy.deepcopy(identity), OUT)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("controller",), "ppo", r"^controller .*'evolution' .*runs/x, got 'ppo'"),
        (("seed",), 4, r"^seed .*3 .*runs/x, got 4"),
        (("space", "intermediate_cells"), 2, r"^space\.intermediate_cells .*1 .*got 2"),
        (("recipe", "model", "width"), 8, r"^recipe\.model\.width .*4 .*got 8"),
        (("recipe", "model", "new"), 8, r"^recipe\.model\.new .*None .*got 8"),
        (("annotations",), "1f", r"dataset .*runs/x.*annotations is 0f there, 1f here"),
        (
            ("controller_settings", "population"),
            5,
            r"^controller_settings\.population .*20 .*got 5",
        ),
    ],
)
def test_another_search_is_refused_with_the_setting_that_differs(
    identity: dict[str, Any], path: tuple[str, ...], value: Any, message: str
) -> None:
    given = copy.deepcopy(identity)
    *sections, key = path
    inner = given
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    with pytest.raises(StudyError, match=message):
        check_same(identity, given, OUT)


def test_a_setting_with_its_default_is_the_same_as_none(identity: dict[str, Any]) -> None:
    given = {"population": 20, "crossover_probability": 0.5}
    explicit = {**identity, "controller_settings": given}
    check_same(identity, explicit, OUT)
    check_same(explicit, identity, OUT)
    other = {**identity, "controller_settings": {**given, "tournament": 2}}
    with pytest.raises(StudyError, match=r"^controller_settings\.tournament .*5 .*got 2"):
        check_same(explicit, other, OUT)


def test_a_setting_that_did_not_exist_has_its_default(identity: dict[str, Any]) -> None:
    stored = stored_before()
    assert "background" not in stored["recipe"]["data"]
    for recipe in (stored["recipe"], RECIPE):  # one with nearly all settings, one with few
        before, given = ({**identity, "recipe": copy.deepcopy(recipe)} for _ in range(2))
        given["recipe"].setdefault("data", {})["background"] = 0.0
        check_same(before, given, OUT)
        check_same(given, before, OUT)
        given["recipe"]["data"]["background"] = 0.25
        message = r"^recipe\.data\.background .*0\.0 .*runs/x, got 0\.25"
        with pytest.raises(StudyError, match=message):
            check_same(before, given, OUT)


def test_a_study_from_before_has_old_names_and_no_settings(identity: dict[str, Any]) -> None:
    stored = stored_before()
    assert "controller_settings" not in stored
    assert "dialect" not in stored["recipe"]["model"]
    given = {**copy.deepcopy(stored), "controller_settings": EARLIER_DEFAULTS["evolution"]}
    given["recipe"]["model"]["dialect"] = given["recipe"]["model"].pop("semantics")
    check_same(stored, given, OUT)
    given["recipe"]["model"]["dialect"] = "mmdet"
    with pytest.raises(StudyError, match=r"^recipe\.model\.dialect .*'tf' .*got 'mmdet'"):
        check_same(stored, given, OUT)


def test_config_has_the_identity_and_the_folder_of_the_data(
    identity: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(identity, Path("data"), tmp_path / "config.yaml")
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config == {**identity, "data_folder": str(tmp_path / "data")}


TRAINED = {"genome": "0a" * 32, "recipe": RECIPE}
GIVEN = {"weights": "1b" * 32}


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        (None, TRAINED, r"runs/x, none, got a training of genome 0a0a"),
        (TRAINED, None, r"runs/x, a training of genome 0a0a.*, got none; see --warm-start"),
        (TRAINED, GIVEN, r"a training of genome 0a0a.*, got a checkpoint with the digest 1b1b"),
        (GIVEN, {"weights": "2c" * 32}, r"digest 1b1b.*, got a checkpoint with the digest 2c2c"),
        (TRAINED, {**TRAINED, "genome": "3d" * 32}, r"genome 0a0a.*, got .* genome 3d3d"),
        (GIVEN, {**GIVEN, "drop_head": True}, r"^reference\.drop_head .*None .*got True"),
        (
            TRAINED,
            {**TRAINED, "recipe": {**RECIPE, "training": {"epochs": 8}}},
            r"^reference\.recipe\.training\.epochs must be \d+ .*runs/x, got 8",
        ),
    ],
)
def test_another_reference_is_another_search(
    identity: dict[str, Any], before: Any, now: Any, message: str
) -> None:
    stored, given = (
        identify("evolution", {}, SPACE, {"seed": 3}, reference) for reference in (before, now)
    )
    assert ("reference" in stored) == (before is not None)
    for one in (stored, given):
        check_same(one, copy.deepcopy(one), OUT)
    with pytest.raises(StudyError, match=message):
        check_same(stored, given, OUT)


def test_a_setting_that_the_recipe_of_a_reference_lacks_has_its_default(
    identity: dict[str, Any],
) -> None:
    later = {**TRAINED, "recipe": {**RECIPE, "data": {"background": 0.0}}}
    check_same({**identity, "reference": TRAINED}, {**identity, "reference": later}, OUT)


def test_a_setting_that_the_recipe_of_a_rung_lacks_has_its_default(
    identity: dict[str, Any],
) -> None:
    def on(recipe: dict[str, Any]) -> dict[str, Any]:
        ladder = {"rungs": ["a"], "factor": 3, "warm": [], "recipes": {"a": recipe}}
        return identify("evolution", {}, SPACE, {"seed": 3}, ladder=ladder)

    assert "recipe" not in on(RECIPE)
    check_same(on(RECIPE), on({**RECIPE, "data": {"background": 0.0}}), OUT)
    message = r"^ladder\.recipes\.a\.data\.background must be 0\.0 .*runs/x, got 0\.25"
    with pytest.raises(StudyError, match=message):
        check_same(on(RECIPE), on({**RECIPE, "data": {"background": 0.25}}), OUT)
