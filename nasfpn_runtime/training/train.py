"""Train one genome by one recipe."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nasfpn_runtime import interrupts
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.inputs import check_shares, make_inputs
from nasfpn_runtime.batches.loader import Batch, TrainLoader
from nasfpn_runtime.cluster.cards import Cards, join
from nasfpn_runtime.cluster.device import check_precision, set_device
from nasfpn_runtime.data.dataset import Split, check_same_categories, fault_report, load_split
from nasfpn_runtime.errors import CheckpointError, DivergedError, RecipeError
from nasfpn_runtime.inference.description import describe
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.mindspore import Trained
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.convolution import spare_memory
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.scoring.evaluate import score
from nasfpn_runtime.training.finetune import Init, Started, freeze, start_from
from nasfpn_runtime.training.runfolder import alone_in, check_same, write_settings
from nasfpn_runtime.training.runlog import PROGRESS, RunLog, RunOptions
from nasfpn_runtime.training.schedule import learning_rates
from nasfpn_runtime.training.step import DetectorWithLoss, StepOutcome, TrainStep, use_precision
from search_space.genome import Genome

LEAST_SCALE = 1.0  # of losses in float16: gradients that overflow below it do so by themselves


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
    device: str = "CPU",
    options: RunOptions | None = None,
    init: Init | None = None,
) -> TrainResult:
    """Train on the ``train`` split of ``data`` and score on its ``val`` split.

    Writes ``out/config.yaml``, ``genome.json``, ``faults.txt`` (what is wrong with the data),
    ``metrics.jsonl`` (a line per epoch), ``train.log``, ``figures/curves.svg`` and
    ``checkpoints/{last,best}.ckpt``. A run that finds a ``last.ckpt`` of its own recipe,
    genome and seed in ``out`` goes on from there; on CPU it ends with the same weights as a
    run that was never interrupted, because every random number is a function of (seed,
    epoch, picture) or (seed, step).

    Started by msrun as one of several processes it trains with the others: each takes its
    share of every batch, gradients are added up, running statistics of batch norm are
    averaged at the end of an epoch, and the first process writes the files.

    Args:
        device: ``CPU`` or ``Ascend``.
        options: how the run is watched; by its defaults if None.
        init: weights to start from (see ``finetune.start_from``); a run that goes on does
            not read them again.

    Raises:
        DataError: the data set cannot be used.
        RecipeError: stages are frozen that would have random weights, or a batch cannot be
            split into as many shares.
        CheckpointError: ``out`` holds a run of another recipe, genome, data or seed, or
            another process trains in it, or ``init`` does not fit.
        DeviceError: the device, or the other processes, cannot be reached, or one that prepares
            pictures died.
        DivergedError: the loss is no longer a number; ``out/diverged`` has the batch.
    """
    options = options or RunOptions()
    set_device(device)
    check_precision(device, recipe.training.precision)
    cards = join()  # in msrun's scheduler this does not return
    check_shares(recipe.training, cards.count)
    splits = load_split(data, "train"), load_split(data, "val")
    check_same_categories(*splits)
    if not cards.first:
        options = replace(options, progress=False, tensorboard=False)
    if options.progress:
        _report_faults(splits)
    run = _Run(recipe, genome, splits, out, seed, cards, options, device)
    with alone_in(out) if cards.first else nullcontext():
        started = run.begin(init)
        if options.progress and started is not None:
            tqdm.write(started.report(), file=sys.stderr)
        run.go()
    best_ap = run.origin.best_ap
    assert best_ap is not None  # the last epoch is always evaluated
    return TrainResult(run.metrics, best_ap, run.last, run.best)


class _Run:
    """The state of one run; ``origin`` says how far it is."""

    def __init__(
        self,
        recipe: Recipe,
        genome: Genome,
        splits: tuple[Split, Split],
        out: Path,
        seed: int,
        cards: Cards,
        options: RunOptions,
        device: str,
    ) -> None:
        self.recipe, self.genome, self.out = recipe, genome, out
        self.cards, self.options = cards, options
        self.last = out / "checkpoints" / "last.ckpt"
        self.best = out / "checkpoints" / "best.ckpt"
        self.metrics: dict[str, float] = {}
        self.record: dict[str, Any] = {}
        training, categories = recipe.training, splits[0].categories
        self.origin = Origin(recipe, genome, categories, seed, epoch=0)
        dialect = recipe.model.resolved_dialect()
        self.val = Pictures(splits[1], recipe.image_size(genome.levels), recipe.data)
        self.loader = TrainLoader(
            splits[0],
            recipe,
            genome.levels,
            seed,
            shard=(cards.rank, cards.count),
            workers=options.workers,
        )
        self.net = build_network(
            recipe,
            genome,
            len(categories),
            supervised=training.deep_supervision,
            drop_block=training.dropblock.block if training.dropblock else None,
        )
        freeze(self.net.backbone, training.freeze_stages)
        use_precision(self.net, training.precision)
        if device == "CPU" and training.precision == "float32":
            spare_memory(self.net, self.val.size)
        self.loss = DetectionLoss(len(categories) + dialect.background, recipe.loss)
        self.rates = learning_rates(training, len(self.loader))
        self.log = RunLog(out, len(self.loader), training.epochs, options, writes=cards.first)

    def begin(self, init: Init | None) -> Started | None:
        """Go on from ``last.ckpt``, or start anew; return what ``init`` gave if it was read."""
        newest = checkpoint.load_newest(self.last)
        self._check_agreement(newest[1].epoch if newest else 0)
        started = None if newest else self._initialise(init)
        network = DetectorWithLoss(self.net, self.loss)
        self.step = TrainStep(network, self.recipe.training, self.rates.tolist(), self.cards)
        if newest:
            self._resume(*newest)
        elif self.cards.first:
            self._write_settings()
        return started

    def _check_agreement(self, epoch: int) -> None:
        epochs = self.cards.gather(np.array([[epoch]], np.float32))
        if (epochs != epoch).any():
            raise CheckpointError(
                f"all cards go on from the same {self.last}, got epochs "
                f"{', '.join(str(int(e)) for e in epochs[:, 0])}: is {self.out} one folder?"
            )

    def _initialise(self, init: Init | None) -> Started | None:
        if self.recipe.training.freeze_stages and init is None:
            raise RecipeError(
                "training.freeze_stages keeps weights that were loaded: give --init CKPT or "
                "set it to 0"
            )
        initialise(self.net, self.origin.seed, self.recipe.model.resolved_dialect().init)
        if init is None:
            return None
        return start_from(self.net, self.genome, init, self.origin.categories)

    def _write_settings(self) -> None:
        """Write what stays as it is during the run."""
        write_settings(self.out, self.recipe, self.genome)
        (self.out / "faults.txt").write_text(
            "".join(
                f"{split.annotation_file}: {fault.kind}: {fault.where}: {fault.action}\n"
                for split in (self.loader.split, self.val.split)
                for fault in split.faults
            )
        )
        self.log.start()

    def _resume(self, arrays: Mapping[str, NDArray[Any]], found: Origin) -> None:
        check_same(self.out, found, self.origin)
        checkpoint.restore(self.step.state, arrays, self.last)
        self.origin = found
        self.metrics = self.log.go_on(found.epoch)
        if self.cards.first:
            checkpoint.drop_broken(self.last)
            if self.last.exists():
                self._keep_copy()  # in case the run was killed between the two

    def go(self) -> None:
        """Train to the last epoch."""
        training = self.recipe.training
        with self.log, self.loader:
            for epoch in range(self.origin.epoch, training.epochs):
                self.train_epoch(epoch)
                if _due(epoch, training.evaluate_every, training.epochs):
                    self.evaluate()
                # Before the checkpoint: resuming drops what is ahead.
                self.log.end_epoch(self.record)
                if _due(epoch, training.save_every, training.epochs):
                    self.save()

    def train_epoch(self, epoch: int) -> None:
        """Run the steps of one epoch, counted from 0."""
        self.step.state.set_train()
        losses = []
        done = epoch * len(self.loader)
        with closing(self.loader.epoch(epoch)) as batches:
            for step, batch in enumerate(batches, start=done):
                interrupts.check()
                outcome = self._train_step(step, batch)
                if outcome.finite:
                    losses.append(outcome.loss)
                self.log.end_step(step + 1, outcome.loss, float(self.rates[step]))
        self.step.share_statistics()
        self.origin = replace(self.origin, epoch=epoch + 1)
        done += len(self.loader)
        loss = sum(losses) / len(losses) if losses else math.nan
        values = (epoch + 1, done, loss, float(self.rates[done - 1]))
        self.record = dict(zip(PROGRESS, values, strict=True))

    def _train_step(self, step: int, batch: Batch) -> StepOutcome:
        inputs = make_inputs(
            batch, self.recipe, self.cards, self.origin.seed, step, self.rates.size
        )
        outcome = self.step(*inputs)
        if not math.isfinite(outcome.loss) or self.step.scale < LEAST_SCALE:
            raise DivergedError(
                f"the loss is {outcome.loss} in step {step + 1}: a lower training.lr or a "
                f"training.clip may help; {self._keep_batch(step, batch)} has the batch"
            )
        return outcome

    def _keep_batch(self, step: int, batch: Batch) -> Path:
        path = self.out / "diverged" / f"batch-{step + 1}-rank{self.cards.rank}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **asdict(batch))
        return path

    def evaluate(self) -> None:
        """Score the validation split; keep the weights if they are the best so far."""
        with self.step.averaged():
            trained = Trained(self.net, self.recipe, self.genome)
            about = describe(self.recipe, self.genome, self.origin.categories)
            self.metrics = score(
                Detector(trained, about), self.val, cards=self.cards, progress=self.options.progress
            )
            self.record |= self.metrics
            if self.origin.best_ap is None or self.metrics["AP"] > self.origin.best_ap:
                self.origin = replace(self.origin, best_ap=self.metrics["AP"])
                if self.cards.first:
                    checkpoint.save(self.best, self.net, self.origin)

    def save(self) -> None:
        """Save all that the run goes on from; keep as many earlier ones as the recipe says."""
        if not self.cards.first:
            return
        checkpoint.save(self.last, self.step.state, self.origin, keep=True)
        self._keep_copy()

    def _keep_copy(self) -> None:
        if count := self.recipe.training.keep:
            step = self.origin.epoch * len(self.loader)
            name = f"{self.recipe.name}-{self.origin.epoch}_{step}.ckpt"
            checkpoint.keep_copy(self.last, name, count)


def _report_faults(splits: tuple[Split, Split]) -> None:
    for split in splits:
        if split.faults:
            report = fault_report(split.faults)
            tqdm.write(f"faults in {split.annotation_file}:\n{report}", file=sys.stderr)


def _due(epoch: int, every: int, epochs: int) -> bool:
    return epoch + 1 == epochs or (every > 0 and (epoch + 1) % every == 0)
