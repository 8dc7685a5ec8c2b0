"""Train one genome by one recipe."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from nasfpn_runtime import checkpoint, device
from nasfpn_runtime.checkpoint import Origin
from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.coco import CocoSplit, check_same_categories, fault_report, load_split
from nasfpn_runtime.data.loader import TrainLoader
from nasfpn_runtime.errors import CheckpointError, DivergedError
from nasfpn_runtime.evaluate import build, score
from nasfpn_runtime.init import initialise
from nasfpn_runtime.losses import DetectionLoss
from nasfpn_runtime.schedule import learning_rates
from nasfpn_runtime.step import DetectorWithLoss, TrainStep, as_tensor
from search_space.codec import save_genome
from search_space.genome import Genome


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        metrics: COCO's figures on the validation split after the last epoch.
        best_ap: highest AP of any evaluation.
        last, best: checkpoints after the last epoch and of that AP.
        seconds: of this call.
    """

    metrics: dict[str, float]
    best_ap: float
    last: Path
    best: Path
    seconds: float


def train(
    recipe: Recipe,
    genome: Genome,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    target: str = "CPU",
    progress: bool = True,
) -> TrainResult:
    """Train on the ``train`` split of ``data`` and score on its ``val`` split.

    Writes ``out/config.yaml``, ``genome.json``, ``faults.txt`` (what is wrong with the data),
    ``metrics.jsonl`` (a line per epoch) and ``checkpoints/{last,best}.ckpt``. A run that
    finds a ``last.ckpt`` of its own recipe, genome and seed in ``out`` goes on from there;
    on CPU it ends with the same weights as a run that was never interrupted, because every
    random number is a function of (seed, epoch, picture).

    Args:
        target: ``CPU`` or ``Ascend``.
        progress: show progress bars on standard error.

    Raises:
        DataError: the data set cannot be used.
        CheckpointError: ``out`` holds a run of another recipe, genome, data or seed.
        DivergedError: the loss is no longer a number.
    """
    started = time.monotonic()
    device.set_device(target)
    splits = load_split(data, "train"), load_split(data, "val")
    check_same_categories(*splits)
    if progress:
        _report_faults(splits)
    run = _Run(recipe, genome, splits[0], splits[1], out, seed)
    with _bar(run, progress) as bar:
        for epoch in range(run.origin.epoch, recipe.training.epochs):
            run.train_epoch(epoch, bar)
            if _due(epoch, recipe.training.evaluate_every, recipe.training.epochs):
                run.evaluate(progress)
            if _due(epoch, recipe.training.save_every, recipe.training.epochs):
                checkpoint.save(run.last, run.step, run.origin)
            run.log()
    metrics = run.metrics or json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    best_ap = run.origin.best_ap
    assert best_ap is not None  # the last epoch is always evaluated
    return TrainResult(metrics, best_ap, run.last, run.best, time.monotonic() - started)


class _Run:
    """The state of one run; ``origin`` says how far it is."""

    def __init__(
        self,
        recipe: Recipe,
        genome: Genome,
        train_split: CocoSplit,
        val_split: CocoSplit,
        out: Path,
        seed: int,
    ) -> None:
        self.recipe, self.genome, self.val_split, self.out = recipe, genome, val_split, out
        self.last = out / "checkpoints" / "last.ckpt"
        self.best = out / "checkpoints" / "best.ckpt"
        self.metrics: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        categories = train_split.categories
        self.origin = Origin(recipe, genome, categories, seed, epoch=0)
        semantics = recipe.model.resolved_semantics()
        self.loader = TrainLoader(
            train_split,
            recipe.data,
            recipe.image_size(genome.levels),
            recipe.anchor_boxes(genome.levels),
            recipe.matching,
            int(semantics.background),
            recipe.training.batch,
            seed,
        )
        self.net = build(recipe, genome, len(categories))
        loss = recipe.loss
        self.rates = learning_rates(recipe.training, len(self.loader))
        self.step = TrainStep(
            DetectorWithLoss(
                self.net,
                DetectionLoss(
                    len(categories) + semantics.background,
                    loss.alpha,
                    loss.gamma,
                    loss.huber_delta,
                    loss.box_weight,
                ),
            ),
            recipe.training,
            self.rates.tolist(),
        )
        if self.last.exists():
            self._resume()
        else:
            self._start()

    def _start(self) -> None:
        initialise(self.net, self.origin.seed)
        self.out.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_dump(self.recipe.to_dict(), sort_keys=False)
        (self.out / "config.yaml").write_text(config)
        save_genome(self.genome, self.out / "genome.json")
        (self.out / "faults.txt").write_text(
            "".join(
                f"{split.annotation_file}: {fault.kind}: {fault.where}: {fault.action}\n"
                for split in (self.loader.pictures.split, self.val_split)
                for fault in split.faults
            )
        )
        (self.out / "metrics.jsonl").write_text("")

    def _resume(self) -> None:
        arrays, found = checkpoint.load(self.last)
        for name in ("recipe", "genome", "categories", "seed"):
            if getattr(found, name) != getattr(self.origin, name):
                raise CheckpointError(
                    f"{self.out} holds a run of another {name}: give the settings it was started "
                    f"with (config.yaml, genome.json) to go on, or another --out"
                )
        checkpoint.restore(self.step, arrays, self.last)
        self.origin = found
        log = self.out / "metrics.jsonl"
        lines = log.read_text().splitlines()
        log.write_text("".join(f"{line}\n" for line in lines[: found.epoch]))

    def train_epoch(self, epoch: int, bar: tqdm[Any]) -> None:
        """Run the steps of one epoch, counted from 0."""
        started = time.monotonic()
        self.step.set_train()
        total = 0.0
        for batch in self.loader.epoch(epoch):
            loss = float(
                self.step(
                    as_tensor(batch.images), as_tensor(batch.labels), as_tensor(batch.deltas)
                ).asnumpy()
            )
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} in epoch {epoch + 1}: a lower training.lr or a "
                    f"training.clip may help"
                )
            total += loss
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}", refresh=False)
            bar.update()
        steps = (epoch + 1) * len(self.loader)
        self.origin = replace(self.origin, epoch=epoch + 1)
        self.record = {
            "epoch": epoch + 1,
            "step": steps,
            "loss": total / len(self.loader),
            "lr": float(self.rates[steps - 1]),
            "seconds": round(time.monotonic() - started, 3),
        }

    def evaluate(self, progress: bool) -> None:
        """Score the validation split; keep the weights if they are the best so far."""
        self.metrics = score(self.net, self.recipe, self.genome, self.val_split, progress=progress)
        self.record |= self.metrics
        if self.origin.best_ap is None or self.metrics["AP"] > self.origin.best_ap:
            self.origin = replace(self.origin, best_ap=self.metrics["AP"])
            checkpoint.save(self.best, self.net, self.origin)

    def log(self) -> None:
        """Append the epoch's line to ``metrics.jsonl``."""
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(self.record) + "\n")


def _report_faults(splits: tuple[CocoSplit, CocoSplit]) -> None:
    for split in splits:
        if split.faults:
            report = fault_report(split.faults)
            tqdm.write(f"faults in {split.annotation_file}:\n{report}", file=sys.stderr)


def _due(epoch: int, every: int, epochs: int) -> bool:
    return epoch + 1 == epochs or (every > 0 and (epoch + 1) % every == 0)


@contextmanager
def _bar(run: _Run, progress: bool) -> Iterator[tqdm[Any]]:
    steps = len(run.loader)
    with tqdm(
        total=steps * run.recipe.training.epochs,
        initial=steps * run.origin.epoch,
        desc="train",
        unit="step",
        disable=not progress,
    ) as bar:
        yield bar
