"""Sections of a recipe: numbers of training and detection, each checked where it is made.

The defaults are those of tensorflow/tpu models/official/detection at 7dc921f
(configs/retinanet_config.py, base_config.py, detection_config.py) but for interpolation, jitter,
contested anchors and the shape of warm-up, where they are what this project's own recipes
train with; ``tf-r50-7x256-640`` has TF's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.image import FIT_MODES, INTERPOLATIONS, Pixels, Placement, fit

CONTESTED = ("higher", "first", "last")
DECAYS = ("kernels", "no_norm", "all")
NORMALISERS = ("plus_one", "batch", "picture")
PAD_MODES = ("image", "picture")
PRECISIONS = ("float32", "float16", "bfloat16")
SCHEDULES = ("cosine", "step")
_FROM_ZERO = ("warmup_epochs", "weight_decay", "evaluate_every", "save_every", "keep")


def check(section: Any, name: str, holds: Callable[[Any], Any], rule: str) -> None:
    """Raise RecipeError unless the field ``name`` of a section holds to the rule."""
    value = getattr(section, name)
    if not holds(value):
        raise RecipeError(f"{name} is {rule}, got {value!r}")


def check_one_of(section: Any, name: str, choices: tuple[str, ...]) -> None:
    """Raise RecipeError unless the field ``name`` of a section is one of the choices."""
    check(section, name, lambda v: v in choices, f"one of {', '.join(choices)}")


@dataclass(frozen=True)
class Anchors:
    """See ``anchors.anchor_grid``.

    Attributes:
        scale: side of the smallest square anchor in strides.
        octaves: number of sizes within a doubling.
        ratios: widths over heights.
        ratio_major: ratios run outside and sizes inside (mmdetection, model zoo).
        centre: place of an anchor's centre in its cell, 0 at the top left corner.
    """

    scale: float = 4.0
    octaves: int = 3
    ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    ratio_major: bool = False
    centre: float = 0.5

    def __post_init__(self) -> None:
        check(self, "scale", lambda v: v > 0, "above 0")
        check(self, "octaves", lambda v: v > 0, "above 0")
        check(self, "ratios", lambda v: v and all(r > 0 for r in v), "one or more above 0")
        check(self, "centre", lambda v: 0 <= v < 1, "from 0 to below 1")


@dataclass(frozen=True)
class Data:
    """How pictures become inputs of the network.

    Attributes:
        image: (height, width) of an input, rounded up to the coarsest stride.
        fit, interpolation, round_up: see ``image.fit``.
        pad: what a picture is padded to when it is scored: ``image``, or the least multiple
            of the coarsest stride that holds the ``picture`` (mmdetection).
        augment: what is varied in training.
    """

    image: tuple[int, int] = (640, 640)
    fit: str = "letterbox"
    interpolation: str = "antialias"
    round_up: bool = False
    pad: str = "image"
    augment: Augment = field(default_factory=lambda: Augment(hflip=0.5, scale=(0.8, 1.2)))

    def __post_init__(self) -> None:
        check(self, "image", lambda v: len(v) == 2 and min(v) > 0, "(height, width) above 0")
        check_one_of(self, "fit", FIT_MODES)
        check_one_of(self, "interpolation", INTERPOLATIONS)
        check_one_of(self, "pad", PAD_MODES)

    def fitted(self, picture: Pixels, size: tuple[int, int]) -> tuple[Pixels, Placement]:
        """Return a picture scaled to fit in (height, width), see ``image.fit``."""
        return fit(picture, size, self.fit, self.interpolation, round_up=self.round_up)


@dataclass(frozen=True)
class Matching:
    """See ``matching.match``.

    Attributes:
        positive: IoU from which an anchor is positive.
        negative: IoU below which it is background.
        strict: an IoU of exactly a threshold lies below it (model zoo).
        ties: a box claims all anchors that it overlaps as much as its best one
            (mmdetection), not the first of them.
        contested: which of the boxes that claim one anchor gets it: that of the ``higher``
            IoU, the ``first`` (TF, model zoo) or the ``last`` (mmdetection).
        normalised: overlaps are those of coordinates divided by the input's sides (model zoo),
            whose rounding decides between anchors that a box overlaps alike.
    """

    positive: float = 0.5
    negative: float = 0.5
    strict: bool = False
    ties: bool = False
    contested: str = "higher"
    normalised: bool = False

    def __post_init__(self) -> None:
        check(self, "positive", lambda v: 0 < v <= 1, "above 0, at most 1")
        check(self, "negative", lambda v: 0 <= v <= self.positive, "from 0 to positive")
        check_one_of(self, "contested", CONTESTED)


@dataclass(frozen=True)
class Loss:
    """See ``losses.DetectionLoss``.

    Attributes:
        alpha, gamma: of the focal loss.
        background: class 0 is the target of anchors that find nothing (model zoo).
        normaliser: divides both sums: ``plus_one``, the batch's positives and 1 (TF);
            ``batch``, the batch's positives (model zoo); ``picture``, the pictures' positives
            added up, each at least 1 (mmdetection).
        huber_delta: where the box loss turns from square to straight; null for the plain
            absolute error (mmdetection).
        skip_zeros: box targets of exactly zero do not count (TF); otherwise all four of a
            positive anchor do.
        box_weight: of the box loss, which is averaged over the four coordinates.
    """

    alpha: float = 0.25
    gamma: float = 1.5
    background: bool = False
    normaliser: str = "plus_one"
    huber_delta: float | None = 0.1
    skip_zeros: bool = True
    box_weight: float = 50.0

    def __post_init__(self) -> None:
        check(self, "alpha", lambda v: 0 < v < 1, "between 0 and 1")
        check(self, "gamma", lambda v: v >= 0, "0 or more")
        check_one_of(self, "normaliser", NORMALISERS)
        check(self, "huber_delta", lambda v: v is None or v > 0, "above 0 or null")
        check(self, "box_weight", lambda v: v > 0, "above 0")


@dataclass(frozen=True)
class Ramp:
    """A stretch of warm-up: the rate runs from ``start`` to ``stop``, both shares of ``lr``.

    Its length is ``epochs`` and ``steps`` added; the step after it is the first at ``stop``.
    """

    start: float
    stop: float
    epochs: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        for name in ("start", "stop", "epochs", "steps"):
            check(self, name, lambda v: v >= 0, "0 or more")
        check(self, "steps", lambda v: v + self.epochs > 0, "above 0 where epochs is 0")


@dataclass(frozen=True)
class DropBlockSettings:
    """See ``cells.dropblock``.

    Attributes:
        keep: share of every map that is kept at the end of the run; it falls to that
            linearly from 1 (Ghiasi, Lin, Le 2018, section 3.1).
        block: side of the squares that are dropped.
    """

    keep: float = 0.9
    block: int = 3

    def __post_init__(self) -> None:
        check(self, "keep", lambda v: 0 < v <= 1, "above 0, at most 1")
        check(self, "block", lambda v: v > 0 and v % 2, "odd and above 0")


@dataclass(frozen=True)
class Training:
    """Length, optimiser and housekeeping of a run; rates are those of ``learning_rates``.

    Attributes:
        epochs, batch: passes over the data, and pictures of an update, on all cards together.
        accumulate: parts that a card's share of the batch goes through one after another.
        schedule: ``cosine``, or ``step`` by a tenth at each milestone.
        lr: learning rate after warm-up.
        base_batch: the batch that ``lr`` is for: another ``batch`` scales it linearly; null
            for ``lr`` as it is.
        lr_end: share of ``lr`` that cosine comes down to.
        milestones: in epochs; null for two thirds and eight ninths of the run.
        warmup_epochs: linear from a twelfth, multiplied with the schedule.
        warmup: ramps one after another instead, with cosine beginning after them.
        momentum, weight_decay: SGD.
        decay: what is decayed: ``kernels`` of convolutions (TF), everything but batch norm
            (``no_norm``, mmdetection) or ``all`` (model zoo).
        clip: largest global gradient norm, None for no clipping.
        precision: of convolutions; weights, batch norm, losses and updates are float32.
        loss_scale: at the start of a run in float16 (see ``step.TrainStep``).
        ema: share that an exponential moving average of the weights keeps at a step; that
            average is what is scored and kept as the best. None for the weights themselves.
        dropblock: of the pyramid; None for none.
        deep_supervision: the head learns from every stack, so that the network can be cut
            after each.
        freeze_stages: groups of the backbone that, with its stem, keep the weights they were
            loaded with (see ``finetune.freeze``); 0 trains everything.
        evaluate_every, save_every: in epochs; 0 for only after the last one.
        keep: how many of the checkpoints saved are kept beside the last and the best.
    """

    epochs: int = 50
    batch: int = 64
    accumulate: int = 1
    schedule: str = "step"
    lr: float = 0.08
    base_batch: int | None = None
    lr_end: float = 0.0
    milestones: tuple[float, ...] | None = None
    warmup_epochs: float = 0.3
    warmup: tuple[Ramp, ...] = ()
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay: str = "kernels"
    clip: float | None = None
    precision: str = "float32"
    loss_scale: float = 65536.0
    ema: float | None = None
    dropblock: DropBlockSettings | None = None
    deep_supervision: bool = False
    freeze_stages: int = 0
    evaluate_every: int = 1
    save_every: int = 1
    keep: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "accumulate", "lr", "loss_scale"):
            check(self, name, lambda v: v > 0, "above 0")
        for name in _FROM_ZERO:
            check(self, name, lambda v: v >= 0, "0 or more")
        check_one_of(self, "schedule", SCHEDULES)
        check_one_of(self, "decay", DECAYS)
        check_one_of(self, "precision", PRECISIONS)
        check(self, "accumulate", lambda v: self.batch % v == 0, "a divisor of batch")
        check(self, "base_batch", lambda v: v is None or v > 0, "above 0 or null")
        check(self, "ema", lambda v: v is None or 0 <= v < 1, "from 0 to below 1, or null")
        check(self, "lr_end", lambda v: 0 <= v <= 1, "from 0 to 1")
        check(self, "milestones", lambda v: v is None or min(v, default=0) >= 0, "0 or more")
        check(self, "warmup", lambda v: not (v and self.warmup_epochs), "empty or warmup_epochs 0")
        check(self, "freeze_stages", lambda v: 0 <= v <= 4, "from 0 to 4")
        check(self, "momentum", lambda v: 0 <= v < 1, "from 0 to below 1")
        check(self, "clip", lambda v: v is None or v > 0, "above 0 or null")


@dataclass(frozen=True)
class DetectionRule:
    """See ``postprocess.choose``.

    Attributes:
        score: what a candidate's score is above.
        iou: overlap up to which two detections of a class are both kept.
        pre_nms: candidates looked at, the best ones; null for all.
        pre_nms_per_level: ``pre_nms`` is of a level and all classes (mmdetection), not of
            a class and all levels (TF).
        maximum: most detections of a picture.
        maximum_per_class: ``maximum`` is of a class (model zoo).
        inclusive: a box reaches from its first to its last pixel, so that its width is
            x2 - x1 + 1 (model zoo).
    """

    score: float = 0.05
    iou: float = 0.5
    pre_nms: int | None = 5000
    pre_nms_per_level: bool = False
    maximum: int = 100
    maximum_per_class: bool = False
    inclusive: bool = False

    def __post_init__(self) -> None:
        for name in ("score", "iou"):
            check(self, name, lambda v: 0 <= v <= 1, "from 0 to 1")
        check(self, "pre_nms", lambda v: v is None or v > 0, "above 0 or null")
        check(self, "maximum", lambda v: v > 0, "above 0")
