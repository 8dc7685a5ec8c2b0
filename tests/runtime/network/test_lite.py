"""NAS-FPN Lite: separable convolutions, and pyramids of levels 3 to 6."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor, nn, ops
from numpy.typing import NDArray
from scipy import stats

from nasfpn_runtime import build_network
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.layers import SeparableConv, conv
from nasfpn_runtime.recipe.recipe import load_recipe
from search_space import Genome, NASFPNSpace, detector_cost, draw_genome

Fill = Callable[[nn.Cell], None]

RARE = 1e-9  # probability that the statistical test fails by chance
SETTINGS = ["model.width=4", "model.channels=8", "model.stacks=2", "model.head_convs=1"]


def random_lite(seed: int) -> Genome:
    space = NASFPNSpace(levels=(3, 4, 5, 6), intermediate_cells=3)
    return space.sample(np.random.default_rng(seed))


def numbers(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def with_gradients(net: nn.Cell, x: Tensor, upstream: Tensor) -> tuple[Any, Any, dict[str, Any]]:
    """Return the output, the gradient by the input, and the gradients of parameters by name."""
    weights = ParameterTuple(net.trainable_params())
    gradient = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)
    (by_x,), by_weight = gradient(net, weights)(x, upstream)
    named = {w.name: g.asnumpy() for w, g in zip(weights, by_weight, strict=True)}
    return net(x).asnumpy(), by_x.asnumpy(), named


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize(
    ("inner", "outer", "size"), [(5, 7, (6, 9)), (8, 3, (1, 1)), (1, 4, (2, 3))]
)
def test_a_separable_convolution_equals_one_with_a_product_kernel(
    inner: int, outer: int, size: tuple[int, int]
) -> None:
    # K[o, i] = P[o, i] D[i], so that dP[o, i] = <dK[o, i], D[i]>, dD[i] = sum_o P[o, i] dK[o, i].
    rng = np.random.default_rng(inner)
    depthwise, pointwise = numbers(rng, inner, 1, 3, 3), numbers(rng, outer, inner, 1, 1)
    bias = numbers(rng, outer)
    two, one = SeparableConv(inner, outer, bias=True), conv(inner, outer, 3, bias=True)
    two.depthwise.weight.set_data(Tensor(depthwise))
    two.pointwise.weight.set_data(Tensor(pointwise))
    one.weight.set_data(Tensor(pointwise * depthwise[:, 0]))
    for last in (two.pointwise, one):
        last.bias.set_data(Tensor(bias))
    x, upstream = Tensor(numbers(rng, 2, inner, *size)), Tensor(numbers(rng, 2, outer, *size))
    ours, by_x, by_weight = with_gradients(two, x, upstream)
    expected, expected_by_x, by_kernel = with_gradients(one, x, upstream)
    kernel = by_kernel["weight"]
    close = {"rtol": 1e-4, "atol": 1e-4}
    np.testing.assert_allclose(ours, expected, **close)
    np.testing.assert_allclose(by_x, expected_by_x, **close)
    np.testing.assert_allclose(by_weight["pointwise.bias"], by_kernel["bias"], **close)
    np.testing.assert_allclose(
        by_weight["pointwise.weight"][..., 0, 0],
        np.einsum("oiyx,iyx->oi", kernel, depthwise[:, 0]),
        **close,
    )
    np.testing.assert_allclose(
        by_weight["depthwise.weight"][:, 0],
        np.einsum("oiyx,oi->iyx", kernel, pointwise[..., 0, 0]),
        **close,
    )


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("dialect", ["tf", "mmdet", "modelzoo"])
def test_only_convolutions_of_cells_and_heads_become_separable(dialect: str) -> None:
    settings = [*SETTINGS, f"model.dialect={dialect}"]
    genome = random_lite(0)
    plain, lite = (
        build_network(load_recipe("shapes-proxy", [*settings, f"model.separable={on}"]), genome, 2)
        for on in ("false", "true")
    )
    shapes = {p.name: p.shape for p in plain.get_parameters()}
    expected = {}
    for name, shape in shapes.items():
        stem, _, leaf = name.rpartition(".")
        kernel = shapes.get(f"{stem}.weight", ())
        if name.startswith("backbone") or kernel[2:] != (3, 3):
            expected[name] = shape
        elif leaf == "weight":
            expected[f"{stem}.depthwise.weight"] = (shape[1], 1, 3, 3)
            expected[f"{stem}.pointwise.weight"] = (shape[0], shape[1], 1, 1)
        else:
            expected[f"{stem}.pointwise.{leaf}"] = shape
    assert {p.name: p.shape for p in lite.get_parameters()} == expected


@pytest.mark.usefixtures("pynative")
def test_initial_weights_are_those_of_tf_layers() -> None:
    # TensorFlow counts Glorot's fans of a depthwise kernel (3, 3, C, 1) as 9 C and 9.
    recipe = load_recipe("shapes-proxy", [*SETTINGS, "model.channels=32", "model.separable=true"])
    net = build_network(recipe, random_lite(0), 30)
    initialise(net, 0)
    samples: dict[str, list[NDArray[np.float64]]] = {"depthwise": [], "pointwise": []}
    for parameter in net.get_parameters():
        part, leaf = parameter.name.split(".")[-2:]
        value = parameter.asnumpy().astype(np.float64)
        if parameter.name == "head.classes.predict.pointwise.bias":
            np.testing.assert_allclose(1 / (1 + np.exp(-value)), 0.01, rtol=1e-5)
        elif part in samples and leaf == "bias":
            assert not value.any()
        elif part in samples:
            outer, inner, height, width = value.shape
            fans = 9 * outer + 9 if part == "depthwise" else inner + outer
            assert (height, width) == ((3, 3) if part == "depthwise" else (1, 1))
            samples[part].append(value.ravel() / np.sqrt(6 / fans))
    for values in samples.values():
        sample = np.concatenate(values)
        assert len(sample) > 1000
        assert stats.kstest(sample, stats.uniform(-1, 2).cdf).pvalue > RARE


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize("seed", range(2))
def test_a_pyramid_of_levels_3_to_6_is_costed_drawn_and_learns(
    seed: int, tmp_path: Path, fill: Fill
) -> None:
    genome = random_lite(seed)
    recipe = load_recipe("shapes-proxy", [*SETTINGS, "model.separable=true"])
    net = build_network(recipe, genome, 2, drop_block=3)
    cost = detector_cost(genome, recipe.shape(2, genome.levels))
    assert cost.parameters == sum(p.size for p in net.trainable_params())
    draw_genome(genome, tmp_path / "lite.svg")
    fill(net)
    net.set_train()
    x = Tensor(numbers(np.random.default_rng(0), 2, 3, 64, 128))
    settings = Tensor(0.9, mindspore.float32), Tensor(1, mindspore.int32)

    def loss(images: Tensor) -> Tensor:
        ((logits, deltas),) = net.outputs(images, *settings)
        return (logits * logits).mean() + (deltas * deltas).mean()

    weights = net.trainable_params()
    step = mindspore.value_and_grad(loss, None, weights)
    before, gradients = step(x)
    slope = sum(float((g * g).sum().asnumpy()) for g in gradients)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.set_data(weight - gradient * (0.01 * float(before.asnumpy()) / slope))
    assert float(loss(x).asnumpy()) < float(before.asnumpy())
    assert all(g.asnumpy().any() for w, g in zip(weights, gradients, strict=True) if w.ndim == 4)


def test_separable_convolutions_save_the_expected_parameters() -> None:
    # In a cell of C channels, 9 C^2 + C weights become 9 C + C^2 + C. Batch norms do not change.
    genome, channels = random_lite(0), 48
    shape = load_recipe("shapes-proxy").shape(2, genome.levels)
    shape = replace(shape, channels=channels, head_channels=channels, head_convs=0, stacks=3)
    lite = replace(shape, layers=replace(shape.layers, separable=True))
    cells = 3 * len(genome.cells)
    saved = cells * (9 * channels**2 - 9 * channels - channels**2)
    for outputs in (shape.anchors * shape.classes, shape.anchors * 4):  # of the two heads
        saved += 9 * channels * outputs - 9 * channels - channels * outputs
    assert detector_cost(genome, shape).parameters - detector_cost(genome, lite).parameters == saved
