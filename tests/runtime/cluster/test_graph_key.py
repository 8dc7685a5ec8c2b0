"""The key of a compiled graph changes with all that the graph depends on, and with nothing else."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from fresh_process import run_script
from nasfpn_runtime.bench.step import random_batch
from nasfpn_runtime.cluster import graph_key as keys
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.cluster.graph_key import UnknownError, graph_key
from nasfpn_runtime.network import losses
from nasfpn_runtime.network.build import build_network
from nasfpn_runtime.network.convolution import use_low_memory_gradients
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.losses import DetectionLoss
from nasfpn_runtime.network.merge import MergingCell
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.training import step as training_step
from nasfpn_runtime.training.finetune import freeze
from nasfpn_runtime.training.step import DetectorWithLoss, TrainStep, use_precision
from search_space import Genome, NASFPNSpace
from small_networks import GENOME, small_recipe

pytestmark = pytest.mark.slow

ONE = (Tensor(np.zeros((1, 2), np.float32)),)

# In a process of its own, where ids and addresses are others.
KEY = """
from test_graph_key import graph_key, set_device, small_recipe, step
set_device("CPU")
recipe = small_recipe("tf-r50-7x256-640", *json.loads(os.environ["OVERRIDES"]))
from nasfpn_runtime.cluster.graph_key import process_start
report(key=graph_key(step(recipe).state, ()), start=process_start())
"""


@pytest.fixture(autouse=True)
def _graph_mode() -> None:
    set_device("CPU")


def network(recipe: Recipe, genome: Genome = GENOME, seed: int = 0) -> Any:
    net = build_network(recipe, genome, 3, supervised=recipe.training.deep_supervision)
    initialise(net, seed)
    return net


def step(recipe: Recipe, seed: int = 0, classes: int = 3) -> TrainStep:
    net = network(recipe, seed=seed)
    freeze(net.backbone, recipe.training.freeze_stages)
    use_precision(net, recipe.training.precision)
    loss = DetectorWithLoss(net, DetectionLoss(classes, recipe.loss))
    return TrainStep(loss, recipe.training, [recipe.training.lr] * recipe.training.epochs)


def key(cell: nn.Cell, inputs: tuple[Tensor, ...] = ONE) -> str:
    return graph_key(cell, inputs)


@cache
def base() -> str:
    return key(step(small_recipe()).state, ())


def test_the_key_is_the_same_in_another_process_and_for_other_values_of_the_parameters() -> None:
    overrides = ["training.ema=0.9", "training.precision=float16"]
    recipe = small_recipe("tf-r50-7x256-640", *overrides)
    here = {key(step(recipe, seed=s).state, ()) for s in (0, 1)}
    assert len(here) == 1
    before = time.time()
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    there = run_script(KEY, OVERRIDES=json.dumps(overrides), PYTHONPATH=path)
    assert {there["key"]} == here
    assert before - 0.1 < there["start"] < time.time()


def test_the_key_stays_when_the_network_has_run() -> None:
    recipe = small_recipe("tf-r50-7x256-640", "data.image=[64, 64]", "model.stacks=1")
    net = network(recipe)
    net.set_train(False)
    images = (Tensor(np.zeros((1, 3, 64, 64), np.float32)),)
    before = key(net, images)
    net(*images)
    assert key(net, images) == before


def test_different_genomes_have_different_keys() -> None:
    rng, space = np.random.default_rng(0), NASFPNSpace()
    recipe = small_recipe("tf-r50-7x256-640", "model.stacks=1", "data.image=[128, 128]")
    genome = space.sample(rng)
    seen = {}
    for _ in range(4):
        seen[key(network(recipe, genome), ())] = genome
        genome = space.mutate(genome, rng)  # one decision differs
    assert len(seen) == len(set(seen.values()))
    assert len(seen) > 2


@pytest.mark.parametrize(
    "change",
    [
        "model.dialect=mmdet",
        "model.norm_momentum=0.5",
        "model.channels=16",
        "model.stacks=3",
        "model.head_convs=2",
        "model.separable=true",
        "loss.gamma=3.0",
        "loss.huber_delta=0.2",
        "training.weight_decay=0.1",
        "training.decay=all",
        "training.clip=3.0",
        "training.ema=0.9",
        "training.precision=float16",
        "training.deep_supervision=true",
        "training.freeze_stages=2",
    ],
)
def test_a_setting_that_changes_the_graph_changes_the_key(change: str) -> None:
    changed = small_recipe("tf-r50-7x256-640", change)
    assert changed.to_dict() != small_recipe().to_dict()
    assert key(step(changed).state, ()) != base()


def test_another_number_of_classes_or_of_low_memory_convolutions_changes_the_key() -> None:
    assert key(step(small_recipe(), classes=4).state, ()) != base()
    changed = step(small_recipe())
    use_low_memory_gradients(changed.backward.network.detector, (512, 512))
    assert key(changed.state, ()) != base()


@pytest.mark.parametrize(
    "change",
    [
        "description=another text",
        "training.epochs=77",
        "training.lr=0.3",
        "training.loss_scale=16",
        "detection.score=0.3",
    ],
)
def test_a_setting_that_changes_no_graph_keeps_the_key(change: str) -> None:
    changed = small_recipe("tf-r50-7x256-640", change)
    assert changed.to_dict() != small_recipe().to_dict()
    assert key(step(changed).state, ()) == base()


Change = Callable[[nn.Cell, pytest.MonkeyPatch], None]
CHANGES: dict[str, Change] = {
    "training": lambda net, patch: net.set_train(not net.training) and None,
    "precision": lambda net, patch: net.to_float(mindspore.float16) and None,
    "frozen": lambda net, patch: setattr(net.weight, "requires_grad", False),
    "name": lambda net, patch: setattr(net.weight, "name", "other"),
    "attribute": lambda net, patch: setattr(net, "more", 1),
    "constant": lambda net, patch: setattr(net, "more", Tensor(1.0)),
    "operation": lambda net, patch: setattr(net, "more", ops.Conv2D(1, 1)),
    "cell": lambda net, patch: setattr(net, "activation", nn.ReLU()),
    "flag": lambda net, patch: net.add_flags(defer_inline=True) and None,
    "variable": lambda net, patch: patch.setenv("MS_DEV_SOMETHING", "1"),
    "constant of numpy": lambda net, patch: setattr(net, "more", np.ones(1, np.float32)),
    "jit level": lambda net, patch: net.set_jit_config(mindspore.JitConfig("O1")),
    "version": lambda net, patch: patch.setattr(mindspore, "__version__", "2.10.9"),
    "sources": lambda net, patch: patch.setattr(keys, "sources", lambda: "others"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_of_the_network_or_its_surroundings_changes_the_key(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Dense(2, 3)
    before = key(net)
    CHANGES[what](net, monkeypatch)
    assert key(net) != before


@pytest.mark.parametrize(("name", "value"), [("max_call_depth", 999), ("check_bprop", True)])
def test_a_setting_of_mindspore_changes_the_key(name: str, value: Any) -> None:
    net, before = nn.Dense(2, 3), mindspore.get_context(name)
    kept = key(net)
    mindspore.set_context(**{name: value})
    try:
        assert key(net) != kept
    finally:
        mindspore.set_context(**{name: before})
    assert key(net) == kept


def test_one_parameter_used_twice_is_not_two_of_one_name() -> None:
    def net(*weights: Parameter) -> nn.Cell:
        cell = nn.Dense(2, 3)
        vars(cell)["pair"] = weights
        return cell

    one, other = (Parameter(Tensor([1.0]), name="a") for _ in range(2))
    assert key(net(one, one)) != key(net(one, other))


def test_small_differences_of_operations_constants_and_inputs_are_seen() -> None:
    def with_(value: Any) -> nn.Cell:
        net = nn.Dense(2, 3)
        net.more = value
        return net

    values = [
        *(Tensor(np.array(v, d)) for v in ([1.0], [[1.0]], [2.0]) for d in (np.float32, np.int32)),
        *(ops.Conv2D(1, 3, pad_mode="pad", pad=p) for p in (0, 1)),
        *(ops.GradOperation(get_by_list=b, sens_param=not b) for b in (True, False)),
        *(1, 1.0, True, "1", (1,), [1], {"a": 1}, {"a": 2}, None),
        *(mindspore.float16, mindspore.float32),
        *(Parameter(Tensor([1.0]), name=name) for name in ("a", "b")),
    ]
    assert len({key(with_(value)) for value in values}) == len(values)
    shapes = [((1, 2), np.float32), ((2, 2), np.float32), ((1, 2), np.float16), ((2,), np.float32)]
    inputs = [(Tensor(np.zeros(shape, kind)),) for shape, kind in shapes]
    assert len({key(nn.Dense(2, 3), x) for x in [*inputs, (), inputs[0] * 2]}) == 6


class Foreign(nn.Cell):
    """A cell whose source is no part of a key."""

    def construct(self, x: Tensor) -> Tensor:
        return x + 1


UNKNOWN: dict[str, Callable[[nn.Cell], Any]] = {
    "cell": lambda net: setattr(net, "more", Foreign()),
    "cell in another": lambda net: setattr(net, "more", nn.SequentialCell(Foreign())),
    "function": lambda net: setattr(net, "more", [lambda x: x]),
    "method": lambda net: setattr(net, "construct", lambda x: x),
    "object": lambda net: setattr(net, "more", {"a": object()}),
    "recompute": lambda net: net.recompute(),
    "hook": lambda net: net.register_forward_hook(lambda *a: None),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_network_with_something_unknown_has_no_key(what: str) -> None:
    net = nn.Dense(2, 3)
    UNKNOWN[what](net)
    with pytest.raises(UnknownError):
        key(net)


def replace(where: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(where, name, value)


# What a program can replace, by its name in an error message, or none if its value is in the key.
REPLACED = {
    "method": (replace(MergingCell, "construct", lambda *maps: maps[1]), r"MergingCell\.construct"),
    "function": (replace(losses, "softplus", lambda x: x), r"losses\.softplus"),
    "constant": (replace(training_step, "SCALE_WINDOW", 3), None),
    "constant of a class": (replace(MergingCell, "more", 3), None),
}


@pytest.mark.parametrize("what", REPLACED)
def test_what_a_program_replaces_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MergingCell, "more", 2, raising=False)
    net = step(small_recipe()).state
    before = key(net, ())
    change, name = REPLACED[what]
    change(monkeypatch)
    if name is None:
        assert key(net, ()) != before
        return
    with pytest.raises(UnknownError, match=name):
        key(net, ())


def test_sources_that_are_newer_than_the_process_give_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("package")
    package.__path__ = [str(tmp_path / "package")]  # type: ignore[assignment]
    (tmp_path / "package" / "folder").mkdir(parents=True)
    file = tmp_path / "package" / "folder" / "module.py"
    monkeypatch.setattr(keys, "PACKAGES", (package,))
    seen = set()
    for content, name in (("a = 1", "module.py"), ("a = 2", "module.py"), ("a = 2", "other.py")):
        file.unlink(missing_ok=True)
        file = file.with_name(name)
        file.write_text(content)
        os.utime(file, (1, 1))  # as archives and rsync do
        with pytest.raises(UnknownError):
            keys.sources()
        with monkeypatch.context() as patch:
            patch.setattr(keys, "process_start", lambda: time.time() + 10)
            seen.add(keys.sources())
    assert len(seen) == 3


def test_the_inputs_of_a_training_step_can_be_described() -> None:
    recipe = small_recipe("tf-r50-7x256-640", "training.dropblock={keep: 0.9}")
    batch = random_batch(64, 2)
    assert key(step(recipe).state, tuple(batch)) != key(step(recipe).state, tuple(batch)[:-1])
