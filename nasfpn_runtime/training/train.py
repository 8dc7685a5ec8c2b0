"""Train one genome by one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nasfpn_runtime.cluster.cards import Cards, join
from nasfpn_runtime.cluster.device import check_precision, set_device
from nasfpn_runtime.data.backgrounds import backgrounds, check_backgrounds, left_out
from nasfpn_runtime.data.dataset import (
    Split,
    check_same_categories,
    fault_report,
    load_split,
)
from nasfpn_runtime.data.digest import check_unchanged, digests
from nasfpn_runtime.errors import CheckpointError, RecipeError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.convolution import use_low_memory_gradients
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.progress import say, waiting
from nasfpn_runtime.recipe.memory import check_training
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.training.finetune import Init, InitReport, freeze, start_from
from nasfpn_runtime.training.run import TrainingRun
from nasfpn_runtime.training.runfolder import alone_in
from nasfpn_runtime.training.runlog import RunOptions
from nasfpn_runtime.training.step import use_precision
from search_space.genome import Genome


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
    expected: Mapping[str, str] | None = None,
) -> TrainResult:
    """Train on the ``train`` split of ``data`` and score on its ``val`` split.

    Writes ``out/config.yaml``, ``genome.json``, ``run.json`` (what identifies the run),
    ``faults.txt`` (faults of the data), ``metrics.jsonl`` (a line for each epoch), ``train.log``,
    ``figures/curves.svg`` and ``checkpoints/{last,best}.ckpt``. If ``out`` has a ``last.ckpt`` with
    the same recipe, genome, categories, data, seed and initial weights, the run resumes from it.
    On CPU a resumed run ends with the same weights as one that was never interrupted, because
    every random number is a function of (seed, epoch, image) or (seed, step).

    If msrun started this process as one of several, they train together: each takes its share of
    every batch, gradients are summed, running statistics of batch norm are averaged at the end of
    an epoch, and the first process writes the files.

    Args:
        device: ``CPU`` or ``Ascend``.
        options: how the run reports, and what prepares its batches; None for the defaults.
        init: weights to start from, see ``finetune.start_from``. A resumed run does not read
            them again, but must be given the same ones.
        expected: digests that the splits must have (see ``data.digest``); None for any.

    Raises:
        DataError: the dataset cannot be used.
        ChangedDataError: the dataset has not the expected digests.
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
    check_training(recipe, genome, device, cards=cards.count)
    if not cards.first:
        options = replace(options, progress=False, tensorboard=False)

    with waiting(f"reading {data}", shown=options.progress):
        train_split, val_split = (
            load_split(data, name, reading=recipe.data.reading) for name in ("train", "val")
        )
        splits = train_split, val_split
    check_same_categories(*splits)
    check_backgrounds(splits[0], recipe.data.background)
    if options.progress:
        _report_data(data, splits, recipe)

    data_digests = digests({"train": splits[0], "val": splits[1]})
    check_unchanged(expected or {}, data_digests, str(data))
    origin = Origin(
        recipe,
        genome,
        splits[0].categories,
        seed,
        epoch=0,
        data=data_digests,
        init=init.digest() if init else "",
    )
    with waiting("building the network", shown=options.progress):
        net = _build(origin, device)

    with alone_in(out) if cards.first else nullcontext():
        newest = checkpoint.load_newest(out / "checkpoints" / "last.ckpt")
        _check_same_position(newest[1].position if newest else (0, 0), out, cards)
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
        with run.log, run.loader, run.saved_if_stopped():
            if run.origin.epoch < training.epochs:
                run.warn_about_data()
            for epoch in range(run.origin.epoch, training.epochs):
                record = run.train_epoch(epoch)
                if _is_due(epoch, training.evaluate_every, training.epochs):
                    record |= run.evaluate()
                run.end_epoch(record)
                if _is_due(epoch, training.save_every, training.epochs):
                    run.save()
            run.log.draw_missing_curves()
        run.warn_about_result()

    best_ap = run.origin.best_ap
    assert best_ap is not None  # the last epoch is always evaluated
    return TrainResult(run.metrics, best_ap, run.last, run.best)


def _report_data(data: Path, splits: tuple[Split, Split], recipe: Recipe) -> None:
    """Report the size of a dataset, how it was read, what is left out, and its faults."""
    train, val = splits
    share = recipe.data.background
    empty = f" and {len(backgrounds(train))} without boxes" if share else ""
    say(
        f"{data}: {len(train.with_boxes)} images{empty} to train on, {len(val.samples)} to score, "
        f"{len(train.categories)} categories"
    )
    if line := left_out(train, share):
        say(line)
    for split in splits:
        if split.notes:
            say(f"read from {split.annotation_file}:\n{fault_report(split.notes)}")
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


def _check_same_position(position: tuple[int, int], out: Path, cards: Cards) -> None:
    """Check that all cards resume from the same epoch and step."""
    positions = cards.gather(np.array([position], np.float32))
    if (positions != positions[0]).any():
        raise CheckpointError(
            f"all cards must resume from the same epoch, got epochs "
            f"{', '.join(str(int(epoch)) for epoch, _ in positions)} (at {out}); all servers must "
            "share this folder"
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
