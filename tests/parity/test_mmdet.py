"""The ``mmdet`` dialect against mmdetection's own code, on random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, value_and_grad

import searched_archs
from locations import ASSETS
from nasfpn_runtime import build_pyramid
from nasfpn_runtime.importers.load import load_state
from search_space import Genome

pytestmark = [pytest.mark.parity, pytest.mark.slow]

WIDE = {3: 512, 4: 1024, 5: 2048}
NARROW = {3: 32, 4: 48, 5: 64}
PUBLISHED = searched_archs.load("nasfpn")

Same = Callable[..., None]
Maps = Mapping[int, Any]


def ours(
    genome: Genome, in_channels: Maps, channels: int, stacks: int, arrays: Mapping[str, Any]
) -> tuple[Any, dict[str, str]]:
    """Return our pyramid with the arrays of a neck, and our parameter names by the neck's."""
    net = build_pyramid(
        genome, dialect="mmdet", in_channels=in_channels, channels=channels, stacks=stacks
    )
    result = load_state(net, {f"neck.{name}": a for name, a in arrays.items()}, "mmdet")
    assert len(result.mapped) == len(arrays)
    names = {theirs.removeprefix("neck."): name for theirs, name in result.mapped.items()}
    net.set_train(False)
    return net, {theirs: name.removeprefix("pyramid.") for theirs, name in names.items()}


def run(net: Any, maps: Maps) -> list[Any]:
    return [y.asnumpy() for y in net(*(Tensor(x) for x in maps.values()))]


@pytest.mark.parametrize(("key", "size"), [("a", (640, 640)), ("b", (512, 768))])
def test_the_installed_mmdetection_gives_the_golden_outputs(
    key: str, size: tuple[int, int], mmdet: ModuleType, same: Same
) -> None:
    golden = np.load(ASSETS / "mmdet.npz")
    net = mmdet.detector()
    mmdet.fill(net)
    image = np.random.default_rng(7).standard_normal((1, 3, *size)).astype(np.float32)
    for part, arrays in zip(("neck", "cls", "reg"), mmdet.outputs(net, image), strict=True):
        for level, array in enumerate(arrays, start=3):
            name = f"{key}_{part}_p{level}"
            assert array.shape == tuple(golden[f"{name}_shape"])
            same([array.ravel()[golden[f"{name}_pos"]]], [golden[name]])


@pytest.mark.parametrize(
    ("size", "batch"), [((128, 128), 3), ((256, 384), 3), ((768, 128), 1), ((640, 512), 1)]
)
def test_the_published_pyramid_gives_what_mmdetection_gives(
    size: tuple[int, int], batch: int, mmdet: ModuleType, weights: ModuleType, same: Same
) -> None:
    neck = mmdet.neck(WIDE, 256, 7)
    net, _ = ours(PUBLISHED, WIDE, 256, 7, mmdet.fill(neck, batch))
    maps = weights.features(WIDE, size, batch, seed=batch)
    same(run(net, maps), mmdet.run(neck, maps))


def test_the_genome_neck_is_mmdetections_for_the_published_genome(
    mmdet: ModuleType, weights: ModuleType
) -> None:
    neck, compiled = mmdet.neck(NARROW, 64, 2), mmdet.GenomeNeck(PUBLISHED, NARROW, 64, 2).eval()
    assert mmdet.fill(neck).keys() == mmdet.fill(compiled).keys()
    maps = weights.features(NARROW, (256, 384), 2, seed=0)
    for a, b in zip(mmdet.run(neck, maps), mmdet.run(compiled, maps), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("number", range(20))
def test_a_random_genome_gives_what_mmcv_cells_give(
    number: int, cases: list[Any], mmdet: ModuleType, weights: ModuleType, same: Same
) -> None:
    case = cases[number]
    neck = mmdet.GenomeNeck(case.genome, NARROW, 64, 2).eval()
    net, _ = ours(case.genome, NARROW, 64, 2, mmdet.fill(neck, case.seed))
    maps = weights.features(NARROW, case.size, case.batch, case.seed)
    same(run(net, maps), mmdet.run(neck, maps))


def test_a_training_step_has_the_statistics_and_gradients_of_torch(
    mmdet: ModuleType, weights: ModuleType, same: Same
) -> None:
    """Compare outputs and batch statistics, then the gradients of a random linear functional.

    The network has few channels and stacks. If a value lies within rounding of the kink of a
    ReLU or a pool, gradients differ by far more than rounding: in torch, those of 7 stacks of 64
    channels differ by 0.2 standard deviations between float32 and float64, these by less than
    5e-5.
    """
    neck = mmdet.neck(NARROW, 16, 2)
    net, names = ours(PUBLISHED, NARROW, 16, 2, mmdet.fill(neck))
    maps = weights.features(NARROW, (128, 256), 3, seed=0)
    rng = np.random.default_rng(1)
    factors = [rng.standard_normal(y.shape, dtype=np.float32) for y in mmdet.run(neck, maps)]
    outputs, gradients, statistics = mmdet.train_step(neck, maps, factors)

    def functional(*inputs: Tensor) -> tuple[Tensor, ...]:
        maps = net(*inputs)
        terms = [(y * Tensor(factor)).sum() for y, factor in zip(maps, factors, strict=True)]
        return sum(terms[1:], terms[0]), maps

    net.set_train(True)
    parameters = net.trainable_params()
    step = value_and_grad(functional, None, weights=parameters, has_aux=True)
    (_, maps_of_step), slopes = step(*(Tensor(x) for x in maps.values()))
    same([y.asnumpy() for y in maps_of_step], outputs)
    after = {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}
    for name, expected in statistics.items():
        same([after[names[name]]], [expected])
    ours_by_name = {p.name: slope.asnumpy() for p, slope in zip(parameters, slopes, strict=True)}
    for name, expected in gradients.items():
        if name.endswith("conv.bias"):  # batch norm cancels it: only rounding is left
            scale = gradients[name.replace("bias", "weight")].std()
            assert np.abs(ours_by_name[names[name]]).max() < 1e-4 * scale
        else:
            same([ours_by_name[names[name]]], [expected])
