"""The categories of public COCO detectors, in the order of their class numbers."""

from __future__ import annotations

# COCO 2017, instances_val2017.json: the 80 names in ascending order of id.
NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, "
    "fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, "
    "elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, "
    "skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, "
    "tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, "
    "sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, "
    "potted plant, bed, dining table, toilet, tv, laptop, mouse, remote, keyboard, "
    "cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
LAST_ID = 90
UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def by_order() -> tuple[str, ...]:
    """Return the 80 names by class number of mmdetection; the model zoo counts them from 1."""
    return tuple(NAMES.split(", "))


def by_id() -> tuple[str, ...]:
    """Return 90 names by id, from id 1: TF's classes are ids. An unused id is named ``id 12``."""
    names = iter(by_order())
    ids = range(1, LAST_ID + 1)
    return tuple(f"id {i}" if i in UNUSED_IDS else next(names) for i in ids)
