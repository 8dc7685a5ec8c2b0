"""Initial weights: a function of seed, name and shape, with the documented distributions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor
from numpy.typing import NDArray
from scipy import stats

import searched_archs
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.network import Network
from nasfpn_runtime.recipe.dialects import DIALECTS, TF, Dialect
from search_space import DetectorShape, Genome, MergingCell

SHAPE = DetectorShape("resnet10", 16, 16, 2, 1, None, 3, 9, (128, 128))
# The right distribution fails a Kolmogorov-Smirnov test for one seed in a billion.
RARE = 1e-9

pytestmark = pytest.mark.usefixtures("pynative")


def weights(
    name: str, shape: DetectorShape, seed: int, dialect: Dialect = TF
) -> dict[str, NDArray[np.float32]]:
    net = Network(searched_archs.load(name), shape, dialect)
    initialise(net, seed, dialect.init)
    return {p.name: p.asnumpy() for p in net.get_parameters()}


def test_a_weight_depends_on_seed_name_and_shape_only() -> None:
    # Another pyramid, with another number of stacks, is built and initialised in another order.
    # Parameters with the same name and shape are still equal.
    a = weights("nasfpn", SHAPE, seed=3)
    b = weights("bifpn", replace(SHAPE, stacks=1), seed=3)
    shared = [name for name in a if name in b and a[name].shape == b[name].shape]
    assert {name.split(".")[0] for name in shared} == {"backbone", "pyramid", "head"}
    assert "pyramid.stacks.0.cells_.6.out.conv.weight" in shared
    for name in shared:
        np.testing.assert_array_equal(a[name], b[name])
    # Kernels of the same shape differ if their names do.
    first, second = (a[f"pyramid.stacks.0.cells_.{i}.out.conv.weight"] for i in (0, 1))
    assert not np.isclose(first, second).all()


def test_another_seed_gives_other_kernels() -> None:
    a, b = weights("nasfpn", SHAPE, seed=0), weights("nasfpn", SHAPE, seed=1)
    kernels = [name for name in a if a[name].ndim == 4]
    # Blocks, shortcuts, stem, laterals, cells; a convolution and a prediction for each head.
    assert len(kernels) == 8 + 4 + 1 + 3 + 2 * 7 + 2 * 2
    for name in kernels:
        assert (a[name] != b[name]).mean() > 0.99


def scale_and_unit(dialect: str, part: str, fan_in: int, fan_out: int) -> tuple[float, Any]:
    """Return the distribution of a convolution as a scale and a unit distribution."""
    cut, uniform, normal = stats.truncnorm(-2, 2), stats.uniform(-1, 2), stats.norm
    of_unit_variance = stats.truncnorm(-2, 2, scale=1 / cut.std())
    table = {
        "tf": {
            "backbone": (np.sqrt(1 / fan_in), of_unit_variance),
            "pyramid": (np.sqrt(6 / (fan_in + fan_out)), uniform),
            "head": (0.01, normal),
            "predict": (1e-5, normal),
        },
        "mmdet": {
            "backbone": (np.sqrt(2 / fan_out), normal),
            "pyramid": (np.sqrt(3 / fan_in), uniform),
            "head": (0.01, normal),
            "predict": (0.01, normal),
        },
        "modelzoo": dict.fromkeys(("backbone", "pyramid", "head", "predict"), (0.01, cut)),
    }
    return table[dialect][part]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_part_has_its_distribution(dialect: str) -> None:
    samples: dict[tuple[str, tuple[int, ...]], list[NDArray[np.float32]]] = {}
    for name, value in weights("nasfpn", SHAPE, 5, DIALECTS[dialect]).items():
        if value.ndim == 4:
            part = next(p for p in ("backbone", "pyramid", "predict", "head") if p in name)
            samples.setdefault((part, value.shape), []).append(value)
    assert {part for part, _ in samples} == {"backbone", "pyramid", "predict", "head"}
    for (part, shape), values in samples.items():
        out_channels, in_channels, *kernel = shape
        fan_in, fan_out = np.prod(kernel) * in_channels, np.prod(kernel) * out_channels
        scale, unit = scale_and_unit(dialect, part, fan_in, fan_out)
        sample = np.concatenate([value.ravel() for value in values]).astype(np.float64) / scale
        assert stats.kstest(sample, unit.cdf).pvalue > RARE, (part, shape)


@pytest.mark.parametrize("backbone", ["resnet10", "resnet50"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_biases_and_norms(dialect: str, backbone: str) -> None:
    shape = replace(SHAPE, backbone=backbone)
    last = rf"body\.{2 if backbone == 'resnet50' else 1}\.bn\.gamma$"
    for name, value in weights("bifpn", shape, 0, DIALECTS[dialect]).items():
        if name == "head.classes.predict.bias":  # sigmoid(bias) = 0.01
            np.testing.assert_allclose(1 / (1 + np.exp(-value)), 0.01, rtol=1e-5)
        elif value.ndim == 1:
            one = re.search(r"(gamma|moving_variance|merge\.weights)$", name)
            if dialect != "tf" and re.search(last, name):  # residual branches start at zero
                one = None
            np.testing.assert_array_equal(value, 1.0 if one else 0.0)


def test_an_initial_network_predicts_background() -> None:
    genome = Genome((MergingCell(3, "sum", (0, 1)), MergingCell(4, "sum", (0, 1))), (3, 4))
    net = Network(genome, replace(SHAPE, image=(64, 64)), TF)
    initialise(net, 0)
    net.set_train(False)
    picture = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    logits, deltas = (output.asnumpy() for output in net(Tensor(picture)))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), 0.01, rtol=0.01)
    assert np.abs(deltas).max() < 0.01
