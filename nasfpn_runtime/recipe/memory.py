"""How much memory a detector needs at least, and whether this machine has it.

The estimates are low on purpose: what they refuse cannot run. Measured on CPU with the canonical
recipe (tf-r50-7x256-640, batch 2): 9.0 GB resident, where :func:`training_bytes` gives 6.2 GB.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.recipe.recipe import Recipe
from search_space.cost.cost import detector_cost
from search_space.cost.detector import detector_steps
from search_space.genome import Genome

MAPS = 3  # bytes for each byte of feature maps of a training step: the map, gradients, workspace
COPIES = 4  # of the parameters in training: weights, gradients, momentum, the update
PIXEL = 3 * (1 + 4 + 4)  # bytes: as read, normalised, and as the input of the engine
TARGET = (
    4 * 5
)  # bytes for each anchor of an image: a label and four numbers, see batches/buffers.py
BUFFERS = 2  # batches that are prepared ahead
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def host_memory() -> int:
    """Return the bytes of memory that this process can use: the machine's, or a lower limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, _CGROUPS):
        text = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
        limits += [int(text)] if text.isdecimal() else []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min(*limits, soft) if soft != resource.RLIM_INFINITY else min(limits)


def training_bytes(recipe: Recipe, genome: Genome, share: int, *, on_host: bool = True) -> int:
    """Return how many bytes of the host's memory a training process needs at least.

    Args:
        share: images of a batch that are computed at once.
        on_host: the network is computed in the host's memory; on Ascend only batches are there.
    """
    shape = recipe.shape(1, genome.levels)  # one category: fewer than any dataset has
    height, width = shape.image
    anchors = shape.anchors * sum((height >> level) * (width >> level) for level in genome.levels)
    image = 3 * height * width + TARGET * anchors
    batches = BUFFERS * share * recipe.training.accumulate * image
    if not on_host:
        return batches
    maps = sum(step.bytes for step in detector_steps(genome, shape))
    parameters = 4 * detector_cost(genome, shape).parameters
    return batches + MAPS * share * maps + COPIES * parameters


def check_training(
    recipe: Recipe,
    genome: Genome,
    device: str = "CPU",
    *,
    cards: int = 1,
    here: int = 1,
    trainings: int = 1,
) -> None:
    """Check that a training fits in the memory of this machine.

    Args:
        device: ``CPU`` or ``Ascend``.
        cards: number of processes that share a batch.
        here: how many of them run on this machine.
        trainings: number of such trainings at a time.

    Raises:
        RecipeError: it does not; the message has the estimate.
    """
    training = recipe.training
    share = -(-training.batch // (training.accumulate * cards))
    needed = trainings * here * training_bytes(recipe, genome, share, on_host=device == "CPU")
    height, width = recipe.image_size(genome.levels)
    check_memory(
        needed,
        f"{'training' if trainings == 1 else f'{trainings} trainings at a time'} with batches of "
        f"{training.batch:,} images of {height:,}x{width:,} px",
        "lower training.batch, data.image or the sizes of the model, or raise training.accumulate",
    )


def check_detecting(
    recipe: Recipe, genome: Genome, images: int, size: tuple[int, int] | None = None
) -> None:
    """Check that a network fits in the memory of this machine when it detects on CPU.

    Args:
        images: number of images that are prepared at once, to be computed one by one.
        size: (height, width) of the input; None for the recipe's.

    Raises:
        RecipeError: it does not; the message has the estimate.
    """
    shape = recipe.shape(1, genome.levels)
    cost = detector_cost(genome, shape)
    height, width = size or shape.image
    activations = cost.peak_activation_bytes * height * width // (shape.image[0] * shape.image[1])
    check_memory(
        4 * cost.parameters + activations + PIXEL * images * height * width,
        f"detecting in {images:,} images of {height:,}x{width:,} px",
        "use smaller images, or fewer at once",
    )


def check_memory(needed: int, what: str, remedy: str) -> None:
    """Raise RecipeError if ``what`` needs more bytes than this machine has."""
    if needed > (available := host_memory()):
        raise RecipeError(
            f"memory for {what} must be at most {_gb(available)}, which is available here, got an "
            f"estimate of {_gb(needed)} or more; {remedy}"
        )


def _gb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
