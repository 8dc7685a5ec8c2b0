"""The final of a search: what is trained, kills, processes that share it, and ``best.json``."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from controllers.contest import FIRST, Rules
from controllers.errors import SearchError, StudyError
from controllers.final import ROUND, Final
from controllers.placing import Placing
from controllers.search import search
from controllers.starts import contenders, queue_starts
from controllers.study import GENOME_ID, locked, open_study
from search_space import genome_id, load_genome
from searches import GENOMES, RULES, Recorder, final, opened, run, settings, start_final
from synthetic import SPACE, reward

NOISE = {"noise": 0.5}
Made = list[tuple[str, int]]


@pytest.fixture(scope="module")
def search_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run folder of a search of a starting point and seven other genomes."""
    out = tmp_path_factory.mktemp("search") / "out"
    study = opened(out)
    with locked(out):
        queue_starts(study, SPACE, {"one": GENOMES["one"]})
    run(out, "random", 8)
    return out


@pytest.fixture
def searched(search_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(search_once, tmp_path / "out"))


@pytest.fixture(scope="module")
def unbroken(search_once: Path) -> tuple[Any, Made]:
    """Return the result of a final that was never interrupted, and what was trained."""
    race = final(Path(shutil.copytree(search_once, search_once.parent / "final")), **NOISE)
    return summary(race.run()), made(race)


def made(race: Final) -> Made:
    """Return genome and round of each training that has a value."""
    trials = race.trainings.get_trials(states=(TrialState.COMPLETE,))
    attributes = [t.user_attrs for t in trials if GENOME_ID in t.user_attrs]
    return sorted((given[GENOME_ID], given[ROUND]) for given in attributes)


def summary(placing: Placing | None) -> Any:
    assert placing is not None
    return [(p.contender.name, p.values, p.left, p.failed) for p in placing.places], placing.ahead


def best_json(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "best.json").read_text())["meta"]
    return content


@pytest.mark.slow
def test_the_best_and_the_starting_point_are_trained_with_fresh_seeds(searched: Path) -> None:
    race = final(searched, best=3, seed=7, **NOISE)
    found = contenders(race.study, SPACE, 3)
    placing = race.run()
    assert placing is not None
    assert {p.contender.name for p in placing.places} == {c.name for c in found}
    assert 3 <= len(found) <= 4
    for place in placing.places:
        identity = place.contender.identity
        (folder,) = race.folder.glob(f"*-{identity[:8]}")
        seeds = {int(path.name.removeprefix("seed")) for path in folder.iterdir()}
        assert seeds == set(range(8, 8 + place.rounds))
        assert place.score is not None
        assert abs(place.score.mean - reward(place.contender.genome)) < 1.5  # noise is 0.5
    assert (race.folder / "study.journal").exists()
    assert race.folder.parent == searched / "final"


@pytest.mark.slow
def test_best_json_has_the_winner_with_its_interval_and_the_baseline(searched: Path) -> None:
    before = best_json(searched)
    assert "final" not in before
    placing = final(searched, **NOISE).run()
    assert placing is not None
    assert placing.baseline is not None
    winner, meta = placing.winner, best_json(searched)
    assert load_genome(searched / "best.json") == winner.contender.genome
    assert meta.keys() == before.keys() | {"final"}
    assert (meta["trial"], meta["value"]) == (winner.contender.trial, winner.contender.value)
    about = meta["final"]
    assert winner.score is not None
    assert about["mean"] == pytest.approx(sum(winner.values) / winner.rounds)
    low, high = about["interval"]
    assert (low + high) / 2 == pytest.approx(about["mean"])
    assert about["seeds"] == list(range(1, winner.rounds + 1))
    assert about["recipe"] == {"epochs": 6}
    assert about["baseline"]["name"] == "one"
    assert about["baseline"]["genome_id"] == genome_id(GENOMES["one"])
    gap = about["mean"] - about["baseline"]["mean"]
    assert about["baseline"]["difference"] == pytest.approx(gap)
    assert about["ahead"] == (about["baseline"]["interval"][0] > 0)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{}")])
def test_best_json_follows_from_the_study_after_the_final_too(searched: Path, damage: Any) -> None:
    final(searched, **NOISE).run()
    written = (searched / "best.json").read_bytes()
    damage(searched / "best.json")
    view = Recorder()
    search(opened(searched), SPACE, settings(searched, 8), view)  # nothing is left to train
    assert (searched / "best.json").read_bytes() == written
    assert len(view.notes) == 1
    damage(searched / "best.json")
    race = final(searched, **NOISE)
    before = made(race)
    race.run()
    assert (searched / "best.json").read_bytes() == written
    assert made(race) == before


@pytest.mark.slow
def test_another_best_genome_ends_the_win_until_the_next_final(searched: Path) -> None:
    """The search goes on: its contenders change, results of the others are reused."""
    first = final(searched, best=2, **NOISE)
    first.run()
    before = made(first)
    names = {c.identity for c in contenders(first.study, SPACE, 2)}
    total = 8
    while {c.identity for c in contenders(first.study, SPACE, 2)} == names:
        assert best_json(searched)["final"]  # the same contenders: the final still holds
        total += 4
        run(searched, "random", total)
    assert "final" not in best_json(searched)
    assert best_json(searched)["trial"] == first.study.best_trial.number
    second = final(searched, best=2, **NOISE)
    second.run()
    assert best_json(searched)["final"]
    assert set(before) < set(made(second))
    assert len(made(second)) == len(set(made(second)))


@pytest.mark.slow
def test_another_recipe_is_another_final(searched: Path) -> None:
    one, other = final(searched, **NOISE), final(searched, recipe={"epochs": 9}, **NOISE)
    assert len({race.folder for race in (one, other, final(searched, seed=1))}) == 3
    one.run()
    assert made(other) == []
    other.run()
    assert best_json(searched)["final"]["recipe"] == {"epochs": 9}
    final(searched, **NOISE).run()
    assert best_json(searched)["final"]["recipe"] == {"epochs": 6}


def test_a_reworded_recipe_and_a_new_setting_with_its_default_are_the_same_final(
    searched: Path,
) -> None:
    described = {"epochs": 6, "name": "another", "description": "reworded"}
    default = {"training": {"deep_supervision": False}}
    assert final(searched, recipe={**described, **default}).folder == final(searched).folder


@pytest.mark.slow
def test_a_failing_contender_leaves_and_the_final_goes_on(searched: Path) -> None:
    found = contenders(opened(searched), SPACE, 5)
    names = [f"{c.name.replace(' ', '-')}-{c.identity[:8]}" for c in found]
    view = Recorder()
    placing = final(searched, fail_in=[names[0]], **NOISE).run(view)
    assert placing is not None
    assert [p.contender for p in placing.places if p.failed] == [found[0]]
    assert placing.winner.contender != found[0]
    (note,) = (note for note in view.notes if "failed" in note)
    assert note.startswith(f"{found[0].name}, round 1 failed")
    assert "the loss is not finite" in note
    again = Recorder()
    assert summary(final(searched, fail_in=[names[0]], **NOISE).run(again)) == summary(placing)
    assert [note for note in again.notes if "leaves" not in note] == []


@pytest.mark.slow
def test_without_any_contender_left_best_json_stays(searched: Path) -> None:
    before = (searched / "best.json").read_bytes()
    every = [f"seed{number}" for number in range(1, 9)]
    assert final(searched, fail_in=every).run() is None
    assert final(searched, seed=1, rules=Rules(trainings=2)).run() is None
    assert (searched / "best.json").read_bytes() == before


@pytest.mark.slow
def test_data_that_change_stop_the_final_and_the_training_goes_on_later(searched: Path) -> None:
    race = final(searched, evaluate="stop", **NOISE)
    with pytest.raises(SearchError, match=rf"{race.folder}.*changed"):
        race.run()
    again = final(searched, **NOISE)
    assert again.folder == race.folder
    assert made(again) == []
    assert summary(again.run())


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 3, 5])
def test_killed_in_any_round_and_resumed_is_the_final_never_interrupted(
    searched: Path, unbroken: tuple[Any, Made], moment: int
) -> None:
    """SIGKILL while a training of that round hangs; its folder is that of the repetition."""
    process = start_final(searched, hang_in=f"seed{moment}", **NOISE)
    folder = final(searched, **NOISE).folder
    while not (hanging := [*folder.glob(f"*/seed{moment}/log")]):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    view = Recorder()
    race = final(searched, **NOISE)
    assert summary(race.run(view)) == unbroken[0]
    assert made(race) == unbroken[1]
    assert sum("interrupted" in note for note in view.notes) == 1
    assert {file.name for file in hanging[0].parent.iterdir()} == {"log", ".lock"}
    assert len([*folder.glob("*/seed*")]) == len(made(race))  # it has the folder it had
    assert not race.trainings.get_trials(states=(TrialState.RUNNING,))


@pytest.mark.slow
@pytest.mark.parametrize(
    "where", ["set_user_attr 1", "set_user_attr 2", "set_user_attr 3", "set_user_attr 4", "tell 1"]
)
def test_an_end_between_two_lines_of_the_journal_loses_no_result(
    searched: Path, unbroken: tuple[Any, Made], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill there: between the claim and what it says, and between the end and its value."""
    name, _, count = where.partition(" ")
    of = optuna.study.Study if name == "tell" else optuna.trial.Trial
    original, calls = getattr(of, name), 0

    def end(*arguments: Any, **named: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == int(count):
            raise SystemExit
        original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(of, name, end)
        with pytest.raises(SystemExit):
            final(searched, **NOISE).run()
    again = final(searched, **NOISE)
    assert summary(again.run()) == unbroken[0]
    assert made(again) == unbroken[1]


def together(searched: Path, count: int, **arguments: Any) -> list[subprocess.Popen[bytes]]:
    return [start_final(searched, **NOISE, **arguments) for _ in range(count)]


@pytest.mark.slow
def test_two_processes_share_a_final_and_train_nothing_twice(
    searched: Path, unbroken: tuple[Any, Made]
) -> None:
    assert [process.wait() for process in together(searched, 2, seconds=0.1)] == [0, 0]
    race = final(searched, **NOISE)
    assert made(race) == unbroken[1]
    assert len({trial.user_attrs["worker"] for trial in race.trainings.trials}) == 2
    assert summary(race.run()) == unbroken[0]
    assert list((race.folder / "workers").iterdir()) == []


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_training_of_a_process_that_dies_is_taken_over(
    searched: Path, unbroken: tuple[Any, Made], processes: list[subprocess.Popen[bytes]]
) -> None:
    """One process hangs in the first round; the other waits for it, and goes on after its death."""
    folder = final(searched, **NOISE).folder
    processes += together(searched, 1, hang_in="seed1")
    while not [*folder.glob("*/seed1/log")]:
        assert processes[0].poll() is None
        time.sleep(0.01)
    processes += together(searched, 1)
    race = final(searched, **NOISE)
    while len(made(race)) < 3 * (len({name for name, _ in unbroken[1]}) - 1):
        assert processes[1].poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    assert processes[1].poll() is None  # it waits
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    assert processes[1].wait() == 0
    assert made(race) == unbroken[1]
    assert summary(race.run()) == unbroken[0]


@pytest.mark.slow
def test_a_training_waits_until_its_folder_is_free(
    searched: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """The child of a killed process may still train there, and two must not."""
    race = final(searched, **NOISE)
    folder = race.folder / f"trial-7-{contenders(race.study, SPACE, 1)[0].identity[:8]}" / "seed1"
    folder.mkdir(parents=True)
    code = (
        "import sys, pathlib, time; from nasfpn_runtime.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print(flush=True); time.sleep(600)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / ".lock")], stdout=subprocess.PIPE
    )
    processes.append(holder)
    assert holder.stdout is not None
    holder.stdout.readline()

    class Killing(Recorder):
        def note(self, text: str) -> None:
            super().note(text)
            if text == f"waiting for the end of {folder}":
                holder.kill()

    view = Killing()
    assert race.run(view) is not None
    assert view.notes[0] == f"waiting for the end of {folder}"
    holder.wait()


@pytest.mark.slow
def test_a_damaged_journal_is_named_and_repaired_with_its_results(
    searched: Path, unbroken: tuple[Any, Made]
) -> None:
    race = final(searched, **NOISE)
    race.run()
    journal = race.folder / "study.journal"
    lines = journal.read_bytes().splitlines()
    middle = len(lines) // 2
    journal.write_bytes(b"\n".join([*lines[:middle], b"\0" * 40, *lines[middle + 1 :], b""]))
    with pytest.raises(StudyError, match=rf"line {middle + 1} of {journal}.*--repair-study"):
        final(searched, **NOISE)
    reports: list[str] = []
    again = Final(race.study, SPACE, race.settings, reports.append)
    assert "kept" in reports[0]
    assert len(unbroken[1]) - len(made(again)) <= 1
    assert summary(again.run()) == unbroken[0]


@pytest.mark.slow
def test_the_study_of_a_final_is_in_the_storage_of_the_search(
    tmp_path: Path, unbroken: tuple[Any, Made]
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    out = tmp_path / "out"
    study = open_study(out, {"seed": 0}, opened(tmp_path / "b").sampler, url)
    with locked(out):
        queue_starts(study, SPACE, {"one": GENOMES["one"]})
    search(study, SPACE, settings(out, 8))
    limits = replace(final(tmp_path / "b", **NOISE).settings, out=out, storage=url)
    race = Final(study, SPACE, limits)
    assert re.fullmatch(r"out-final-[0-9a-f]{8}", race.trainings.study_name)
    assert not (race.folder / "study.journal").exists()
    assert summary(race.run()) == unbroken[0]
    assert best_json(out)["final"]


def test_the_rounds_before_the_third_are_the_least(searched: Path) -> None:
    race = final(searched, **NOISE)
    found, state = race.standing()
    assert len(state.needed) == FIRST * len(found)
    assert state.most == RULES.seeds * len(found)
