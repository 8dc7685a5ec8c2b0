"""Train a few steps with batch norm in evaluation mode, alone or, started by msrun, on each card.

Arguments: dataset, file for the results without its ending, parts of a card's share of a batch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mindspore import nn

from locations import TWO_LEVELS
from nasfpn_runtime.batches.inputs import make_inputs
from nasfpn_runtime.batches.loader import TrainLoader
from nasfpn_runtime.cluster.cards import join
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.training.step import DetectorWithLoss, TrainStep
from search_space import load_genome

SETTINGS = ["model.width=4", "model.channels=8", "model.stacks=1", "training.batch=4"]
STEPS = 3  # rounding errors grow from step to step

data, results, parts = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
set_device("CPU")
cards = join()

recipe = load_recipe("shapes", [*SETTINGS, f"training.accumulate={parts}"])
genome = load_genome(TWO_LEVELS)
split = load_split(data, "train")
loader = TrainLoader(split, recipe, genome.levels, 0, shard=(cards.rank, cards.count))
net = build_network(recipe, genome, len(split.categories))
initialise(net, 0)
for _, cell in net.cells_and_names():
    if isinstance(cell, nn.BatchNorm2d):
        cell.use_batch_statistics = False
loss = DetectionLoss(len(split.categories) + 1, recipe.loss)
step = TrainStep(DetectorWithLoss(net, loss), recipe.training, [0.05] * STEPS, cards)
losses, pictures, weights = [], [], {}
for number in range(STEPS):
    epoch, index = divmod(number, len(loader))
    if index == 0:
        batches = loader.epoch(epoch)
    batch = next(batches)
    pictures.append(batch.pictures)
    losses.append(step(*make_inputs(batch, recipe, cards, 0, number, STEPS)).loss)
    if number in (0, STEPS - 1):
        weights |= {f"{number}/{p.name}": p.asnumpy().copy() for p in net.trainable_params()}
np.savez(f"{results}-{cards.rank}.npz", losses=losses, pictures=pictures, **weights)
