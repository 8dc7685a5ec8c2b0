"""Progress on standard error: plain lines in a file, bars on a terminal, nothing without either."""

from __future__ import annotations

import io
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from nasfpn_runtime import progress
from nasfpn_runtime.progress import Progress, say, waiting
from runs import wait_until

LIMIT = 30.0  # seconds
WORK = "train"


@pytest.mark.parametrize(
    ("unit", "units"), [("epoch", "epochs"), ("search", "searches"), ("step", "steps")]
)
def test_units_are_in_the_plural(unit: str, units: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(WORK, unit, 2) as bar:
        bar.advance(2)
    assert capsys.readouterr().err == f"{WORK}: 2/2 {units}\n"


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal:
    """A pseudo terminal without a size."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.stream = os.fdopen(slave, "w")
        self.text = ""

    def close(self) -> None:
        self.stream.close()
        os.close(self.master)

    def output(self) -> str:
        """Return everything written so far."""
        try:
            while part := os.read(self.master, 1 << 16):
                self.text += part.decode()
        except BlockingIOError:
            pass
        return self.text

    def screen(self) -> list[str]:
        """Return the lines that the terminal shows; a carriage return overwrites a line."""
        lines = []
        for line in self.output().replace("\r\n", "\n").split("\n"):
            shown = ""
            for part in line.split("\r"):
                shown = part + shown[len(part) :]
            lines.append(shown.rstrip())
        return lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


# pytest's capture sets sys.stderr when a test is called. A fixture that runs before that would have
# no effect, so the tests call these functions.


def use_file(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Put a file in the place of standard error."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    return file


def use_terminal(monkeypatch: pytest.MonkeyPatch, terminal: Terminal, columns: str = "60") -> None:
    """Put a terminal in the place of standard error."""
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    monkeypatch.setenv("COLUMNS", columns)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def advance(bar: Progress, clock: Clock, seconds: float, count: int = 1, text: str = "") -> None:
    clock.now += seconds
    bar.advance(count, text)


def test_a_file_gets_a_line_every_period_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    file = use_file(monkeypatch)
    with Progress(WORK, "step", 100) as bar:
        for step in range(1, 21):
            advance(bar, clock, 3.0, text=f"loss {1 / step:.2f}")
    # Steps 4, 8, ... are the first ones 10 s after the previous line. A step takes 3 s.
    assert file.getvalue().splitlines() == [
        "train: 4/100 steps, 04:48 left, loss 0.25",
        "train: 8/100 steps, 04:36 left, loss 0.12",
        "train: 12/100 steps, 04:24 left, loss 0.08",
        "train: 16/100 steps, 04:12 left, loss 0.06",
        "train: 20/100 steps, 04:00 left, loss 0.05",
    ]


def test_the_time_left_counts_the_items_of_this_run_only(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    file = use_file(monkeypatch)
    with Progress(WORK, "step", 100, done=90) as bar:
        advance(bar, clock, 20.0, count=2)
        assert file.getvalue() == "train: 92/100 steps, 01:20 left\n"
        advance(bar, clock, 80.0, count=8)
    assert file.getvalue().splitlines()[1:] == ["train: 100/100 steps"]


def test_the_last_line_is_printed_at_the_end_whatever_the_period(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    file = use_file(monkeypatch)
    with Progress(WORK, "step", 3) as bar:
        for _ in range(3):
            advance(bar, clock, 0.1, text="loss 0.5")
        assert file.getvalue() == ""
    assert file.getvalue() == "train: 3/3 steps, loss 0.5\n"


def test_nothing_is_printed_twice_or_without_work(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    file = use_file(monkeypatch)
    with Progress(WORK, "step", 3) as bar:
        advance(bar, clock, 11.0, count=3)
    with Progress(WORK, "step", 3):
        pass
    with Progress(WORK, "step", 3, shown=False) as bar:
        advance(bar, clock, 11.0, count=3)
        bar.note("loss 0.5")
    assert file.getvalue() == "train: 3/3 steps\n"


def test_an_unknown_total_has_no_time_left(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    file = use_file(monkeypatch)
    with Progress("predict", "batch", None) as bar:
        advance(bar, clock, 11.0)
    assert file.getvalue() == "predict: 1 batches\n"


def test_a_note_is_printed_when_a_line_is_due(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    file = use_file(monkeypatch)
    with Progress("search", "genome", 4) as bar:
        bar.note("epoch 1/3")
        assert file.getvalue() == ""
        clock.now += 11.0
        bar.note("epoch 2/3")
    assert file.getvalue() == "search: 0/4 genomes, epoch 2/3\n"


def test_a_file_gets_no_carriage_return_and_no_control_sequence(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    file = use_file(monkeypatch)
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    with Progress(WORK, "step", 2) as bar, waiting("compiling"):
        advance(bar, clock, 1.0, text="loss 0.5")
        say("a message")
        bar.note("loss 0.4")
    text = file.getvalue()
    assert re.search("^a message$", text, re.MULTILINE)
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


def test_a_terminal_gets_a_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch, terminal)
    with Progress(WORK, "step", 4) as bar:
        bar.advance(3, "loss 0.5")
        bar.advance(1, "loss 0.4")
    *lines, last = terminal.screen()
    assert last == ""  # the cursor is below the bar
    assert len(lines) == 1
    assert re.match(r"train: 100%\|█+\| 4/4 \[.*step/s", lines[0])


@pytest.mark.parametrize("columns", [40, 60])
def test_a_bar_is_as_wide_as_columns(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    use_terminal(monkeypatch, terminal, str(columns))
    with Progress(WORK, "step", 4) as bar:
        bar.advance(4)
    parts = re.split(r"[\r\n]+", terminal.output())
    assert max(len(part) for part in parts) == columns


@pytest.mark.parametrize("columns", ["", "0", "wide", "-5", "99999999", "9" * 5000])
def test_other_values_of_columns_and_a_terminal_without_a_size_are_no_problem(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    use_terminal(monkeypatch, terminal, columns)
    with Progress(WORK, "step", 4) as bar:
        bar.advance(4)
    assert "4/4" in terminal.screen()[0]
    assert len(terminal.screen()[0]) < 200


def test_a_bar_shows_what_earlier_runs_did_and_may_disappear(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_terminal(monkeypatch, terminal)
    with Progress(WORK, "step", 4, done=2, leave=False) as bar:
        assert "2/4" in terminal.screen()[-1]
        bar.advance(2)
    assert terminal.screen() == [""]


def test_a_message_appears_above_the_bar(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_terminal(monkeypatch, terminal)
    with Progress(WORK, "step", 4) as bar:
        bar.advance(1)
        say("a message")
        message, shown = terminal.screen()
        assert message == "a message"
        assert shown.startswith("train:  25%")
        bar.advance(3)
    message, shown, _ = terminal.screen()
    assert message == "a message"
    assert shown.startswith("train: 100%")


def test_waiting_prints_lines_to_a_file_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    file = use_file(monkeypatch)
    monkeypatch.setattr(progress, "PERIOD", 0.01)
    with waiting("compiling the network"):
        # Printed at once, and then by a thread while this one does something else.
        assert file.getvalue().startswith("compiling the network\n")
        assert "waiting" in threads()
        wait_until(lambda: len(file.getvalue().splitlines()) >= 4, LIMIT)
    assert "waiting" not in threads()
    lines = file.getvalue().splitlines()
    assert all(re.fullmatch(r"compiling the network \(\d+ s\)", line) for line in lines[1:])
    time.sleep(0.05)  # time for a thread that does not end; cannot fail the test
    assert file.getvalue().splitlines() == lines


def test_waiting_counts_seconds_on_a_terminal_and_disappears(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_terminal(monkeypatch, terminal)
    monkeypatch.setattr(progress, "TICK", 0.01)
    with waiting("compiling the network"):
        wait_until(lambda: terminal.output().count("compiling the network (") >= 4, LIMIT)
        assert re.fullmatch(r"compiling the network \(\d\d:\d\d\)", terminal.screen()[-1])
    assert terminal.screen() == [""]


@pytest.mark.parametrize("on_terminal", [False, True])
def test_waiting_ends_with_an_exception(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, on_terminal: bool
) -> None:
    use_terminal(monkeypatch, terminal) if on_terminal else use_file(monkeypatch)
    with pytest.raises(ZeroDivisionError), waiting("compiling"):
        raise ZeroDivisionError
    assert "waiting" not in threads()


def test_waiting_that_is_not_shown_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = use_file(monkeypatch)
    with waiting("compiling", shown=False):
        pass
    assert file.getvalue() == ""


def test_without_standard_error_nothing_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as in a process that was started with 2>&-
    say("a message")
    with Progress(WORK, "step", 2) as bar, waiting("compiling"):
        bar.advance(1, "loss 0.5")
        bar.note("loss 0.4")
        say("a message")
    assert bar.done == 1
