"""What a run says of itself."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nasfpn_runtime.errors import CheckpointError, DeviceError
from nasfpn_runtime.training.curves import draw_curves
from nasfpn_runtime.training.runlog import PROGRESS, RunLog, RunOptions

QUIET = RunOptions(progress=False, log_every=2)
LINE = re.compile(
    r"epoch: (\d+) step: (\d+), loss is (\S+), lr: (\S+), per step time: \d+ ms, eta: [\d:]+"
)


def run(log: RunLog, epochs: range, steps: int = 3) -> None:
    """Log epochs of 3 steps; the loss of step n is 1/n, the AP of an even epoch its tenth."""
    with log:
        for epoch in epochs:
            for step in range(epoch * steps + 1, (epoch + 1) * steps + 1):
                log.end_step(step, 1 / step, 0.1)
            record = dict(zip(PROGRESS, (epoch + 1, (epoch + 1) * steps, 0.5, 0.1), strict=True))
            if epoch % 2:
                record |= {"AP": epoch / 10, "AP50": epoch / 5}
            log.end_epoch(record)


def test_lines_come_every_so_many_steps_with_the_loss_of_theirs(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(4))
    found = [LINE.fullmatch(line) for line in (tmp_path / "train.log").read_text().splitlines()]
    steps = [(int(m[1]), int(m[2]), float(m[3])) for m in found if m]
    expected = [((n - 1) // 3 + 1, (n - 1) % 3 + 1, 1 / n) for n in range(2, 13, 2)]
    assert steps == [(e, s, pytest.approx(loss, rel=1e-5)) for e, s, loss in expected]
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]


def test_going_on_drops_what_is_ahead_and_returns_the_figures_of_the_epoch(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(4))
    again = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    assert again.go_on(2) == {"AP": 0.1, "AP50": 0.2}
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    run(again, range(2, 4))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]


def test_going_on_leaves_the_lines_to_who_reads_them(tmp_path: Path) -> None:
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(4))
    metrics = tmp_path / "metrics.jsonl"
    whole = metrics.read_text()
    with metrics.open() as reader:  # another card, which opened the file a moment before
        RunLog(tmp_path, 3, 4, QUIET, writes=True).go_on(2)
        assert reader.read() == whole
    assert metrics.read_text().splitlines() == whole.splitlines()[:2]
    assert [path.name for path in tmp_path.glob("*metrics*")] == ["metrics.jsonl"]


def test_a_full_disk_costs_no_line_and_no_picture(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(4))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    picture = tmp_path / "figures" / "curves.svg"
    with full_disk():
        with pytest.raises(OSError, match="too large"):
            RunLog(tmp_path, 3, 4, QUIET, writes=True).go_on(2)
        with pytest.raises(OSError, match="too large"):
            draw_curves(tmp_path / "metrics.jsonl", picture)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert picture in before


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda text: "", 1),
        (lambda text: text.splitlines()[0], 2),
        (lambda text: text[:-20], 3),
        (lambda text: "1\n" + text, 1),
        (lambda text: text.partition("\n")[2], 1),
        (lambda text: text.replace("{", "\xff", 1), 1),
    ],
    ids=["empty", "one of three", "cut", "no record", "without the first", "no text"],
)
def test_lines_that_are_missing_are_named(
    tmp_path: Path, damage: Callable[[str], str], line: int
) -> None:
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(3))
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(damage(metrics.read_text()).encode("latin-1"))
    again = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    with pytest.raises(CheckpointError, match=rf"metrics\.jsonl has no line {line} of epoch"):
        again.go_on(3)
    metrics.unlink()
    with pytest.raises(CheckpointError, match=r"no line 1 of epoch 1"):
        again.go_on(3)


def test_curves_are_drawn_as_the_run_goes(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(2))
    picture = tmp_path / "figures" / "curves.svg"
    first = ElementTree.parse(picture)
    assert first.getroot().tag.endswith("svg")
    before = picture.read_bytes()
    run(log, range(2, 4))
    assert picture.read_bytes() != before


def test_cards_other_than_the_first_write_nothing(tmp_path: Path) -> None:
    run(RunLog(tmp_path, 3, 2, QUIET, writes=False), range(2))
    assert not list(tmp_path.iterdir())


def test_events_for_tensorboard_have_the_values(tmp_path: Path) -> None:
    log = RunLog(
        tmp_path, 3, 2, RunOptions(progress=False, log_every=1, tensorboard=True), writes=True
    )
    log.start()
    run(log, range(2))
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"step/loss", b"step/lr", b"val/AP", b"val/AP50"):
        assert tag in content


def test_without_its_package_tensorboard_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    log = RunLog(tmp_path, 3, 2, RunOptions(progress=False, tensorboard=True), writes=True)
    with pytest.raises(DeviceError, match=r"pip install 'nasfpn\[tensorboard\]'"):
        log.__enter__()
