"""The records of a training run: progress, log, metrics of each epoch, curves, TensorBoard."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from tqdm import tqdm

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.extras import require
from nasfpn_runtime.files import atomic_write
from nasfpn_runtime.progress import Progress, say
from nasfpn_runtime.scoring.coco_eval import table_lines
from nasfpn_runtime.training.curves import draw_curves
from search_space.names import printable

# Keys of every line of metrics.jsonl; the other keys are COCO's metrics. The loss is the mean of
# the steps that updated the weights, or None if there are none.
PROGRESS = ("epoch", "step", "loss", "lr")


@dataclass(frozen=True)
class RunOptions:
    """How a run reports and what prepares its batches; the trained weights do not depend on it.

    Attributes:
        progress: report progress on standard error; False prints nothing.
        log_every: steps between two lines of ``train.log``.
        tensorboard: write events for TensorBoard into ``tensorboard``.
        workers: what prepares the next batches: 0 for the training thread itself, 1 for a
            background thread, N > 1 for N processes.
        on_epoch: function to call after each epoch with its record, the line just added to
            ``metrics.jsonl``. With several cards only the first calls it.
    """

    progress: bool = True
    log_every: int = 20
    tensorboard: bool = False
    workers: int = 1
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None


class RunLog:
    """Writes ``train.log``, ``metrics.jsonl`` and ``figures/curves.svg`` in a run folder.

    Every ``log_every`` steps ``train.log`` gets a line with the loss of that step, such as
    ``epoch: 2 step: 40, loss is 1.234, lr: 0.05, per step time: 110 ms, eta: 0:01:02``.

    Enter it, as a context manager, for the length of the training.

    Args:
        out: the run folder.
        steps_per_epoch: number of steps in an epoch.
        epochs: number of epochs in the run.
        writes: False for all cards but the first, which writes the files.
    """

    def __init__(
        self, out: Path, steps_per_epoch: int, epochs: int, options: RunOptions, *, writes: bool
    ) -> None:
        self.out, self.steps_per_epoch, self.epochs = out, steps_per_epoch, epochs
        self.options, self.writes = options, writes
        self.metrics = out / "metrics.jsonl"
        self.text = out / "train.log"
        self.curves = out / "figures" / "curves.svg"
        self.first = 0  # steps done in previous processes
        self._progress = Progress("train", "step", None, shown=False)
        self._events: Any = None
        self._started = self._last_line = time.monotonic()

    def start(self) -> None:
        """Start the logs of a new run: empty the files.

        If there are lines of an earlier run, which was killed before its first checkpoint, a
        line says so.
        """
        old = (
            self.metrics.read_text(errors="replace", encoding="utf-8")
            if self.metrics.exists()
            else ""
        )
        lost = (
            f"there is no checkpoint in {self.out}: training starts again, and the "
            f"{len(old.splitlines())} epochs in {self.metrics} are lost"
        )
        if old and self.options.progress:
            say(lost)
        self.metrics.write_text("", encoding="utf-8")
        self.text.write_text(f"{lost}\n" if old else "", encoding="utf-8")

    def warn(self, text: str) -> None:
        """Report, in one line, that a result says little; see also ``train.log``."""
        self._write_line(printable(f"warning: {text}"))
        if self.options.progress:
            say(f"warning: {text}")

    def resume(
        self, epoch: int, steps: int = 0, metrics: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Drop the lines after a checkpoint of that epoch; return its COCO metrics.

        The checkpoint may have been saved ``steps`` steps after the end of the epoch.
        ``metrics.jsonl`` is replaced atomically: other cards may be reading it, and a kill must
        not lose lines.

        Args:
            metrics: those in the checkpoint; others in the line of the epoch are replaced. None if
                the checkpoint has none.

        Raises:
            CheckpointError: ``metrics.jsonl`` lacks the line of an epoch up to that one, or a part
                of it.
        """
        records = self._read_records(epoch)
        last = records[-1] if records else {}
        logged = {key: value for key, value in last.items() if key not in PROGRESS}
        if metrics is not None and metrics != logged:
            self.warn(f"line {epoch} of {self.metrics} had other metrics than the checkpoint")
            records[-1] = {key: last[key] for key in PROGRESS if key in last} | dict(metrics)
            logged = dict(metrics)
        # AR100 is AR300 if the detection rule allows 300 detections in an image.
        needed = {line.name for line in table_lines() if not line.name.startswith("AR1")}
        if epoch == self.epochs and not needed <= logged.keys():
            raise self._unreadable(epoch, epoch)
        text = f"resuming after {self.describe(epoch, steps)}"
        if epoch == self.epochs:
            text = f"already finished ({epoch} of {self.epochs} epochs)"
        if self.writes:
            with atomic_write(self.metrics) as draft:
                draft.write_text("".join(f"{json.dumps(r)}\n" for r in records), encoding="utf-8")
            self._write_line(text)
        if self.options.progress:
            say(text)
        self.first = epoch * self.steps_per_epoch + steps
        return logged

    def describe(self, epoch: int, steps: int) -> str:
        """Return a position in the run, such as ``epoch 3 of 5`` or ``step 7 of 20 in epoch 4``."""
        if not steps:
            return f"epoch {epoch} of {self.epochs}"
        return f"step {steps} of {self.steps_per_epoch} in epoch {epoch + 1} of {self.epochs}"

    def _read_records(self, epoch: int) -> list[dict[str, Any]]:
        """Return what the first ``epoch`` lines of ``metrics.jsonl`` say."""
        lines = []
        if self.metrics.exists():
            lines = self.metrics.read_text(errors="replace", encoding="utf-8").splitlines()
        records = []
        for number in range(1, epoch + 1):
            try:
                record = json.loads(lines[number - 1])
                losses = (int, float, NoneType)  # None if no step updated the weights
                whole = (
                    record["epoch"] == number
                    and isinstance(record["loss"], losses)
                    and ("AP" in record) == ("AP50" in record)
                    and all(type(v) in (int, float) for k, v in record.items() if k != "loss")
                    and "lr" in record
                )
            except (IndexError, KeyError, TypeError, AttributeError, json.JSONDecodeError):
                whole = False
            if not whole:
                raise self._unreadable(epoch, number)
            records.append(record)
        return records

    def _unreadable(self, epoch: int, number: int) -> CheckpointError:
        return CheckpointError(
            f"cannot resume after epoch {epoch}: line {number} of {self.metrics} is not that of "
            f"epoch {number}; restore the file, or choose another --out"
        )

    def __enter__(self) -> RunLog:
        if self.options.tensorboard:
            self._events = _event_writer(self.out / "tensorboard", self.first)
        total = self.steps_per_epoch * self.epochs
        shown = self.options.progress
        self._progress = Progress("train", "step", total, done=self.first, shown=shown)
        self._started = self._last_line = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.__exit__(*error)
        if self._events is not None:
            self._events.close()

    def end_step(self, step: int, loss: float, lr: float) -> None:
        """Record a step, counted from 1 over the whole run."""
        epoch, earlier = divmod(step - 1, self.steps_per_epoch)
        self._progress.advance(text=f"epoch {epoch + 1}, loss {loss:.3f}")
        if step % self.options.log_every:
            return
        now = time.monotonic()
        steps = min(self.options.log_every, step - self.first)
        each = (now - self._started) / (step - self.first)
        left = tqdm.format_interval(each * (self.steps_per_epoch * self.epochs - step))
        self._write_line(
            f"epoch: {epoch + 1} step: {earlier + 1}, loss is {loss:.6g}, lr: {lr:.6g}, "
            f"per step time: {(now - self._last_line) / steps * 1e3:.0f} ms, eta: {left}"
        )
        self._last_line = now
        if self._events is not None:
            self._events.add_scalar("step/loss", loss, step)
            self._events.add_scalar("step/lr", lr, step)

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Record an epoch: the values of ``PROGRESS`` and, if it was scored, COCO's metrics."""
        if not self.writes:
            return
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())  # the checkpoint saved next cannot resume without this line
        if "AP" in record:
            self._end_evaluation(record)
        if self.options.on_epoch is not None:
            self.options.on_epoch(record)

    def _end_evaluation(self, record: Mapping[str, Any]) -> None:
        epoch, ap, ap50 = record["epoch"], record["AP"], record["AP50"]
        self._write_line(f"epoch: {epoch}, AP {ap:.4f}, AP50 {ap50:.4f}")
        if self.options.progress:
            loss = "none" if record["loss"] is None else f"{record['loss']:.3f}"
            say(f"epoch {epoch}/{self.epochs}: loss {loss}, AP {ap:.4f}, AP50 {ap50:.4f}")
        draw_curves(self.metrics, self.curves)
        if self._events is not None:
            for name, value in record.items():
                if name not in PROGRESS:
                    self._events.add_scalar(f"val/{name}", value, epoch)

    def draw_missing_curves(self) -> None:
        """Draw the curves again if they may not be those of ``metrics.jsonl``, as without a file.

        A run that had ended before this process has them drawn from the log that it resumed from.
        """
        ended = self.first == self.epochs * self.steps_per_epoch
        if self.writes and (ended or not self.curves.exists()):
            draw_curves(self.metrics, self.curves)

    def _write_line(self, line: str) -> None:
        """Add a line to ``train.log``."""
        if self.writes:
            with self.text.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")


def _event_writer(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer that drops events after ``step`` of a previous process."""
    return require("tensorboardX").SummaryWriter(str(folder), purge_step=step)
