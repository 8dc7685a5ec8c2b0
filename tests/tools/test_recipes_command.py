"""``nasfpn recipes``: the list, and a recipe that can be used as it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasfpn_runtime.recipe.recipe import load_recipe, names
from tools.cli import main
from tools.recipes import headline


def test_every_shipped_recipe_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    for name in names():
        assert lines[name].split(maxsplit=1)[1] == headline(load_recipe(name).description)
        assert len(lines[name].split()) > 3


def test_a_headline_ends_at_the_first_colon_or_full_stop() -> None:
    assert headline("Trains fast: 128x128. Not here.") == "Trains fast"
    assert headline("One (3.3.0, a.yaml). Two.") == "One (3.3.0, a.yaml)"
    assert headline("All of it.") == "All of it"


@pytest.mark.parametrize("name", names())
def test_what_is_printed_loads_as_the_same_recipe(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{name}.yaml"
    for settings in ((), ("training.epochs=7", "data.image=[64, 96]")):
        overrides = [part for setting in settings for part in ("--set", setting)]
        assert main(["recipes", name, *overrides]) == 0
        file.write_text(capsys.readouterr().out)
        assert load_recipe(file) == load_recipe(name, settings)
        assert main(["recipes", str(file)]) == 0
        assert capsys.readouterr().out == file.read_text()


def test_every_setting_has_a_comment(capsys: pytest.CaptureFixture[str]) -> None:
    content = load_recipe("shapes").to_dict()
    assert main(["recipes", "shapes"]) == 0
    text = capsys.readouterr().out
    assert text.count("#") >= sum(len(v) for v in content.values() if isinstance(v, dict))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shape"], "shapes"),
        (["shapes", "--set", "training.epochs=many"], "training.epochs=many"),
        (["--set", "training.epochs=1"], "--set"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recipes", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nasfpn: error: ")
    assert message in line
