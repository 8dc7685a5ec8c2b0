"""Parameters, MACs and activation bytes of a whole detector, without building it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from search_space.cost.detector import detector_steps
from search_space.cost.steps import Step
from search_space.genome import Genome
from search_space.shape import DetectorShape


@dataclass(frozen=True)
class Cost:
    """What a detector needs.

    Attributes:
        parameters: trainable ones: weights, biases, batch norm scales and offsets.
        macs: multiply-adds of all convolutions on one picture; nothing else counts, as
            in the published figures (the paper's FLOPs are twice this).
        peak_activation_bytes: see :func:`peak_bytes`.
    """

    parameters: int
    macs: int
    peak_activation_bytes: int


def detector_cost(genome: Genome, shape: DetectorShape) -> Cost:
    """Return the cost of a detector: the sums and the peak over :func:`detector_steps`.

    Raises:
        GenomeError: the genome's finest level is none of the backbone's (2 to 5).
    """
    steps = detector_steps(genome, shape)
    return Cost(
        parameters=sum(step.parameters for step in steps),
        macs=sum(step.macs for step in steps),
        peak_activation_bytes=peak_bytes(steps),
    )


def peak_bytes(steps: Iterable[Step]) -> int:
    """Return the most bytes of feature maps that are alive during one step.

    Float32, inference, one picture. A map lives from the step that makes it to the last
    step that reads it, both included, a kept one to the end. What a step needs inside
    (the ReLU before a convolution, the pooled gate of an attention) is not counted.
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
