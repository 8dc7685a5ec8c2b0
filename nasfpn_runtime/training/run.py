"""One training run: its steps, evaluations, checkpoints and warnings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime import interrupts
from nasfpn_runtime.batches.cache import Pictures
from nasfpn_runtime.batches.inputs import make_inputs
from nasfpn_runtime.batches.loader import Batch, TrainLoader
from nasfpn_runtime.cluster.cards import Cards
from nasfpn_runtime.data.dataset import Split, fault_lines
from nasfpn_runtime.errors import CheckpointError, DivergedError
from nasfpn_runtime.files import atomic_write
from nasfpn_runtime.inference.description import describe
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.mindspore import NetworkEngine, compile_notice
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.checkpoint import Origin, PartialEpoch
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.progress import say, waiting
from nasfpn_runtime.scoring.coco_eval import doubts
from nasfpn_runtime.scoring.evaluate import score
from nasfpn_runtime.training.finetune import shortened
from nasfpn_runtime.training.runfolder import check_same, restore_settings, write_settings
from nasfpn_runtime.training.runlog import PROGRESS, RunLog, RunOptions
from nasfpn_runtime.training.schedule import learning_rates
from nasfpn_runtime.training.step import DetectorWithLoss, StepOutcome, TrainStep

# Smallest loss scale in float16: gradients that overflow with a smaller one overflow without it.
LEAST_SCALE = 1.0
# Entry of a checkpoint saved within an epoch: the running statistics of batch norm of each card,
# which are averaged at the end of the epoch only.
OF_CARDS = "statistics_of_cards"
REMEDY = "a lower training.lr or a training.clip may help"


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
        done, losses: number of steps done in the next epoch, and losses of those of them that
            updated the weights.
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
        self.done = 0
        self.losses: list[float] = []
        self._between_steps = True  # whether all state is that after the steps counted
        self._stopping = False  # whether all cards stop after this step
        self._saved: tuple[int, int] | None = None  # position of the last checkpoint
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
        write_settings(self.out, self.origin)
        with atomic_write(self.out / "faults.txt") as draft:
            draft.write_text(
                "".join(map(fault_lines, self.splits)), errors="backslashreplace", encoding="utf-8"
            )
        self.log.start()

    def resume(self, arrays: Mapping[str, NDArray[Any]], stored: Origin) -> None:
        """Set all state from a checkpoint of this run: weights, optimiser, epoch and logs."""
        check_same(self.out, stored, self.origin)
        # It is set before each update; earlier versions saved the rates of all steps.
        rate = {"learning_rate": np.zeros(())}
        checkpoint.restore(self.step.state, {**arrays, **rate}, self.last)
        if OF_CARDS in arrays:
            self.step.restore_statistics(arrays[OF_CARDS])
        self.origin = replace(stored, partial=None)
        if self.cards.first:
            for name in restore_settings(self.out, self.origin):
                self.log.warn(f"{self.out / name} was missing or not of this run: written again")
        self._saved = stored.position
        if stored.partial is not None:
            self.done, self.losses = stored.partial.steps, list(stored.partial.losses)
        self.metrics = self.log.resume(*stored.position, metrics=stored.metrics)
        if self.cards.first:
            checkpoint.drop_broken(self.last)
            if stored.best_ap is not None and not self.best.exists():
                self.log.warn(
                    f"{self.best} is missing and cannot be made again: the weights with AP "
                    f"{stored.best_ap:.4f} are lost"
                )
            if self.last.exists() and stored.partial is None:
                self._keep_copy()  # in case the run was killed after the save, before the copy

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Run the steps left of an epoch, counted from 0; return its values of ``PROGRESS``."""
        self.step.state.set_train()
        first, last = epoch * len(self.loader), (epoch + 1) * len(self.loader)
        with ExitStack() as compilation, closing(self.loader.epoch(epoch, self.done)) as batches:
            if not self.compiled and first + self.done < last:
                compilation.enter_context(waiting(self.notice, shown=self.options.progress))
            for step, batch in enumerate(batches, start=first + self.done):
                interrupts.check()
                outcome = self._train_step(step, batch)
                compilation.close()  # only the first step compiles
                if not self.compiled:
                    self.cards.can_be_asked_to_stop()
                self.compiled = True
                self.log.end_step(step + 1, outcome.loss, float(self.rates[step]))
        self.step.share_statistics()
        loss = sum(self.losses) / len(self.losses) if self.losses else None
        if loss is None:
            self.log.warn(
                f"no step of epoch {epoch + 1} updated the weights, because all gradients "
                f"overflowed; the loss scale is {self.step.scale:g} now"
            )
        values = (epoch + 1, last, loss, float(self.rates[last - 1]))
        return dict(zip(PROGRESS, values, strict=True))

    def _train_step(self, step: int, batch: Batch) -> StepOutcome:
        """Update the weights by a batch.

        Raises:
            DivergedError: the loss is not finite, or float16's scale has become too small.
        """
        origin = self.origin
        inputs = make_inputs(batch, origin.recipe, self.cards, origin.seed, step, self.rates.size)
        # The first step may be interrupted, because compiling can take minutes.
        with interrupts.deferred() if self.compiled else nullcontext():
            self._between_steps = False
            outcome = self.step(*inputs)
            if not math.isfinite(outcome.loss) or self.step.scale < LEAST_SCALE:
                raise DivergedError(
                    f"the loss diverged, got {outcome.loss} in step {step + 1}; {REMEDY}; the "
                    f"batch is kept in {self._keep_batch(step, batch)}"
                )
            self.done += 1
            if outcome.finite:
                self.losses.append(outcome.loss)
            self._between_steps = True
        if outcome.stop:
            self._stopping = True
            raise KeyboardInterrupt
        return outcome

    def _keep_batch(self, step: int, batch: Batch) -> Path:
        """Save the batch of a step that diverged; return the path of the file."""
        path = self.out / "diverged" / f"batch-{step + 1}-rank{self.cards.rank}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **asdict(batch))
        return path

    def evaluate(self) -> dict[str, float]:
        """Score the validation split; save the weights if they are the best so far.

        Raises:
            DivergedError: the state of the run has a number that is not finite.
        """
        with _with_remedy():
            checkpoint.check_finite(self.step.state, self.last)
        self.net.set_train(False)
        # After an interrupt, the batch or the compilation under way ends before the state is saved.
        with interrupts.allowing(interrupts.SAVING), self.step.averaged():
            self.metrics = score(
                self.detector, self.val, cards=self.cards, progress=self.options.progress
            )
            if self.origin.best_ap is None or self.metrics["AP"] > self.origin.best_ap:
                origin = replace(self.origin, best_ap=self.metrics["AP"])
                if self.cards.first:
                    ended = replace(origin, epoch=origin.epoch + 1, metrics=self.metrics)
                    checkpoint.save(self.best, self.net, ended)
                self.origin = origin  # after the save, so that it is repeated if interrupted
        return self.metrics

    def end_epoch(self, record: Mapping[str, Any]) -> None:
        """Log an epoch, and count it as done."""
        self.log.end_epoch(record)  # before the checkpoint: resuming drops later lines
        with interrupts.deferred():
            metrics = self.metrics if "AP" in record else None
            self.origin = replace(self.origin, epoch=self.origin.epoch + 1, metrics=metrics)
            self.done, self.losses = 0, []

    def save(self) -> None:
        """Save all state that a run resumes from; keep as many copies as the recipe asks for.

        Raises:
            DivergedError: the state has a number that is not finite. Nothing is saved.
        """
        self._save(self.origin)
        if self.cards.first:
            self._keep_copy()

    def _save(self, origin: Origin, more: Mapping[str, NDArray[Any]] | None = None) -> None:
        if self.cards.first:
            with _with_remedy():
                checkpoint.save(self.last, self.step.state, origin, keep=True, more=more)
        self._saved = origin.position

    @contextmanager
    def saved_if_stopped(self) -> Iterator[None]:
        """Save the state if the block is interrupted or fails, and report what is saved.

        A step is always completed before, except the first one, which compiles. Nothing is saved
        if the state is not that after a step, as when a loss diverged.
        """
        try:
            yield
        except CheckpointError:  # could not be written
            raise
        except BaseException as error:
            with interrupts.allowing(interrupts.SAVING):
                # Alone, a card does not know the statistics of batch norm of the others.
                together = self.cards.count == 1 or self._stopping
                if self._between_steps and together and not isinstance(error, DivergedError):
                    self._save_now()
                if self.options.progress:
                    saved = self._saved and self.log.describe(*self._saved)
                    say(
                        f"the last checkpoint is after {saved}: {self.last}"
                        if saved
                        else f"there is no checkpoint in {self.out}: the run has to start again"
                    )
            if self._stopping:
                self.cards.sum([0.0])  # wait for the first card: msrun kills all if one ends
                raise SystemExit(128 + interrupts.received()) from None
            raise

    def _save_now(self) -> None:
        """Save all state, also within an epoch, unless the last checkpoint has it."""
        origin = self.origin
        if self.done:
            origin = replace(origin, partial=PartialEpoch(self.done, tuple(self.losses)))
        if origin.position in (self._saved, (0, 0)):
            return
        self.step.put_weights_back()
        several = self.cards.count > 1
        more = {OF_CARDS: self.step.gather_statistics()} if several else {}
        try:
            self._save(origin, more)
        except (CheckpointError, DivergedError) as error:
            say(str(error))

    def warn_about_data(self) -> None:
        """Warn if the data are too few for the recipe, or lack boxes of a category."""
        loader = self.loader
        for what, images, batch in (
            ("with", len(loader.indices), loader.batch - loader.negatives),
            ("without", len(loader.backgrounds), loader.negatives),
        ):
            if images < batch:
                self.log.warn(
                    f"the train split has fewer images {what} boxes than a batch, {images} for "
                    f"{batch}: each batch repeats images"
                )
        for name, split in zip(("train", "val"), self.splits, strict=True):
            if missing := split.without_boxes:
                self.log.warn(f"the {name} split has no box of {shortened(missing)}")

    def warn_about_result(self) -> None:
        """Warn if the last evaluation says nothing about the network."""
        for line in doubts(self.metrics):
            self.log.warn(f"{line} (split val, after the last epoch)")

    def _keep_copy(self) -> None:
        recipe, epoch = self.origin.recipe, self.origin.epoch
        if recipe.training.keep:
            name = f"{recipe.name}-{epoch}_{epoch * len(self.loader)}.ckpt"
            checkpoint.keep_copy(self.last, name, recipe.training.keep)


@contextmanager
def _with_remedy() -> Iterator[None]:
    """Add to a DivergedError what may help against it."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error}; {REMEDY}") from None
