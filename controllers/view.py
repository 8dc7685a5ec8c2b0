"""What shows how a search is going: the interface, and the state of a candidate in training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class CandidateProgress:
    """How far the training of a candidate is.

    Attributes:
        trial: number of its trial.
        seconds: time since it was started.
        report: what it reported last, such as ``{"epoch": 3, "epochs": 8, "loss": 0.5}`` after
            the third of eight epochs; empty before the first report. All keys are optional.
        reported: seconds from the start to that report.
        name: what is trained, if it is no trial of the search.
    """

    trial: int
    seconds: float
    report: Mapping[str, Any] = field(default_factory=dict)
    reported: float = 0.0
    name: str = ""

    @property
    def duration(self) -> float | None:
        """Estimate of the seconds that the whole training takes; None before its first epoch."""
        epoch, epochs = self.report.get("epoch"), self.report.get("epochs")
        return self.reported * epochs / epoch if epoch and epochs else None

    def __str__(self) -> str:
        """Return a line such as ``trial 7: epoch 3/8, loss 0.512, 40 s``."""
        parts = []
        epoch, epochs = self.report.get("epoch"), self.report.get("epochs")
        if epoch is not None and epochs is not None:
            # Before the first epoch ends most of the time goes into compiling the network.
            parts.append(f"epoch {epoch}/{epochs}" if epoch else f"compiling, epoch 1/{epochs}")
        if (loss := self.report.get("loss")) is not None:
            parts.append(f"loss {loss:.3f}")
        return (
            f"{self.name or f'trial {self.trial}'}: {', '.join([*parts, f'{self.seconds:.0f} s'])}"
        )


class View(Protocol):
    """What a search calls to show how it is going."""

    def note(self, text: str) -> None:
        """Show a line about an event, such as the end of a trial."""
        ...

    def candidate(self, progress: CandidateProgress) -> None:
        """Show how far the candidate is; called about once a second during its training."""
        ...

    def advance(self) -> None:
        """Count one more trained genome."""
        ...

    def expect(self, left: int) -> None:
        """Take note of how many trainings are left at most; called in a final only."""
        ...


class Silent:
    """A view that shows nothing."""

    def note(self, text: str) -> None:
        """See :class:`View`."""

    def candidate(self, progress: CandidateProgress) -> None:
        """See :class:`View`."""

    def advance(self) -> None:
        """See :class:`View`."""

    def expect(self, left: int) -> None:
        """See :class:`View`."""


def watcher(view: View, trial: int, name: str = "") -> Callable[[Mapping[str, Any]], None]:
    """Return a function that shows the reports of a candidate that starts now.

    Args:
        view: where they are shown.
        trial: number of its trial.
        name: see :class:`CandidateProgress`.
    """
    start = time.monotonic()
    last: Mapping[str, Any] = {}
    reported = 0.0

    def show(report: Mapping[str, Any]) -> None:
        nonlocal last, reported
        seconds = time.monotonic() - start
        if report is not last:
            last, reported = report, seconds
        view.candidate(CandidateProgress(trial, seconds, report, reported, name))

    return show


def clock(seconds: float) -> str:
    """Return a time as H:MM:SS or M:SS."""
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
