"""Train one genome by one recipe."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from nasfpn_runtime import checkpoint, device
from nasfpn_runtime.checkpoint import Origin
from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data.coco import CocoSplit, check_same_categories, fault_report, load_split
from nasfpn_runtime.data.loader import Pictures, TrainLoader
from nasfpn_runtime.errors import CheckpointError, DivergedError, RecipeError
from nasfpn_runtime.evaluate import score
from nasfpn_runtime.finetune import Init, Started, freeze, start_from
from nasfpn_runtime.init import initialise
from nasfpn_runtime.losses import DetectionLoss
from nasfpn_runtime.networks import build_detector
from nasfpn_runtime.schedule import learning_rates
from nasfpn_runtime.step import DetectorWithLoss, TrainStep, as_tensor
from search_space.codec import save_genome
from search_space.genome import Genome

PROGRESS = ("epoch", "step", "loss", "lr", "seconds")  # of a line of metrics.jsonl


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        metrics: COCO's figures on the validation split after the last epoch.
        best_ap: highest AP of any evaluation.
        last, best: checkpoints after the last epoch and of that AP.
    """

    metrics: dict[str, float]
    best_ap: float
    last: Path
    best: Path


def train(
    recipe: Recipe,
    genome: Genome,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    target: str = "CPU",
    progress: bool = True,
    init: Init | None = None,
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
        init: weights to start from (see ``finetune.start_from``); a run that goes on does
            not read them again.

    Raises:
        DataError: the data set cannot be used.
        RecipeError: stages are frozen that would have random weights.
        CheckpointError: ``out`` holds a run of another recipe, genome, data or seed, or
            ``init`` does not fit.
        DivergedError: the loss is no longer a number.
    """
    device.set_device(target)
    splits = load_split(data, "train"), load_split(data, "val")
    check_same_categories(*splits)
    if progress:
        _report_faults(splits)
    run = _Run(recipe, genome, splits[0], splits[1], out, seed)
    started = run.begin(init)
    if progress and started is not None:
        tqdm.write(started.report(), file=sys.stderr)
    with _bar(run, progress) as bar:
        for epoch in range(run.origin.epoch, recipe.training.epochs):
            run.train_epoch(epoch, bar)
            if _due(epoch, recipe.training.evaluate_every, recipe.training.epochs):
                run.evaluate(progress)
            run.log()  # before the checkpoint: resuming drops lines it is behind of
            if _due(epoch, recipe.training.save_every, recipe.training.epochs):
                checkpoint.save(run.last, run.step, run.origin, keep=True)
    best_ap = run.origin.best_ap
    assert best_ap is not None  # the last epoch is always evaluated
    return TrainResult(run.metrics, best_ap, run.last, run.best)


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
        self.recipe, self.genome, self.out = recipe, genome, out
        self.last = out / "checkpoints" / "last.ckpt"
        self.best = out / "checkpoints" / "best.ckpt"
        self.metrics: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        categories = train_split.categories
        self.origin = Origin(recipe, genome, categories, seed, epoch=0)
        semantics = recipe.model.resolved_semantics()
        self.val = Pictures(val_split, recipe.image_size(genome.levels), recipe.data)
        self.loader = TrainLoader(train_split, recipe, genome.levels, seed)
        self.net = build_detector(recipe, genome, len(categories))
        freeze(self.net.backbone, recipe.training.freeze_stages)
        self.rates = learning_rates(recipe.training, len(self.loader))
        self.step = TrainStep(
            DetectorWithLoss(
                self.net,
                DetectionLoss(len(categories) + semantics.background, recipe.loss),
            ),
            recipe.training,
            self.rates.tolist(),
        )

    def begin(self, init: Init | None) -> Started | None:
        """Go on from ``last.ckpt``, or start anew; return what ``init`` gave if it was read."""
        if newest := checkpoint.load_newest(self.last):
            self._resume(*newest)
            return None
        if self.recipe.training.freeze_stages and init is None:
            raise RecipeError(
                "training.freeze_stages keeps weights that were loaded: give --init CKPT or "
                "set it to 0"
            )
        initialise(self.net, self.origin.seed, self.recipe.model.resolved_semantics().init)
        started = start_from(self.net, self.genome, init) if init else None
        self._write_settings()
        return started

    def _write_settings(self) -> None:
        """Write what stays as it is during the run."""
        self.out.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_dump(self.recipe.to_dict(), sort_keys=False)
        (self.out / "config.yaml").write_text(config)
        save_genome(self.genome, self.out / "genome.json")
        (self.out / "faults.txt").write_text(
            "".join(
                f"{split.annotation_file}: {fault.kind}: {fault.where}: {fault.action}\n"
                for split in (self.loader.pictures.split, self.val.split)
                for fault in split.faults
            )
        )
        (self.out / "metrics.jsonl").write_text("")

    def _resume(self, arrays: Mapping[str, NDArray[Any]], found: Origin) -> None:
        for name in ("recipe", "genome", "categories", "seed"):
            if getattr(found, name) != getattr(self.origin, name):
                raise CheckpointError(
                    f"{self.out} holds a run of another {name}: give the settings it was started "
                    f"with (config.yaml, genome.json) to go on, or another --out"
                )
        checkpoint.restore(self.step, arrays, self.last)
        self.origin = found
        log = self.out / "metrics.jsonl"
        lines = log.read_text().splitlines()[: found.epoch]
        log.write_text("".join(f"{line}\n" for line in lines))
        self.metrics = {k: v for k, v in json.loads(lines[-1]).items() if k not in PROGRESS}

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
        loss = total / len(self.loader)
        seconds = round(time.monotonic() - started, 3)
        values = (epoch + 1, steps, loss, float(self.rates[steps - 1]), seconds)
        self.record = dict(zip(PROGRESS, values, strict=True))

    def evaluate(self, progress: bool) -> None:
        """Score the validation split; keep the weights if they are the best so far."""
        self.metrics = score(self.net, self.recipe, self.genome, self.val, progress=progress)
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
