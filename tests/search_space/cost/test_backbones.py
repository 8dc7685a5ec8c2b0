"""Parameters of the backbones against the published networks."""

from __future__ import annotations

import pytest

import searched_archs
from search_space import DetectorShape
from search_space.cost.detector import detector_steps


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        # torchvision's counts without the classifier. Here resnet18 and resnet34 have a
        # projection in group 0, too, of 64 * 64 + 2 * 64, as in tensorflow/tpu resnet.py.
        ("resnet18", 11_689_512 - 513_000 + 4_224),
        ("resnet34", 21_797_672 - 513_000 + 4_224),
        ("resnet50", 25_557_032 - 2_049_000),
        ("resnet101", 44_549_160 - 2_049_000),
        # Also without the last convolution, from 320 to 1280 channels.
        ("mobilenetv2", 3_504_872 - 1_281_000 - 320 * 1280 - 2 * 1280),
    ],
)
def test_parameters_of_a_backbone(backbone: str, parameters: int) -> None:
    shape = DetectorShape(backbone=backbone, width=32 if backbone == "mobilenetv2" else 64)
    steps = detector_steps(searched_archs.load("fpn"), shape)
    own = [s for s in steps if s.name.startswith(("stem", "group"))]
    assert sum(step.parameters for step in own) == parameters
