"""The cost of a whole detector: parameters, multiply-adds and activation bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_space.cost.detector import detector_steps
from search_space.cost.steps import Step
from search_space.genome import Genome
from search_space.shape import DetectorShape


@dataclass(frozen=True)
class Cost:
    """The cost of a detector.

    Attributes:
        parameters: number of trainable parameters: weights, biases, and scales and offsets
            of batch norms.
        macs: multiply-adds of all convolutions on one image. As in the published figures,
            nothing else counts (the paper's FLOPs are twice this).
        peak_activation_bytes: see :func:`peak_bytes`.
    """

    parameters: int
    macs: int
    peak_activation_bytes: int


def detector_cost(genome: Genome, shape: DetectorShape) -> Cost:
    """Return the cost of a detector: sums and peak over its :func:`detector_steps`.

    Raises:
        GenomeError: the genome's finest level is not a level of the backbone (2 to 5).
    """
    steps = detector_steps(genome, shape)
    return Cost(
        parameters=sum(step.parameters for step in steps),
        macs=sum(step.macs for step in steps),
        peak_activation_bytes=peak_bytes(steps),
    )


def peak_bytes(steps: Iterable[Step]) -> int:
    """Return the greatest number of bytes of feature maps in memory during any step.

    This is for inference in float32 on one image. A map lives from the step that makes it
    to the last step that reads it, both included; a kept map lives to the end. Maps inside
    a step (the ReLU before a convolution, the pooled gate of an attention) do not count.
    """
    steps = tuple(steps)
    sizes = {step.name: step.bytes for step in steps}
    last: dict[str, int] = {}
    for index, step in enumerate(steps):
        last.update(dict.fromkeys((*step.reads, step.name), index))
    last.update({step.name: len(steps) for step in steps if step.kept})
    alive = peak = 0
    for index, step in enumerate(steps):
        alive += step.bytes
        peak = max(peak, alive)
        alive -= sum(sizes[name] for name in {*step.reads, step.name} if last[name] == index)
    return peak
