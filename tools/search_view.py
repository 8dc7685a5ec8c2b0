"""What ``nasfpn search`` shows: a bar or plain lines on standard error."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controllers.view import CandidateProgress
    from nasfpn_runtime.progress import Progress

RECENT = 3.0  # seconds; a candidate in training is shown about every second


class ProgressView:
    """Shows a search on standard error: a bar or plain lines, with a line for each trial.

    Several threads may use it. The bar has all candidates of the last ``RECENT`` seconds.
    """

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self._first = bar.done
        self._texts: dict[int, tuple[float, str]] = {}  # by trial: when it was shown last, and how
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        from nasfpn_runtime.progress import say

        say(text)

    def candidate(self, progress: CandidateProgress) -> None:
        """Show epoch and loss and, as long as the bar cannot estimate it, the time left."""
        from controllers.view import clock

        now, duration = time.monotonic(), progress.duration
        with self._lock:
            self._texts[progress.trial] = now, str(progress)
            recent = {t: shown for t, shown in self._texts.items() if now - shown[0] < RECENT}
            self._texts = recent
            text = "; ".join(text for _, text in recent.values())
            if self.bar.done == self._first and duration is not None and self.bar.total is not None:
                left = duration * (self.bar.total - self.bar.done) / len(recent) - progress.seconds
                text = f"{clock(left)} left, {text}"  # first: a narrow bar cuts the end off
            self.bar.note(text)

    def advance(self) -> None:
        """Count one more training; the others are shown again within a second."""
        with self._lock:
            self._texts.clear()
        self.bar.advance()

    def expect(self, left: int) -> None:
        """Change the total to what is done and what is left."""
        if self.bar.total is not None:
            self.bar.expect(self.bar.done + left - self.bar.total)
