"""What ``nasfpn search`` shows: a bar or plain lines on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controllers.view import CandidateProgress
    from nasfpn_runtime.progress import Progress


class ProgressView:
    """Shows a search on standard error: a bar or plain lines, with a line for each trial."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self._first = bar.done

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        from nasfpn_runtime.progress import say

        say(text)

    def candidate(self, progress: CandidateProgress) -> None:
        """Show epoch and loss and, as long as the bar cannot estimate it, the time left."""
        from controllers.view import clock

        text, duration = str(progress), progress.duration
        if self.bar.done == self._first and duration is not None and self.bar.total is not None:
            left = duration * (self.bar.total - self.bar.done) - progress.seconds
            text = f"{clock(left)} left, {text}"  # first, because a narrow bar cuts the end off
        self.bar.note(text)

    def advance(self) -> None:
        """Count one more training."""
        self.bar.advance()

    def expect(self, left: int) -> None:
        """Change the total to what is done and what is left."""
        if self.bar.total is not None:
            self.bar.expect(self.bar.done + left - self.bar.total)
