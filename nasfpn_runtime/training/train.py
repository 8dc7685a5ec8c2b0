"""Train one genome by one recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime import interrupts
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.inputs import make_inputs
from nasfpn_runtime.batches.loader import Batch, TrainLoader
from nasfpn_runtime.cluster.cards import Cards, join
from nasfpn_runtime.cluster.device import check_precision, set_device
from nasfpn_runtime.data.dataset import (
    Split,
    check_same_categories,
    fault_lines,
    fault_report,
    load_split,
)
from nasfpn_runtime.errors import CheckpointError, DivergedError, RecipeError
from nasfpn_runtime.inference.description import describe
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.mindspore import NetworkEngine, compile_notice
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.convolution import use_low_memory_gradients
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.progress import say, waiting
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.scoring.evaluate import score
from nasfpn_runtime.training.finetune import Init, InitReport, freeze, start_from
from nasfpn_runtime.training.runfolder import alone_in, check_same, write_settings
from nasfpn_runtime.training.runlog import PROGRESS, RunLog, RunOptions
from nasfpn_runtime.training.schedule import learning_rates
from nasfpn_runtime.training.step import DetectorWithLoss, StepOutcome, TrainStep, use_precision
from search_space.genome import Genome

# Smallest loss scale in float16: gradients that overflow with a smaller one overflow without it.
LEAST_SCALE = 1.0


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
        metrics: COCO's metrics on the validation split after the last epoch.
        best_ap: highest AP of all evaluations.
        last: checkpoint after the last epoch.
        best: checkpoint with the highest AP.
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

    Writes ``out/config.yaml``, ``genome.json``, ``faults.txt`` (faults of the data),
    ``metrics.jsonl`` (a line for each epoch), ``train.log``, ``figures/curves.svg`` and
    ``checkpoints/{last,best}.ckpt``. If ``out`` has a ``last.ckpt`` with the same recipe, genome,
    categories and seed, the run resumes from it. On CPU a resumed run ends with the same weights
    as one that was never interrupted, because every random number is a function of (seed, epoch,
    image) or (seed, step).

    If msrun started this process as one of several, they train together: each takes its share of
    every batch, gradients are summed, running statistics of batch norm are averaged at the end of
    an epoch, and the first process writes the files.

    Args:
        device: ``CPU`` or ``Ascend``.
        options: how the run reports, and what prepares its batches; None for the defaults.
        init: weights to start from, see ``finetune.start_from``. A resumed run does not read
            them again.

    Raises:
        DataError: the dataset cannot be used.
        RecipeError: stages are frozen but no weights are given, or a batch cannot be divided
            into equal shares.
        CheckpointError: ``out`` belongs to another run or another process is training in it, or
            ``init`` does not match.
        DeviceError: the device or the other processes cannot be reached, or a worker process
            died.
        DivergedError: the loss is not finite; the batch is kept in ``out/diverged``.
    """
    options = options or RunOptions()
    set_device(device)
    check_precision(device, recipe.training.precision)
    cards = join()  # in msrun's scheduler process this does not return
    if not cards.first:
        options = replace(options, progress=False, tensorboard=False)

    with waiting(f"reading {data}", shown=options.progress):
        splits = load_split(data, "train"), load_split(data, "val")
    check_same_categories(*splits)
    if options.progress:
        _report_data(data, splits)

    origin = Origin(recipe, genome, splits[0].categories, seed, epoch=0)
    with waiting("building the network", shown=options.progress):
        net = _build(origin, device)

    with alone_in(out) if cards.first else nullcontext():
        newest = checkpoint.load_newest(out / "checkpoints" / "last.ckpt")
        _check_same_epoch(newest[1].epoch if newest else 0, out, cards)
        if newest is None:
            report = _initialise(net, origin, init)
            if options.progress and report is not None:
                say(str(report))
        run = TrainingRun(
            origin=origin, net=net, splits=splits, out=out, cards=cards, options=options
        )
        if newest is None:
            run.start()
        else:
            run.resume(*newest)
        training = recipe.training
        with run.log, run.loader:
            for epoch in range(run.origin.epoch, training.epochs):
                record = run.train_epoch(epoch)
                if _is_due(epoch, training.evaluate_every, training.epochs):
                    record |= run.evaluate()
                run.log.end_epoch(record)  # before the checkpoint: resuming drops later lines
                if _is_due(epoch, training.save_every, training.epochs):
                    run.save()

    best_ap = run.origin.best_ap
    assert best_ap is not None  # the last epoch is always evaluated
    return TrainResult(run.metrics, best_ap, run.last, run.best)


class TrainingRun:
    """All that a run needs to train, score and save an epoch.

    Args:
        origin: recipe, genome, categories and seed of the run.
        net: network with its initial weights.
        splits: data for training and for validation.
        out: the run folder.
        cards: cards that train together.
        options: how the run reports, and what prepares its batches.

    Attributes:
        origin: as given, with the number of epochs done and the best AP so far.
        metrics: COCO's metrics of the last evaluation.
        last, best: paths of the checkpoints.
        loader: training batches.
        log: records of the run. Enter both for the length of the training.
    """

    def __init__(
        self,
        *,
        origin: Origin,
        net: Network,
        splits: tuple[Split, Split],
        out: Path,
        cards: Cards,
        options: RunOptions,
    ) -> None:
        recipe, genome, training = origin.recipe, origin.genome, origin.recipe.training
        self.origin, self.net, self.splits = origin, net, splits
        self.out, self.cards, self.options = out, cards, options
        self.last = out / "checkpoints" / "last.ckpt"
        self.best = out / "checkpoints" / "best.ckpt"
        self.metrics: dict[str, float] = {}
        self.loader = TrainLoader(
            splits[0],
            recipe,
            genome.levels,
            origin.seed,
            shard=(cards.rank, cards.count),
            workers=options.workers,
        )
        self.rates = learning_rates(training, len(self.loader))
        classes = len(origin.categories) + recipe.model.resolved_dialect().background
        network = DetectorWithLoss(net, DetectionLoss(classes, recipe.loss))
        self.step = TrainStep(network, training, self.rates.tolist(), cards)
        self.notice = compile_notice(recipe, genome, training=True)
        self.compiled = False  # whether a step has run in this process
        self.val = Pictures(splits[1], recipe.image_size(genome.levels), recipe.data)
        self.detector = Detector(
            NetworkEngine(net, recipe, genome, progress=options.progress),
            describe(recipe, genome, origin.categories),
        )
        self.log = RunLog(out, len(self.loader), training.epochs, options, writes=cards.first)

    def start(self) -> None:
        """Write the files that stay the same during the run, and empty the logs."""
        if not self.cards.first:
            return
        write_settings(self.out, self.origin.recipe, self.origin.genome)
        (self.out / "faults.txt").write_text("".join(map(fault_lines, self.splits)))
        self.log.start()

    def resume(self, arrays: Mapping[str, NDArray[Any]], stored: Origin) -> None:
        """Set all state from a checkpoint of this run: weights, optimiser, epoch and logs."""
        check_same(self.out, stored, self.origin)
        checkpoint.restore(self.step.state, arrays, self.last)
        self.origin = stored
        self.metrics = self.log.resume(stored.epoch)
        if self.cards.first:
            checkpoint.drop_broken(self.last)
            if self.last.exists():
                self._keep_copy()  # in case the run was killed after the save, before the copy

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Run the steps of an epoch, counted from 0; return its values of ``runlog.PROGRESS``."""
        self.step.state.set_train()
        losses = []
        done = epoch * len(self.loader)
        with ExitStack() as compilation, closing(self.loader.epoch(epoch)) as batches:
            if not self.compiled:
                compilation.enter_context(waiting(self.notice, shown=self.options.progress))
            for step, batch in enumerate(batches, start=done):
                interrupts.check()
                outcome = self._train_step(step, batch)
                compilation.close()  # only the first step compiles
                self.compiled = True
                if outcome.finite:
                    losses.append(outcome.loss)
                self.log.end_step(step + 1, outcome.loss, float(self.rates[step]))
        self.step.share_statistics()
        self.origin = replace(self.origin, epoch=epoch + 1)
        done += len(self.loader)
        loss = sum(losses) / len(losses) if losses else math.nan
        values = (epoch + 1, done, loss, float(self.rates[done - 1]))
        return dict(zip(PROGRESS, values, strict=True))

    def _train_step(self, step: int, batch: Batch) -> StepOutcome:
        """Update the weights by a batch.

        Raises:
            DivergedError: the loss is not finite, or float16's scale has become too small.
        """
        origin = self.origin
        inputs = make_inputs(batch, origin.recipe, self.cards, origin.seed, step, self.rates.size)
        outcome = self.step(*inputs)
        if not math.isfinite(outcome.loss) or self.step.scale < LEAST_SCALE:
            raise DivergedError(
                f"the loss diverged, got {outcome.loss} in step {step + 1}; a lower training.lr or "
                f"a training.clip may help; the batch is kept in {self._keep_batch(step, batch)}"
            )
        return outcome

    def _keep_batch(self, step: int, batch: Batch) -> Path:
        """Save the batch of a step that diverged; return the path of the file."""
        path = self.out / "diverged" / f"batch-{step + 1}-rank{self.cards.rank}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **asdict(batch))
        return path

    def evaluate(self) -> dict[str, float]:
        """Score the validation split; save the weights if they are the best so far."""
        self.net.set_train(False)
        with self.step.averaged():
            self.metrics = score(
                self.detector, self.val, cards=self.cards, progress=self.options.progress
            )
            if self.origin.best_ap is None or self.metrics["AP"] > self.origin.best_ap:
                self.origin = replace(self.origin, best_ap=self.metrics["AP"])
                if self.cards.first:
                    checkpoint.save(self.best, self.net, self.origin)
        return self.metrics

    def save(self) -> None:
        """Save all state that a run resumes from; keep as many copies as the recipe asks for."""
        if not self.cards.first:
            return
        checkpoint.save(self.last, self.step.state, self.origin, keep=True)
        self._keep_copy()

    def _keep_copy(self) -> None:
        recipe, epoch = self.origin.recipe, self.origin.epoch
        if recipe.training.keep:
            name = f"{recipe.name}-{epoch}_{epoch * len(self.loader)}.ckpt"
            checkpoint.keep_copy(self.last, name, recipe.training.keep)


def _report_data(data: Path, splits: tuple[Split, Split]) -> None:
    """Report the size of a dataset and its faults."""
    train, val = splits
    say(
        f"{data}: {len(train.with_boxes)} images to train on, {len(val.samples)} to score, "
        f"{len(train.categories)} categories"
    )
    for split in splits:
        if split.faults:
            say(f"faults in {split.annotation_file}:\n{fault_report(split.faults)}")


def _build(origin: Origin, device: str) -> Network:
    """Return the network of a run, prepared for training, without its initial weights."""
    recipe, training = origin.recipe, origin.recipe.training
    net = build_network(
        recipe,
        origin.genome,
        len(origin.categories),
        supervised=training.deep_supervision,
        drop_block=training.dropblock.block if training.dropblock else None,
    )
    freeze(net.backbone, training.freeze_stages)
    use_precision(net, training.precision)
    if device == "CPU" and training.precision == "float32":
        use_low_memory_gradients(net, recipe.image_size(origin.genome.levels))
    return net


def _check_same_epoch(epoch: int, out: Path, cards: Cards) -> None:
    """Check that all cards resume from the same epoch."""
    epochs = cards.gather(np.array([[epoch]], np.float32))[:, 0]
    if (epochs != epoch).any():
        raise CheckpointError(
            f"all cards must resume from the same epoch, got epochs "
            f"{', '.join(str(int(e)) for e in epochs)} (at {out}); all servers must share this "
            "folder"
        )


def _initialise(net: Network, origin: Origin, init: Init | None) -> InitReport | None:
    """Set the weights that a new run starts from; return what was loaded if ``init`` is given."""
    recipe = origin.recipe
    if recipe.training.freeze_stages and init is None:
        raise RecipeError(
            "training.freeze_stages must be 0 unless weights are loaded, got "
            f"{recipe.training.freeze_stages}; give --init CKPT"
        )
    initialise(net, origin.seed, recipe.model.resolved_dialect().init)
    if init is None:
        return None
    return start_from(net, origin.genome, init, origin.categories)


def _is_due(epoch: int, every: int, epochs: int) -> bool:
    """Return whether something done every so many epochs, and after the last, is due."""
    return epoch + 1 == epochs or (every > 0 and (epoch + 1) % every == 0)
