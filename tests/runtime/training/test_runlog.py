"""The records of a run: log, metrics, curves, TensorBoard, progress."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nasfpn_runtime.errors import CheckpointError, MissingPackageError
from nasfpn_runtime.training.curves import draw_curves
from nasfpn_runtime.training.runlog import PROGRESS, RunLog, RunOptions

QUIET = RunOptions(progress=False, log_every=2)
LINE = re.compile(
    r"epoch: (\d+) step: (\d+), loss is (\S+), lr: (\S+), per step time: \d+ ms, eta: [\d:]+"
)


def run(log: RunLog, epochs: range, steps: int = 3) -> None:
    """Record epochs; the loss of step n is 1/n, every second epoch has an AP."""
    with log:
        for epoch in epochs:
            for step in range(epoch * steps + 1, (epoch + 1) * steps + 1):
                log.end_step(step, 1 / step, 0.1)
            record = dict(zip(PROGRESS, (epoch + 1, (epoch + 1) * steps, 0.5, 0.1), strict=True))
            if epoch % 2:
                record |= {"AP": epoch / 10, "AP50": epoch / 5}
            log.end_epoch(record)


def test_every_second_step_gets_a_line_with_its_loss(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(4))
    matches = [LINE.fullmatch(line) for line in (tmp_path / "train.log").read_text().splitlines()]
    steps = [(int(m[1]), int(m[2]), float(m[3])) for m in matches if m]
    expected = [((n - 1) // 3 + 1, (n - 1) % 3 + 1, 1 / n) for n in range(2, 13, 2)]
    assert steps == [(e, s, pytest.approx(loss, rel=1e-5)) for e, s, loss in expected]
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]


def test_resuming_drops_later_lines_and_returns_the_metrics_of_the_epoch(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(4))
    again = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    assert again.resume(2) == {"AP": 0.1, "AP50": 0.2}
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    run(again, range(2, 4))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]


def test_resuming_does_not_disturb_another_card_that_reads_the_lines(tmp_path: Path) -> None:
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(4))
    metrics = tmp_path / "metrics.jsonl"
    before = metrics.read_text()
    with metrics.open() as reader:  # another card, which has just opened the file
        RunLog(tmp_path, 3, 4, QUIET, writes=True).resume(2)
        assert reader.read() == before
    assert metrics.read_text().splitlines() == before.splitlines()[:2]
    assert [path.name for path in tmp_path.glob("*metrics*")] == ["metrics.jsonl"]


def test_a_run_that_starts_again_says_what_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill before the first checkpoint leaves lines that no run can resume from."""
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(2))
    RunLog(tmp_path, 3, 4, RunOptions(), writes=True).start()
    shown, logged = capsys.readouterr().err, (tmp_path / "train.log").read_text()
    for text in (shown, logged):
        (line,) = text.splitlines()
        assert re.search(rf"no checkpoint in {tmp_path}.* 2 epochs .*metrics\.jsonl", line)
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    RunLog(tmp_path, 3, 4, RunOptions(), writes=True).start()  # nothing is lost
    assert capsys.readouterr().err == ""


def test_a_run_resumed_within_an_epoch_counts_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert RunLog(tmp_path, 3, 4, RunOptions(), writes=True).resume(0, 2) == {}
    assert "step 2 of 3 in epoch 1 of 4" in capsys.readouterr().err
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    run(log, range(2))
    log.resume(1, 2)
    assert log.first == 5
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_curves_that_are_gone_are_drawn_again(tmp_path: Path) -> None:
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(4))
    curves = tmp_path / "figures" / "curves.svg"
    curves.unlink()
    RunLog(tmp_path, 3, 4, QUIET, writes=True).draw_missing_curves()
    assert curves.exists()


def test_an_epoch_without_an_update_has_no_loss(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, RunOptions(), writes=True)
    for epoch, loss in ((1, 0.5), (2, None)):
        record = dict(zip(PROGRESS, (epoch, 3 * epoch, loss, 0.1), strict=True))
        log.end_epoch({**record, "AP": 0.1, "AP50": 0.2})
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # NaN is not JSON
    ElementTree.parse(tmp_path / "figures" / "curves.svg")


@pytest.mark.slow
def test_a_full_disk_loses_no_line_and_no_figure(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(4))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    figure = tmp_path / "figures" / "curves.svg"
    with full_disk():
        with pytest.raises(OSError, match="too large"):
            RunLog(tmp_path, 3, 4, QUIET, writes=True).resume(2)
        with pytest.raises(OSError, match="too large"):
            draw_curves(tmp_path / "metrics.jsonl", figure)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
    assert figure in before


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
    ids=["empty", "one of three", "cut", "not a record", "without the first", "not text"],
)
def test_lines_that_are_missing_are_named(
    tmp_path: Path, damage: Callable[[str], str], line: int
) -> None:
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(3))
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(damage(metrics.read_text()).encode("latin-1"))
    again = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    with pytest.raises(CheckpointError, match=rf"line {line} of .*metrics\.jsonl"):
        again.resume(3)
    metrics.unlink()
    with pytest.raises(CheckpointError, match=r"line 1 of .*metrics\.jsonl"):
        again.resume(3)


def test_curves_are_updated_during_the_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 3, 4, QUIET, writes=True)
    log.start()
    run(log, range(2))
    figure = tmp_path / "figures" / "curves.svg"
    first = ElementTree.parse(figure)
    assert first.getroot().tag.endswith("svg")
    before = figure.read_bytes()
    run(log, range(2, 4))
    assert figure.read_bytes() != before


def test_cards_other_than_the_first_write_nothing(tmp_path: Path) -> None:
    run(RunLog(tmp_path, 3, 2, QUIET, writes=False), range(2))
    assert not list(tmp_path.iterdir())


def test_tensorboard_events_have_the_values(tmp_path: Path) -> None:
    log = RunLog(
        tmp_path, 3, 2, RunOptions(progress=False, log_every=1, tensorboard=True), writes=True
    )
    log.start()
    run(log, range(2))
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"step/loss", b"step/lr", b"val/AP", b"val/AP50"):
        assert tag in content


def test_without_tensorboardx_the_error_has_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    log = RunLog(tmp_path, 3, 2, RunOptions(progress=False, tensorboard=True), writes=True)
    with pytest.raises(MissingPackageError, match=r"pip install 'nasfpn\[tensorboard\]'"):
        log.__enter__()


def test_the_caller_gets_each_record_after_it_is_written(tmp_path: Path) -> None:
    records: list[Mapping[str, Any]] = []

    def on_epoch(record: Mapping[str, Any]) -> None:
        records.append(record)
        assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(records)

    options = RunOptions(progress=False, on_epoch=on_epoch)
    run(RunLog(tmp_path, 3, 2, options, writes=True), range(2))
    assert [record["epoch"] for record in records] == [1, 2]
    assert ["AP" in record for record in records] == [False, True]
    run(RunLog(tmp_path, 3, 2, options, writes=False), range(2))
    assert len(records) == 2  # only the first card calls it


def test_progress_shows_scores_and_no_line_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path, 3, 4, RunOptions(log_every=1), writes=True)
    log.start()
    run(log, range(4))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 2/4: loss 0.500, AP 0.1000, AP50 0.2000",
        "epoch 4/4: loss 0.500, AP 0.3000, AP50 0.6000",
        "train: 12/12 steps, epoch 4, loss 0.083",
    ]
    assert len((tmp_path / "train.log").read_text().splitlines()) == 14  # 12 steps, 2 scores
    run(RunLog(tmp_path, 3, 4, QUIET, writes=True), range(4))
    assert capsys.readouterr() == ("", "")
