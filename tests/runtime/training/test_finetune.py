"""Training that starts from a checkpoint, with stages of the backbone frozen."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

import searched_archs
from nasfpn_runtime import build_network
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.errors import CheckpointError, InitError, RecipeError
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.network.checkpoint import Origin
from nasfpn_runtime.network.init import initialise
from nasfpn_runtime.network.resnet import ResNet
from nasfpn_runtime.recipe.dialects import TF
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Training
from nasfpn_runtime.training.finetune import Init, freeze, start_from
from nasfpn_runtime.training.runlog import RunOptions
from nasfpn_runtime.training.step import TrainStep
from nasfpn_runtime.training.train import train
from runs import SMALL
from search_space import Genome, MergingCell

QUIET = RunOptions(progress=False)
GENOME = searched_archs.load("nasfpn")
Arrays = dict[str, NDArray[Any]]


def recipe(*overrides: str) -> Any:
    return load_recipe("shapes", [*SMALL, *overrides])


def detector(categories: int, settings: Any = None, seed: int = 0, genome: Genome = GENOME) -> Any:
    settings = settings or recipe()
    net = build_network(settings, genome, categories)
    initialise(net, seed, settings.model.resolved_dialect().init)
    return net


def values(net: Any) -> Arrays:
    return {p.name: p.asnumpy().copy() for p in net.get_parameters()}


def saved(path: Path, net: nn.Cell, categories: int, genome: Any = GENOME) -> Path:
    names = tuple(f"c{i}" for i in range(categories))
    checkpoint.save(path, net, Origin(recipe(), genome, names, seed=0, epoch=3))
    return path


def test_every_parameter_of_the_same_network_is_loaded(tmp_path: Path) -> None:
    source, net = detector(3, seed=1), detector(3)
    report = start_from(net, GENOME, Init(saved(tmp_path / "a.ckpt", source, 3)))
    assert set(report.loaded) == set(values(net))
    assert not report.kept
    for name, value in values(source).items():
        np.testing.assert_array_equal(values(net)[name], value, err_msg=name)


@pytest.mark.parametrize(
    "dialect", ["tf", "modelzoo"]
)  # heads shared by all levels, and one for each
def test_a_head_is_dropped_even_if_it_matches(tmp_path: Path, dialect: str) -> None:
    settings = recipe(f"model.dialect={dialect}")
    path = saved(tmp_path / "a.ckpt", detector(3, settings, seed=1), 3)
    kept = start_from(detector(3, settings), GENOME, Init(path, drop_head=True)).kept
    names = values(detector(3, settings))
    assert set(kept) == {name for name in names if "classes" in name and "predict" in name}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["tf", "modelzoo"])
def test_other_classes_require_drop_head_which_drops_only_their_prediction(
    tmp_path: Path, dialect: str
) -> None:
    settings = recipe(f"model.dialect={dialect}")
    source, net = detector(5, settings, seed=1), detector(3, settings)
    before = values(net)
    path = saved(tmp_path / "a.ckpt", source, 5)
    with pytest.raises(CheckpointError, match=r"classes\.(\d\.)?predict.*--drop-head"):
        start_from(net, GENOME, Init(path))
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, before[name])
    report = start_from(net, GENOME, Init(path, drop_head=True))
    kept = {name for name in before if "classes" in name and "predict" in name}
    assert set(report.kept) == kept
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, (before if name in kept else values(source))[name])
    assert len(str(report).splitlines()) == 2


CLASSES = ("circle", "square", "triangle")


@pytest.mark.parametrize(
    ("stored", "wanted", "message"),
    [
        (
            CLASSES,
            ("RBC", "WBC", "Platelets"),
            "circle, square, triangle .*number 1 .*got RBC, WBC, Platelets",
        ),
        (CLASSES, ("circle", "triangle", "square"), "square, triangle .*number 2 .*got tri"),
        (CLASSES, CLASSES[:2], "triangle .*number 3 .*got none;"),
        (CLASSES[:2], CLASSES, "none .*number 3 .*got triangle;"),
        (
            tuple("abcdefgh"),
            tuple("abcxefgy"),
            r"a\.ckpt.* d, e, f, \.\.\. .*number 4 .*got x, e, f, \.\.\.; --drop-head",
        ),
    ],
)
def test_predictions_of_other_classes_or_another_order_are_not_loaded(
    tmp_path: Path, stored: tuple[str, ...], wanted: tuple[str, ...], message: str
) -> None:
    path, net = tmp_path / "a.ckpt", detector(len(wanted))
    source = detector(len(stored), seed=1)
    checkpoint.save(path, source, Origin(recipe(), GENOME, stored, seed=0, epoch=3))
    before = values(net)
    with pytest.raises(CheckpointError, match=message) as caught:
        start_from(net, GENOME, Init(path), wanted)
    assert "--drop-head" in str(caught.value)
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, before[name])
    start_from(net, GENOME, Init(path, drop_head=True), wanted)
    assert not start_from(detector(len(stored)), GENOME, Init(path), stored).kept


def test_a_box_head_of_other_anchors_is_dropped_with_the_classes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", detector(3, recipe("anchors.octaves=2")), 3)
    net = detector(3)
    with pytest.raises(CheckpointError, match="--drop-head"):
        start_from(net, GENOME, Init(path))
    kept = start_from(net, GENOME, Init(path, drop_head=True)).kept
    assert {name.rsplit(".", 1)[0] for name in kept} == {
        "head.classes.predict",
        "head.boxes.predict",
    }


def test_a_mismatch_outside_the_head_is_refused_even_with_drop_head(tmp_path: Path) -> None:
    wider = saved(tmp_path / "a.ckpt", detector(3, recipe("model.stacks=2")), 3)
    with pytest.raises(CheckpointError, match=r"a\.ckpt: 42 .*pyramid\.stacks\.1"):
        # 7 cells with a kernel, a bias and 4 parameters of batch norm: 7 * 6 = 42
        start_from(detector(3), GENOME, Init(wider, drop_head=True))


@pytest.mark.parametrize("dialect", ["tf", "mmdet", "modelzoo"])
@pytest.mark.parametrize("number", range(3))
def test_without_its_cells_a_detector_of_another_genome_is_loaded(
    dialect: str, number: int, tmp_path: Path, random_genome: Any
) -> None:
    """What both genomes have is the checkpoint's, and the cells are as a run of this seed has."""
    rng = np.random.default_rng(number)
    genome = random_genome(rng)
    # A genome with the same levels: a cell for each of them, each from one of the inputs.
    reference = Genome(
        tuple(MergingCell(v, "identity", (i,)) for i, v in enumerate(genome.levels)), genome.levels
    )
    stacks = ("model.stacks=1", "model.stacks=3")
    ours, theirs = (recipe(f"model.dialect={dialect}", stack) for stack in stacks)
    source, net = (
        detector(3, settings, seed, genome=of)
        for settings, seed, of in ((theirs, 1, reference), (ours, 2, genome))
    )
    for parameter in source.get_parameters():  # running statistics and biases, too
        parameter.set_data(Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
    path = saved(tmp_path / "a.ckpt", source, 3, reference)
    fresh, trained = values(net), values(source)
    report = start_from(net, genome, Init(path, drop_cells=True))
    cells = {name for name in fresh if name.startswith("pyramid.stacks.")}
    assert cells
    assert set(report.kept) == cells
    assert set(report.loaded) == fresh.keys() - cells
    assert report.loaded
    for name, value in values(net).items():
        expected = (fresh if name in cells else trained)[name]
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_cells_are_not_loaded_even_if_they_match(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", detector(3, seed=1), 3)
    kept = start_from(detector(3), GENOME, Init(path, drop_cells=True)).kept
    assert set(kept) == {name for name in values(detector(3)) if "stacks" in name}


def test_another_genome_needs_drop_cells_and_other_levels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.ckpt", detector(3), 3)
    other = searched_archs.load("fpn")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: .*genome.*--drop-cells"):
        start_from(detector(3, genome=other), other, Init(path))
    finer = Genome(tuple(MergingCell(v, "sum", (0, 1)) for v in (2, 3, 4, 5, 6)), (2, 3, 4, 5, 6))
    net = detector(3, genome=finer)
    before = values(net)
    for drop_cells in (True, False):
        with pytest.raises(CheckpointError, match=r"a\.ckpt.* p3, .*p7, got p2, .*p6$"):
            start_from(net, finer, Init(path, drop_cells=drop_cells))
    for name, value in values(net).items():
        np.testing.assert_array_equal(value, before[name])


def test_what_is_left_out_is_part_of_the_digest(tmp_path: Path) -> None:
    """A run with one of them is not resumed with the other."""
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"weights")
    digests = {Init(path, *drop).digest() for drop in itertools.product((False, True), repeat=2)}
    assert len(digests) == 4
    assert Init(path).digest() == hashlib.sha256(b"weights").hexdigest()


def test_a_file_that_is_no_checkpoint_is_an_error_of_the_initial_weights(tmp_path: Path) -> None:
    """A search stops at once, because no candidate could start from them."""
    path = saved(tmp_path / "a.ckpt", detector(3), 3)
    path.write_bytes(path.read_bytes()[:-100])
    for file in (path, tmp_path / "missing.ckpt"):
        with pytest.raises(InitError, match=str(file)):
            start_from(detector(3), GENOME, Init(file))


def test_a_backbone_alone_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    source, net = detector(3, seed=1), detector(7)
    path = saved(tmp_path / "a.ckpt", source.backbone, 0, searched_archs.load("fpn"))
    report = start_from(net, GENOME, Init(path), tuple("abcdefg"))
    assert set(report.loaded) == {n for n in values(net) if n.startswith("backbone.")}
    np.testing.assert_array_equal(
        net.backbone.stem.conv.weight.asnumpy(), source.backbone.stem.conv.weight.asnumpy()
    )


class Sum(nn.Cell):
    """The sum of the mean squares of a ResNet's feature maps, as a loss."""

    def __init__(self, net: ResNet) -> None:
        super().__init__(auto_prefix=False)
        self.net = net

    def construct(self, images: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        total = labels.sum() + targets.sum()
        for level in self.net(images):
            total = total + (level * level).mean()
        return total


def stepped(stages: int, steps: int = 2, *, trained: bool = False) -> tuple[Arrays, Arrays]:
    """Return the parameters of a ResNet before and after some steps.

    Args:
        trained: train the weights of the frozen part after all.
    """
    set_device("CPU")
    net = ResNet("resnet10", 4, (3, 4), TF)
    rng = np.random.default_rng(0)
    for p in net.get_parameters():
        value = rng.uniform(0.5, 1.5, p.shape) if len(p.shape) == 1 else rng.normal(0, 0.2, p.shape)
        p.set_data(Tensor(value.astype(np.float32)))
    before = values(net)
    freeze(net, stages)
    if trained:
        for p in net.get_parameters():
            p.requires_grad = "moving" not in p.name
    step = TrainStep(Sum(net), Training(weight_decay=1e-2), [1e-3, 1e-3])
    zero = Tensor(np.zeros(1, np.float32))
    images = Tensor(rng.standard_normal((2, 3, 32, 32)).astype(np.float32))
    for _ in range(steps):
        step((images, zero, zero))
    return before, values(net)


def is_frozen(name: str, stages: int) -> bool:
    groups = tuple(f"groups.{g}." for g in range(stages))
    return stages > 0 and name.startswith(("stem.", *groups))


@pytest.mark.slow
@pytest.mark.parametrize("stages", [0, 1, 2])
def test_frozen_stages_keep_weights_and_statistics_bit_equal_and_others_change(stages: int) -> None:
    before, after = stepped(stages)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert np.array_equal(after[name], value) == is_frozen(name, stages), name


@pytest.mark.slow
def test_freezing_does_not_change_the_gradients_of_other_stages() -> None:
    """One step changes weights by -rate (gradient + decay); both nets use the same statistics."""
    _, frozen = stepped(1, steps=1)
    before, moving = stepped(1, steps=1, trained=True)
    assert not np.array_equal(moving["stem.conv.weight"], before["stem.conv.weight"])
    for name, value in moving.items():
        if not is_frozen(name, 1):
            np.testing.assert_allclose(
                frozen[name] - before[name], value - before[name], rtol=1e-4, atol=1e-9
            )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    write_shapes(folder, train=4, val=2, test=2, size=64)
    return folder


@pytest.mark.slow
def test_a_run_starts_from_a_checkpoint_freezes_and_resumes_without_it(
    data: Path, tmp_path: Path
) -> None:
    source = detector(9, seed=5)
    path = saved(tmp_path / "a.ckpt", source, 9)
    settings = ["data.image=[64, 64]", "training.batch=2", "training.warmup_epochs=0"]
    settings += ["training.freeze_stages=2", "training.save_every=1"]
    both = recipe(*settings, "training.epochs=2")
    out = tmp_path / "run"
    with pytest.raises(RecipeError, match="freeze_stages"):
        train(both, GENOME, data, out, options=QUIET)
    other = Init(saved(tmp_path / "other.ckpt", detector(3), 3))
    with pytest.raises(CheckpointError, match=r"c0, c1, c2 .*got circle, square, triangle"):
        train(both, GENOME, data, out, init=other, options=QUIET)
    train(both, GENOME, data, out, init=Init(path, drop_head=True), options=QUIET)
    arrays, _ = checkpoint.load(out / "checkpoints" / "last.ckpt")
    for name, value in values(source).items():
        if name.startswith("backbone."):
            assert np.array_equal(arrays[name], value) == is_frozen(name[9:], 2), name
    path.chmod(0o600)
    path.unlink()
    lines = (out / "metrics.jsonl").read_text()
    train(both, GENOME, data, out, init=Init(path, drop_head=True), options=QUIET)
    assert (out / "metrics.jsonl").read_text() == lines
    assert [json.loads(line)["epoch"] for line in lines.splitlines()] == [1, 2]
