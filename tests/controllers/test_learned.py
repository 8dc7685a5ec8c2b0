"""What ppo keeps on disk: it saves learning, and never changes a proposal."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.study import Study

from controllers import PPOSampler, ppo
from controllers.learned import FILE, read_state, write_state
from controllers.proximal import Learned
from controllers.samplers import Record, suggest
from controllers.search import search
from search_space import Level, NASFPNSpace
from searches import choices, new_study, settings
from synthetic import SPACE, reward

SETTINGS: dict[str, Any] = {"hidden": 8, "batch": 5, "learning_rate": 0.02}


class Steps:
    """Counts the batches that ppo learns from."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.batches, improve = 0, ppo.improve

        def counted(policy: Any, rates: Any, *rest: Any) -> Learned:
            self.batches += rates.epochs > 1  # the key of the file takes one step
            self.look()
            return improve(policy, rates, *rest)

        patch.setattr(ppo, "improve", counted)

    def look(self) -> None:
        """Do nothing; tests replace this."""


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def sampler(seed: int = 0, **changed: Any) -> PPOSampler:
    return PPOSampler(SPACE, seed, **{**SETTINGS, **changed})


def study_of(trials: int, seed: int = 0) -> Study:
    study = new_study(sampler(seed))
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, reward(suggest(trial, SPACE)))
    return study


def proposals(study: Study, count: int = 6) -> list[tuple[int, ...]]:
    """Return proposals for trials that stay unfinished, so that all see the same log."""
    return [choices(study.ask()) for _ in range(count)]


def copied(study: Study, made: PPOSampler) -> Study:
    copy = new_study(made)
    copy.add_trials(study.get_trials(deepcopy=False))
    return copy


def test_proposals_are_the_same_with_and_without_the_file(tmp_path: Path, steps: Steps) -> None:
    study = study_of(23)
    sampler().prepare(study, tmp_path)
    steps.batches = 0
    fresh, kept = (copied(study, sampler()) for _ in range(2))
    kept.sampler.prepare(kept, tmp_path)  # type: ignore[attr-defined]
    assert steps.batches == 0
    assert proposals(kept) == proposals(fresh)
    assert steps.batches == 4
    for end in range(7):  # what is learned after that is the same, too
        for each in (kept, fresh):
            trial = each.ask()
            each.tell(trial, reward(suggest(trial, SPACE)) + end)
    assert [t.params for t in kept.trials] == [t.params for t in fresh.trials]


def test_only_new_batches_are_learned(tmp_path: Path, steps: Steps) -> None:
    study = study_of(35)
    first = new_study(sampler())
    first.add_trials(study.get_trials(deepcopy=False)[:21])
    sampler().prepare(first, tmp_path)
    steps.batches = 0
    sampler().prepare(study, tmp_path)
    assert steps.batches == 3
    sampler().prepare(study, tmp_path)
    assert steps.batches == 3


@pytest.mark.parametrize("damage", ["deleted", "empty", "cut", "bit", "checksum", "folder", "text"])
def test_a_damaged_file_is_made_again(tmp_path: Path, steps: Steps, damage: str) -> None:
    study, path = study_of(20), tmp_path / FILE
    sampler().prepare(study, tmp_path)
    whole = path.read_bytes()
    path.unlink()
    changed = bytearray(whole)
    changed[len(whole) // 2 if damage == "bit" else 3] ^= 4
    contents = {"empty": b"", "cut": whole[:-7], "bit": changed, "checksum": changed, "text": b"x"}
    if damage in contents:
        path.write_bytes(contents[damage])
    elif damage == "folder":
        path.mkdir()
    steps.batches, made = 0, sampler()
    made.prepare(study, tmp_path)
    assert steps.batches == 4
    assert proposals(copied(study, made)) == proposals(copied(study, sampler()))
    assert path.is_dir() if damage == "folder" else path.read_bytes() == whole


@pytest.mark.parametrize(
    "other",
    [
        sampler(1),
        sampler(learning_rate=0.03),
        sampler(batch=4),
        sampler(hidden=9),
        sampler(decay=0.9),
        PPOSampler(
            NASFPNSpace((Level(3), Level(4), Level(5)), 1, (Level(5),), ops=("sum", "attention")),
            **{**SETTINGS, "entropy": 0.2},
        ),
    ],
)
def test_what_another_sampler_keeps_is_not_used(
    tmp_path: Path, steps: Steps, other: PPOSampler
) -> None:
    study = study_of(20)
    other.prepare(copied(study, other), tmp_path)
    steps.batches = 0
    sampler().prepare(study, tmp_path)
    assert steps.batches == 4


def test_what_is_learned_from_other_values_is_not_used(tmp_path: Path, steps: Steps) -> None:
    study = study_of(20)
    sampler().prepare(study, tmp_path)
    trials = study.get_trials()
    trials[6].value = 3.25
    other = new_study(sampler())
    other.add_trials(trials)
    steps.batches = 0
    sampler().prepare(other, tmp_path)
    assert steps.batches == 4


@pytest.mark.parametrize("source", ["policy", "proximal"])
def test_what_other_code_has_learned_is_not_used(
    tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    study = study_of(20)
    sampler().prepare(study, tmp_path)
    path = Path(getattr(ppo, source).__file__)
    changed = tmp_path / path.name
    changed.write_text(path.read_text() + "\n# changed\n")
    monkeypatch.setattr(getattr(ppo, source), "__file__", str(changed))
    steps.batches = 0
    sampler().prepare(study, tmp_path)
    assert steps.batches == 4


def test_a_machine_that_rounds_differently_learns_again(
    tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(20)
    sampler().prepare(study, tmp_path)
    improve = ppo.improve

    def rounded(*given: Any) -> Learned:
        found = improve(*given)
        nearby = np.nextafter(found.weights, np.float32(9))
        return Learned(nearby, found.mean, found.square, found.steps)

    monkeypatch.setattr(ppo, "improve", rounded)
    steps.batches = 0
    sampler().prepare(study, tmp_path)
    assert steps.batches == 4


def test_a_result_that_comes_late_does_not_spoil_the_file(tmp_path: Path, steps: Steps) -> None:
    """Trial 7 runs until the end; what is kept is of the batch before it."""
    study = new_study(sampler())
    trials = [study.ask() for _ in range(20)]
    values = [reward(suggest(trial, SPACE)) for trial in trials]
    for trial, value in zip(trials, values, strict=True):
        if trial.number != 7:
            study.tell(trial, value)
    study.sampler.prepare(study, tmp_path)  # type: ignore[attr-defined]
    study.tell(trials[7], values[7])
    steps.batches, made = 0, sampler()
    made.prepare(study, tmp_path)
    assert steps.batches == 3
    assert proposals(copied(study, made)) == proposals(copied(study, sampler()))


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, steps: Steps) -> None:
    (tmp_path / "file").write_text("")
    study = study_of(20)
    for folder in (tmp_path / "file", tmp_path / "missing"):
        steps.batches, made = 0, sampler()
        made.prepare(study, folder)
        assert steps.batches == 4
        proposals(copied(study, made))
        assert steps.batches == 4
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_readers_see_whole_files_while_others_write(tmp_path: Path) -> None:
    """Two threads write states of 1 and of 2 batches; each state that is read is one of them."""
    path, done = tmp_path / FILE, threading.Event()
    batches = tuple((Record((number,), float(number)),) for number in range(2))
    weights = [np.full(30_000, number, np.float32) for number in range(3)]
    states = {n: ppo.State(Learned(weights[n], weights[n], weights[n], n), 0.5, n) for n in (1, 2)}

    def write(count: int) -> None:
        while not done.is_set():
            write_state(path, "key", batches[:count], states[count])

    writers = [threading.Thread(target=write, args=(count,)) for count in states]
    for writer in writers:
        writer.start()
    try:
        while not path.exists():
            pass
        seen = [read_state(path, "key", batches) for _ in range(60)]
    finally:
        done.set()
        for writer in writers:
            writer.join()
    for kept in seen:
        assert kept is not None
        count, state = kept
        assert (state.baseline, state.variance, state.learned.steps) == (0.5, count, count)
        assert (state.learned.weights == count).all()
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_a_search_never_learns_under_its_lock(tmp_path: Path, steps: Steps) -> None:
    study = optuna.create_study(direction="maximize", sampler=sampler())

    def look() -> None:
        with open(tmp_path / "study.lock", "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises if anyone holds it

    steps.look = look  # type: ignore[method-assign]
    search(study, SPACE, settings(tmp_path, 18))
    assert steps.batches >= 3
    assert (tmp_path / FILE).exists()
