"""What a training run says of itself: bar, log, figures per epoch, curves, TensorBoard."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.extras import require
from nasfpn_runtime.files import whole
from nasfpn_runtime.training.curves import draw_curves

PROGRESS = ("epoch", "step", "loss", "lr")  # of a line of metrics.jsonl; the rest is COCO's


@dataclass(frozen=True)
class RunOptions:
    """How a run is watched; nothing of it changes what is trained.

    Attributes:
        progress: show a progress bar, or the lines of the log where standard error is no
            terminal.
        log_every: steps between two lines of ``train.log``.
        tensorboard: write events for TensorBoard into ``tensorboard``.
        workers: what prepares batches ahead: 0 nothing, 1 a thread, more as many processes.
    """

    progress: bool = True
    log_every: int = 20
    tensorboard: bool = False
    workers: int = 1


class RunLog:
    """Writes ``train.log``, ``metrics.jsonl`` and ``figures/curves.svg`` of a run folder.

    ``train.log`` has a line every ``log_every`` steps, of the loss of that step, as
    ``epoch: 2 step: 40, loss is 1.234, lr: 0.05, per step time: 110 ms, eta: 0:01:02``.

    Args:
        steps: of an epoch.
        writes: False for the cards that leave it to the first.
    """

    def __init__(
        self, out: Path, steps: int, epochs: int, options: RunOptions, *, writes: bool
    ) -> None:
        self.out, self.steps, self.epochs = out, steps, epochs
        self.options, self.writes = options, writes
        self.metrics = out / "metrics.jsonl"
        self.text = out / "train.log"
        self.first = 0
        self._events: Any = None

    def start(self) -> None:
        """Begin with nothing."""
        self.metrics.write_text("")
        self.text.write_text("")

    def go_on(self, epoch: int) -> dict[str, float]:
        """Drop what is ahead of a checkpoint of that epoch; return its COCO figures.

        Other cards may read ``metrics.jsonl`` meanwhile, and a kill loses nothing of it.

        Raises:
            CheckpointError: ``metrics.jsonl`` does not have the lines of the epochs up to there.
        """
        lines = self._lines(epoch)
        if self.writes:
            with whole(self.metrics) as draft:
                draft.write_text("".join(f"{line}\n" for line in lines))
            self._say(f"going on after epoch {epoch}")
        self.first = epoch * self.steps
        record = json.loads(lines[-1])
        return {key: value for key, value in record.items() if key not in PROGRESS}

    def _lines(self, epoch: int) -> list[str]:
        there = self.metrics.exists()
        lines = self.metrics.read_text(errors="replace").splitlines() if there else []
        for number in range(1, epoch + 1):
            try:
                found = json.loads(lines[number - 1])["epoch"]
            except (IndexError, KeyError, TypeError, json.JSONDecodeError):
                found = None
            if found != number:
                raise CheckpointError(
                    f"{self.metrics} has no line {number} of epoch {number}, which goes with the "
                    f"checkpoint of epoch {epoch}: bring it back, or give another --out"
                )
        return lines[:epoch]

    def __enter__(self) -> RunLog:
        if self.options.tensorboard:
            self._events = _event_writer(self.out / "tensorboard", self.first)
        self.bar = tqdm(
            total=self.steps * self.epochs,
            initial=self.first,
            desc="train",
            unit="step",
            disable=None if self.options.progress else True,  # None: unless it is no terminal
        )
        self.started = self.lapped = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
        if self._events is not None:
            self._events.close()

    def end_step(self, step: int, loss: float, lr: float) -> None:
        """Note a step, counted from 1."""
        epoch, before = divmod(step - 1, self.steps)
        self.bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}", refresh=False)
        self.bar.update()
        if step % self.options.log_every:
            return
        now = time.monotonic()
        laps = min(self.options.log_every, step - self.first)
        each = (now - self.started) / (step - self.first)
        left = tqdm.format_interval(each * (self.steps * self.epochs - step))
        self._say(
            f"epoch: {epoch + 1} step: {before + 1}, loss is {loss:.6g}, lr: {lr:.6g}, "
            f"per step time: {(now - self.lapped) / laps * 1e3:.0f} ms, eta: {left}"
        )
        self.lapped = now
        if self._events is not None:
            self._events.add_scalar("step/loss", loss, step)
            self._events.add_scalar("step/lr", lr, step)

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Note an epoch: the values of ``PROGRESS`` and, where it was scored, COCO's figures."""
        if not self.writes:
            return
        with self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())  # the checkpoint that comes next goes on from this line
        if "AP" not in record:
            return
        self._say(f"epoch: {record['epoch']}, AP {record['AP']:.4f}, AP50 {record['AP50']:.4f}")
        draw_curves(self.metrics, self.out / "figures" / "curves.svg")
        if self._events is not None:
            for name, value in record.items():
                if name not in PROGRESS:
                    self._events.add_scalar(f"val/{name}", value, record["epoch"])

    def _say(self, line: str) -> None:
        if not self.writes:
            return
        with self.text.open("a") as file:
            file.write(f"{line}\n")
        if self.options.progress and not sys.stderr.isatty():
            print(line, file=sys.stderr, flush=True)


def _event_writer(folder: Path, step: int) -> Any:
    return require("tensorboardX").SummaryWriter(str(folder), purge_step=step)
