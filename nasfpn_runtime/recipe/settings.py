"""The sections of a recipe: settings of training and detection, each checked when it is set.

The defaults are those of tensorflow/tpu models/official/detection at 7dc921f
(configs/retinanet_config.py, base_config.py, detection_config.py), except for interpolation,
jitter, contested anchors and the shape of the warm-up: there they are what this project's own
recipes train with, and ``tf-r50-7x256-640`` sets TF's.

The descriptions under ``Attributes`` are also printed to users, see ``recipe.describe``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nasfpn_runtime.errors import RecipeError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.image import (
    FIT_MODES,
    INTERPOLATIONS,
    Pixels,
    Placement,
    fit,
    fit_size,
)
from search_space.errors import value_text

CONTESTED = ("higher", "first", "last")
DECAYS = ("kernels", "no_norm", "all")
EXIF_FRAMES = ("auto", "stored", "upright")
NORMALISERS = ("plus_one", "batch", "picture")
PAD_MODES = ("image", "picture")
PRECISIONS = ("float32", "float16", "bfloat16")
SCHEDULES = ("cosine", "step")
# Largest value of some settings. Any other numeric setting is at most LARGEST.
MOST = {
    "image": 16_384,
    "octaves": 20,
    "epochs": 100_000,
    "batch": 65_536,
    "loss_scale": 1e12,
    "lr": 1e12,
    "clip": 1e12,
    "block": 99,
    "maximum": 100_000,
    "categories": 100_000,
}
LARGEST = 1_000_000
LONGEST = 100  # entries of a setting that is a list
_FROM_ZERO = ("warmup_epochs", "weight_decay", "evaluate_every", "save_every", "keep")


def check(section: Any, name: str, holds: Callable[[Any], Any], rule: str) -> None:
    """Raise RecipeError unless a setting obeys a rule, and its upper limit (``MOST``).

    Args:
        section: the object with the setting.
        name: attribute of ``section``.
        holds: returns whether a value obeys the rule.
        rule: the rule in words; the message is ``NAME must be RULE, got VALUE``.
    """
    value = getattr(section, name)
    if not holds(value):
        raise RecipeError(f"{name} must be {rule}, got {value_text(value)}")
    most = MOST.get(name, LARGEST)
    values = value if isinstance(value, tuple) else (value,)
    if any(isinstance(v, (int, float)) and v > most for v in values):
        raise RecipeError(f"{name} must be at most {most:,}, got {value_text(value)}")
    if len(values) > LONGEST:
        raise RecipeError(f"{name} must have at most {LONGEST} entries, got {len(values):,}")


def check_one_of(section: Any, name: str, choices: tuple[str, ...]) -> None:
    """Raise RecipeError unless a setting is one of the choices, see :func:`check`."""
    check(section, name, lambda v: v in choices, f"one of {', '.join(choices)}")


@dataclass(frozen=True)
class Anchors:
    """The anchors of each level; see ``anchors.anchor_grid``.

    Attributes:
        scale: side of the smallest square anchor, in strides of its level.
        octaves: number of anchor sizes per octave: each is 2^(1/octaves) times the one before.
        ratios: aspect ratios of the anchors, width over height.
        ratio_major: order of the anchors of a location. If true, ratios are in the outer loop and
            sizes in the inner one (mmdetection, model zoo); otherwise the reverse (TF).
        centre: position of an anchor's centre in its location, a square of one stride, from 0,
            the top left corner, to below 1; 0.5 is the middle.
    """

    scale: float = 4.0
    octaves: int = 3
    ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    ratio_major: bool = False
    centre: float = 0.5

    def __post_init__(self) -> None:
        check(self, "scale", lambda v: v > 0, "above 0")
        check(self, "octaves", lambda v: v > 0, "above 0")
        check(self, "ratios", lambda v: v and all(r > 0 for r in v), "one or more numbers above 0")
        check(self, "centre", lambda v: 0 <= v < 1, "from 0 to below 1")


@dataclass(frozen=True)
class Reading:
    """How a dataset is read where its files leave a choice.

    Attributes:
        exif: frame of the boxes of images with an EXIF orientation, see ``EXIF_FRAMES``.
        merge_names: whether categories of one name are read as one category.
    """

    exif: str = "auto"
    merge_names: bool = False


@dataclass(frozen=True)
class Data:
    """How images become inputs of the network.

    Attributes:
        image: height and width of the network's input in pixels, each rounded up to a multiple of
            the coarsest stride.
        fit: how an image is scaled to the input: ``letterbox`` keeps its aspect ratio,
            ``squash`` scales both sides to those of the input.
        interpolation: how pixels are scaled: ``antialias`` averages over all pixels that an
            output pixel covers, ``bilinear`` mixes the four nearest, like OpenCV (mmdetection,
            model zoo) and TF.
        round_up: if true, half a pixel in the scaled size is rounded up (mmdetection); otherwise
            to the even number (TF).
        background: share of each training batch that is images without boxes; the others have
            boxes. 0 to leave images without boxes out of training.
        pad: size that an image is padded to when it is scored: that of ``image``, or the
            smallest multiple of the coarsest stride that holds the ``picture`` (mmdetection).
        exif: frame of the boxes of images with an EXIF orientation: that of the ``stored`` pixels,
            the ``upright`` one that a viewer shows, or ``auto``: what the annotated sizes tell, or
            else the convention of the dataset's format.
        merge_names: if true, categories of one name are read as one category; otherwise they are
            refused.
        augment: random changes to training images.
    """

    image: tuple[int, int] = (640, 640)
    fit: str = "letterbox"
    interpolation: str = "antialias"
    round_up: bool = False
    background: float = 0.0
    pad: str = "image"
    exif: str = "auto"
    merge_names: bool = False
    augment: Augment = field(default_factory=lambda: Augment(hflip=0.5, scale=(0.8, 1.2)))

    def __post_init__(self) -> None:
        check(self, "image", lambda v: len(v) == 2 and min(v) > 0, "height and width above 0")
        check_one_of(self, "fit", FIT_MODES)
        check_one_of(self, "interpolation", INTERPOLATIONS)
        check(self, "background", lambda v: 0 <= v < 1, "from 0 to below 1")
        check_one_of(self, "pad", PAD_MODES)
        check_one_of(self, "exif", EXIF_FRAMES)

    @property
    def reading(self) -> Reading:
        """How the dataset is read."""
        return Reading(self.exif, self.merge_names)

    def fitted(self, picture: Pixels, size: tuple[int, int]) -> tuple[Pixels, Placement]:
        """Return an image fitted to (height, width), and its placement; see ``image.fit``."""
        return fit(picture, size, self.fit, self.interpolation, round_up=self.round_up)

    def frame(
        self, placement: Placement, size: tuple[int, int], coarsest_stride: int
    ) -> tuple[int, int]:
        """Return the (height, width) that a fitted image is padded to for scoring, see ``pad``.

        Args:
            size: (height, width) of the input that the image was fitted to.
        """
        if self.pad == "image":
            return size
        return fit_size((placement.height, placement.width), coarsest_stride)


@dataclass(frozen=True)
class Matching:
    """Which anchors learn to predict which boxes; see ``batches.matching``.

    Attributes:
        positive: an anchor whose highest IoU with a box is at least this is positive; so is the
            best anchor of each box.
        negative: an anchor whose highest IoU is below this is background; between the two
            thresholds it is ignored.
        strict: if true, an IoU equal to a threshold counts as below it (model zoo); otherwise as
            above it.
        ties: if true, a box that has its highest IoU with several anchors claims all of them
            (mmdetection); otherwise the first.
        contested: which box gets an anchor that is the best one of several boxes: the one of the
            ``higher`` IoU, the ``first`` (TF, model zoo) or the ``last`` (mmdetection).
        normalised: if true, IoUs are computed from coordinates divided by the input's sides (model
            zoo), whose rounding decides between anchors of the same IoU; otherwise from pixels.
    """

    positive: float = 0.5
    negative: float = 0.5
    strict: bool = False
    ties: bool = False
    contested: str = "higher"
    normalised: bool = False

    def __post_init__(self) -> None:
        check(self, "positive", lambda v: 0 < v <= 1, "above 0, at most 1")
        check(self, "negative", lambda v: 0 <= v <= self.positive, "from 0 to matching.positive")
        check_one_of(self, "contested", CONTESTED)


@dataclass(frozen=True)
class Loss:
    """The loss: focal loss of the classes plus weighted box loss; see ``losses.DetectionLoss``.

    Attributes:
        alpha: focal loss: weight of positive targets; negative ones have 1 - alpha.
        gamma: focal loss: exponent that reduces the weight of well-classified targets.
        background: if true, background anchors have class 0 as their target (model zoo); otherwise
            no class.
        normaliser: divisor of both losses: the number of positive anchors of the batch plus 1
            (``plus_one``, TF), that number itself (``batch``, model zoo), or the sum over images
            of their number, each counted as at least 1 (``picture``, mmdetection).
        huber_delta: error at which the box loss (Huber) turns from quadratic to linear; null for
            the absolute error (mmdetection).
        skip_zeros: if true, box targets of exactly zero do not count (TF); otherwise all four of
            every positive anchor do.
        box_weight: weight of the box loss, which is averaged over the four coordinates.
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
    """A part of the warm-up in which the learning rate changes linearly.

    Attributes:
        start: learning rate of the first step, as a fraction of ``lr``.
        stop: learning rate, as a fraction of ``lr``, that the ramp would reach in the step after
            its last.
        epochs: length in epochs, added to ``steps``.
        steps: length in steps, added to ``epochs``.
    """

    start: float
    stop: float
    epochs: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        for name in ("start", "stop", "epochs", "steps"):
            check(self, name, lambda v: v >= 0, "0 or more")
        check(self, "steps", lambda v: v + self.epochs > 0, "above 0 if epochs is 0")


@dataclass(frozen=True)
class DropBlockSettings:
    """Regularisation that drops square blocks of feature maps; see ``network.dropblock``.

    Attributes:
        keep: fraction of each map that is kept at the end of the run; it falls linearly from 1
            during the run (Ghiasi, Lin, Le 2018, section 3.1).
        block: side of the dropped squares, in pixels of the map; odd.
    """

    keep: float = 0.9
    block: int = 3

    def __post_init__(self) -> None:
        check(self, "keep", lambda v: 0 < v <= 1, "above 0, at most 1")
        check(self, "block", lambda v: v > 0 and v % 2, "odd and above 0")


@dataclass(frozen=True)
class Training:
    """Length, optimiser and bookkeeping of a run; see ``schedule.learning_rates`` for the rates.

    Attributes:
        epochs: number of passes over the training data.
        batch: number of images of each update, on all cards together.
        accumulate: number of parts into which each card's share of the batch is split, to use
            less memory; their gradients are summed.
        schedule: learning rate after the warm-up: ``cosine``, or ``step``, which divides it by
            10 at each milestone.
        lr: learning rate at the end of the warm-up.
        base_batch: batch size that ``lr`` is meant for: with another ``batch`` the learning rate
            is scaled linearly; null to use ``lr`` as it is.
        lr_end: cosine schedule: final learning rate, as a fraction of ``lr``.
        milestones: step schedule: epochs at which the rate is divided by 10; null for two thirds
            and eight ninths of the run.
        warmup_epochs: length, in epochs, of a linear warm-up from a twelfth of the schedule's rate.
        warmup: ramps of the learning rate, one after another, instead of ``warmup_epochs``; a
            cosine schedule starts after them.
        momentum: momentum of SGD.
        weight_decay: weight decay (L2) of SGD.
        decay: parameters that are decayed: ``kernels`` of convolutions (TF), all but those of
            batch norm (``no_norm``, mmdetection) or ``all`` (model zoo).
        clip: largest global norm of the gradients; null for no clipping.
        precision: number format of convolutions: ``float32``, ``float16`` or ``bfloat16``;
            weights, batch norm, losses and updates are always float32.
        loss_scale: factor of the loss at the start of a run in float16; it is adjusted during
            the run.
        ema: fraction of the old value that an exponential moving average of the weights keeps at
            each step; the averaged weights are scored and saved as the best. Null for no average.
        dropblock: DropBlock in the pyramid; null for none.
        deep_supervision: if true, the head is trained on the output of every stack, so that the
            network can be cut off after any of them; otherwise on that of the last stack only.
        freeze_stages: the backbone's stem and the first N stages keep their loaded weights; 0 to
            train everything.
        evaluate_every: epochs between evaluations; 0 for only one, after the last epoch.
        save_every: epochs between checkpoints; 0 for only one, after the last epoch.
        keep: number of earlier checkpoints that are kept besides the last and the best.
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
        check(
            self,
            "warmup",
            lambda v: not (v and self.warmup_epochs),
            "empty unless warmup_epochs is 0",
        )
        check(self, "freeze_stages", lambda v: 0 <= v <= 4, "from 0 to 4")
        check(self, "momentum", lambda v: 0 <= v < 1, "from 0 to below 1")
        check(self, "clip", lambda v: v is None or v > 0, "above 0 or null")


@dataclass(frozen=True)
class DetectionRule:
    """How scores and boxes become detections; see ``postprocess.choose``.

    Attributes:
        score: minimum score of a detection (exclusive).
        iou: IoU above which the lower-scored of two detections of a class is suppressed.
        pre_nms: number of candidates that are considered, best first, but at least ``maximum``;
            null for all.
        pre_nms_per_level: if true, ``pre_nms`` counts candidates of each level, all classes
            together (mmdetection); otherwise of each class, all levels together (TF).
        maximum: maximum number of detections in an image; as many of each class count in COCO's
            metrics (``maxDets``).
        maximum_per_class: if true, ``maximum`` counts detections of each class (model zoo);
            otherwise of all classes together.
        inclusive: if true, a box includes its last pixel, so its width is x2 - x1 + 1 (model zoo);
            otherwise its width is x2 - x1.
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

    @property
    def candidates(self) -> int | None:
        """Number of candidates that are considered, of each level or class; None for all.

        Fewer than ``maximum`` would limit the detections of a dense scene.
        """
        return None if self.pre_nms is None else max(self.pre_nms, self.maximum)
