"""``nasfpn search --ladder``: the file, the options, and a search on it with stubs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers import reference
from controllers.final import FinalSettings
from controllers.reference import CHECKPOINT, digest_of
from controllers.search import SearchSettings
from locations import ROOT
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.recipe.recipe import load_recipe
from tools.cli import main
from tools.ladder import load_ladder

LADDER = """
factor: 2
rungs:
  - {name: warm 1, recipe: shapes-warm, set: [training.epochs=1], warm: true}
  - {name: warm 3, recipe: shapes-warm, warm: true}
  - {name: proxy, recipe: shapes-proxy}
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes") / "data"
    write_shapes(folder, train=2, val=1, test=1, size=64)
    return folder


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """Score genomes and train the reference by stubs; return a function that lists the jobs."""
    file = tmp_path / "jobs"
    file.touch()
    for module, settings in (("search", SearchSettings), ("final", FinalSettings)):

        def stub(*given: Any, settings: Any = settings, **named: Any) -> Any:
            return settings(*given, **named, evaluate="synthetic:scored_and_listed")

        monkeypatch.setattr(f"controllers.{module}.{settings.__name__}", stub)
    monkeypatch.setenv("JOBS", str(file))
    making = partial(reference.Making, evaluate="synthetic:train_reference")
    monkeypatch.setattr(reference, "Making", making)
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


def written(folder: Path, text: str = LADDER) -> Path:
    path = folder / "ladder.yaml"
    path.write_text(text)
    return path


def command(data: Path, out: Path, *options: str) -> list[str]:
    """Return a search by random in the space of ``synthetic.SPACE``."""
    space = ["--levels", "3-5", "--intermediate-cells", "1", "--controller", "random"]
    return ["search", "--data", str(data), "--out", str(out), *space, *options]


def test_recipes_are_names_files_or_settings_and_changed_by_both_kinds_of_overrides(
    tmp_path: Path,
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.yaml").write_text("training: {epochs: 7}")
    given = load_recipe("shapes").to_dict()
    rungs = [
        {"name": "a", "recipe": "shapes-warm", "set": ["training.epochs=2"], "warm": True},
        {"name": "b", "recipe": "mine.yaml"},
        {"name": "c", "recipe": given},
        {"name": "d", "recipe": {"training": {"epochs": 9}}},
    ]
    about = {"recipe": "mine.yaml", "genome": "mine.json"}
    content = {"rungs": rungs, "reference": about, "final": "shapes"}
    path = written(tmp_path / "own", yaml.safe_dump(content))
    plan = load_ladder(path, ["training.batch=3"])
    assert [(name, r.name, r.training.epochs) for name, r in plan.recipes.items()] == [
        ("a", "shapes-warm", 2),
        ("b", "mine", 7),
        ("c", "shapes", 30),
        ("d", "d", 9),
    ]
    assert plan.recipes["c"] == load_recipe("shapes", ["training.batch=3"])
    assert plan.reference is not None
    assert plan.final is not None
    every = [*plan.recipes.values(), plan.reference, plan.final]
    assert [recipe.training.batch for recipe in every] == [3] * 6
    assert (plan.factor, plan.warm, plan.first) == (3, {"a"}, plan.recipes["a"])
    assert plan.genome == str(tmp_path / "own" / "mine.json")


def test_the_example_of_the_page_is_a_ladder(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "search.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    plan = load_ladder(written(tmp_path, example))
    epochs = {name: recipe.training.epochs for name, recipe in plan.recipes.items()}
    assert epochs == {"warm2": 2, "warm5": 5, "proxy": 20}
    assert (plan.factor, plan.warm, plan.final) == (3, {"warm2", "warm5"}, load_recipe("bccd-128"))


RUNG = "{name: a, recipe: shapes}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rungs: [", r"YAML.*line 1 of {path}"),
        ("rungs: []", r"number of rungs .*from 1 to 8, got 0 \(at {path}\)"),
        (f"rungs: [{', '.join(f'{{name: a{i}, recipe: shapes}}' for i in range(9))}]", "got 9"),
        ("[1]", r"ladder must be a mapping, got \[1\] \(at {path}\)"),
        ("factor: 3", r"ladder must have rungs, got .* \(at {path}\)"),
        (f"rungs: [{RUNG}]\nfactor: 1", r"factor must be from 2 to 16, got 1 \(at {path}\)"),
        (f"rungs: [{RUNG}]\nfactor: 2.5", r"factor must be a whole number, got 2\.5 \(at {path}\)"),
        (f"rungs: [{RUNG}]\nfactro: 3", r"unknown key factro, did you mean factor.*\(at {path}\)"),
        (f"rungs: [{RUNG}]\nrungs: [{RUNG}]", r"got 'rungs' twice \(at line 2 of {path}\)"),
        (f"rungs: [{RUNG}, {RUNG}]", r"rungs\[1\]\.name .*, got 'a' \(at {path}\)"),
        ("rungs: [{name: a/b, recipe: shapes}]", r"rungs\[0\]\.name .*got 'a/b' \(at {path}\)"),
        ("rungs: [{name: a}]", r"rungs\[0\] must have recipe, got .*\(at {path}\)"),
        ("rungs: [{recipe: shapes}]", r"rungs\[0\] must have name, got .*\(at {path}\)"),
        ("rungs: [{name: 3, recipe: shapes}]", r"rungs\[0\]\.name must be text, got 3 \(at {path}"),
        ("rungs: [{name: a, recipe: 3}]", r"rungs\[0\]\.recipe must be .*, got 3 \(at {path}\)"),
        (
            "rungs: [{name: a, recipe: shapse}]",
            r"rungs\[0\]\.recipe of {path}.*'shapse', did",
        ),
        ("rungs: [{name: a, recipe: no.yaml}]", r"rungs\[0\]\.recipe of {path}.*{folder}/no\.yaml"),
        (
            "rungs: [{name: a, recipe: {training: {epoch: 3}}}]",
            r"unknown key training\.epoch, did.*\(at rungs\[0\]\.recipe of {path}\)",
        ),
        (
            "rungs: [{name: a, recipe: shapes, set: [training.epochs=x]}]",
            r"training\.epochs must be .*'x' \(at {path}, set of rungs\[0\]: training\.epochs=x\)",
        ),
        ("rungs: [{name: a, recipe: shapes, set: 3}]", r"rungs\[0\]\.set must be a list, got 3"),
        (
            "rungs: [{name: a, recipe: shapes, warm: 1}]",
            r"rungs\[0\]\.warm must be true or false, got 1 \(at {path}\)",
        ),
        (
            "rungs: [{name: a, recipe: shapes, set: [training.freeze_stages=2]}]",
            r"training\.freeze_stages of rungs\[0\]\.recipe must be 0 .*, got 2 \(at {path}\)",
        ),
        (f"rungs: [{RUNG}]\nreference: {{recipe: shapes}}", r"reference must be absent.*{path}"),
        (f"rungs: [{RUNG}]\nfinal: 3", r"final must be the name.*, got 3 \(at {path}\)"),
        ("\0", r"{path}"),
    ],
)
def test_a_file_that_is_no_ladder_is_refused_with_the_place(
    text: str,
    message: str,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path, text)
    assert main(command(shapes, tmp_path / "out", "--ladder", str(path))) == 2
    printed = capsys.readouterr().err.strip()
    assert len(printed.splitlines()) == 1
    places = {"{path}": re.escape(str(path)), "{folder}": re.escape(str(tmp_path))}
    for key, place in places.items():
        message = message.replace(key, place)
    assert re.search(message, printed)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"--recipe .*--ladder .*got none"),
        (["--ladder", "{path}", "--recipe", "shapes"], r"--recipe .*--ladder .*got both"),
        (["--ladder", "{path}", "--warm-start"], r"--warm-start .*--ladder"),
        (["--ladder", "{path}", "--reference", "fpn"], r"--reference .*--ladder"),
        (["--ladder", "{path}", "--drop-head"], r"--drop-head needs --init"),
        (["--ladder", "{cold}", "--init", "x.ckpt"], r"--init needs a rung .*cold/ladder\.yaml"),
        (["--ladder", "{path}", "--init", "x.ckpt"], r"no checkpoint at x\.ckpt"),
        (["--ladder", "nowhere.yaml"], r"No such file.*nowhere\.yaml"),
        (
            ["--ladder", "{other}"],
            r"norm_momentum of reference\.recipe of .* 0\.9 .*got None",
        ),
    ],
)
def test_options_that_contradict_the_ladder_are_refused(
    options: list[str],
    message: str,
    shapes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("cold", "other"):
        (tmp_path / name).mkdir()
    paths = {
        "{path}": str(written(tmp_path)),
        "{cold}": str(written(tmp_path / "cold", f"rungs: [{RUNG}]")),
        "{other}": str(
            written(tmp_path / "other", f"{LADDER}\nreference: {{recipe: {{model: {{width: 8}}}}}}")
        ),
    }
    argv = [paths.get(option, option) for option in options]
    assert main(command(shapes, tmp_path / "out", *argv)) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])


@pytest.mark.slow
def test_a_search_on_a_ladder_from_the_reference_to_the_final(
    shapes: Path,
    tmp_path: Path,
    jobs: Callable[[], list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = written(tmp_path, f"{LADDER}\nfinal: shapes")
    out = tmp_path / "out"
    argv = command(shapes, out, "--ladder", str(path), "--trials", "8", "--final", "2")
    argv += ["--final-seeds", "3"]
    assert main(argv) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert lines[0].startswith(
        f"search: 8 genomes by random, ladder {path} (warm 1, warm 3, proxy; one of 2 goes on), "
    )
    assert "recipe shapes, up to 3 fresh seeds" in lines[1]
    assert printed.err.count("reference: training it for 24 epochs") == 1  # 8 times those of warm 3
    digest = digest_of(out / CHECKPOINT)
    made = jobs()
    rungs = {
        rung: [job for job in made if job["folder"].endswith(f"/{rung}")]
        for rung in ("warm 1", "warm 3", "proxy")
    }
    assert len(rungs["warm 1"]) == 8 > len(rungs["warm 3"]) >= len(rungs["proxy"]) > 0
    settings = {rung: {(j["epochs"], j["init"]) for j in done} for rung, done in rungs.items()}
    assert settings == {"warm 1": {(1, digest)}, "warm 3": {(3, digest)}, "proxy": {(8, None)}}
    final = made[sum(map(len, rungs.values())) :]
    assert {(job["epochs"], job["init"]) for job in final} == {(30, None)}
    best = json.loads((out / "best.json").read_text())["meta"]
    assert best["rung"] in rungs
    assert (
        best["recipe"]["training"]["epochs"] == {"warm 1": 1, "warm 3": 3, "proxy": 8}[best["rung"]]
    )
    assert re.search(r"^trial \d+ +\d\.\d{3} \(proxy\)", printed.out, re.M)
    figure = (out / "figures" / "search.svg").read_text()
    assert all(f"{rung}: {len(done)} trained" in figure for rung, done in rungs.items())

    before = (out / "best.json").read_bytes()
    assert main(argv) == 0
    assert jobs() == made  # nothing is left to train
    assert (out / "best.json").read_bytes() == before
    capsys.readouterr()
    changes = [
        (LADDER.replace("factor: 2", "factor: 3"), r"ladder\.factor must be 2 as in .*got 3"),
        (LADDER.replace("epochs=1", "epochs=2"), r"ladder\.recipes\.warm 1\..*epochs must be 1 "),
        (LADDER.replace("name: proxy", "name: last"), r"ladder\.recipes\.last"),
        (LADDER.replace("shapes-proxy}", "shapes-proxy, warm: true}"), r"ladder\.warm must be"),
    ]
    for text, message in changes:
        written(tmp_path, text)
        assert main(argv) == 2
        assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    plain = command(shapes, out, "--recipe", "shapes-proxy")
    assert main(plain) == 2
    said = capsys.readouterr().err
    assert re.search(rf"study in {out}, with the rungs warm 1, warm 3, proxy, got none", said)
    other = tmp_path / "other"
    assert main(command(shapes, other, *plain[-2:], "--trials", "1", "--final", "0")) == 0
    assert main(command(shapes, other, "--ladder", str(written(tmp_path)))) == 2
    assert re.search(r"none, got with the rungs warm 1, warm 3", capsys.readouterr().err)


@pytest.mark.slow
def test_the_final_has_the_recipe_of_the_last_rung_or_of_the_reference(
    shapes: Path,
    tmp_path: Path,
    jobs: Callable[[], list[dict[str, Any]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    warm_only = "\n".join(LADDER.splitlines()[:-1])
    for text, epochs in ((LADDER, 8), (warm_only, 24)):
        out = tmp_path / str(epochs)
        options = ["--ladder", str(written(tmp_path, text)), "--trials", "2", "--final", "1"]
        options += ["--final-seeds", "3"]
        assert main(command(shapes, out, *options)) == 0
        (folder,) = {Path(j["folder"]).parents[1] for j in jobs() if f"{out}/final" in j["folder"]}
        final = [job["epochs"] for job in jobs() if job["folder"].startswith(str(folder))]
        assert set(final) == {epochs}
