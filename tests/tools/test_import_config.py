"""``nasfpn import-config``: settings of the model zoo arrive where they belong, or are named."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nasfpn_runtime.importers import zoo_keys
from nasfpn_runtime.importers.zoo_config import KEYS, import_values, read_values
from nasfpn_runtime.recipe.recipe import Recipe, load_recipe
from nasfpn_runtime.training.schedule import learning_rates
from tools.cli import main

# research/cv/nas-fpn/default_config.yaml of MindSpore models eab643f, but for the 81 names of
# coco_classes, whose order test_spellings compares with COCO's.
ZOO: dict[str, Any] = {
    "alpha": 0.75,
    "anchor_size": [32, 64, 128, 256, 512],
    "anno_path": "",
    "aspect_ratios": [[0.5, 1.0, 2.0]] * 5,
    "batch_size": 16,
    "checkpoint_path": "",
    "checkpoint_url": "",
    "coco_root": "/home/datasets/COCO2017",
    "create_dataset": "coco",
    "data_path": "/cache/data",
    "data_url": "",
    "dataset": "coco",
    "dataset_path": "",
    "device_id": 0,
    "device_target": "Ascend",
    "distribute": True,
    "enable_modelarts": False,
    "enable_profiling": False,
    "epoch_size": 300,
    "export_batch_size": 1,
    "extras_out_channels": [256, 256, 256, 256, 256],
    "feature_size": [80, 40, 20, 10, 5],
    "file_format": "MINDIR",
    "file_name": "retinanet_nasfpn",
    "filter_weight": False,
    "finish_epoch": 0,
    "gamma": 2.0,
    "global_step": 0,
    "image_dir": "",
    "img_shape": [640, 640],
    "instances_set": "annotations/instances_{}.json",
    "is_training": True,
    "keep_checkpoint_max": 10,
    "load_path": "/cache/checkpoint_path",
    "loss_scale": 1024,
    "lr": 0.1,
    "lr_end_rate": 0.005,
    "lr_init": 1e-06,
    "match_thershold": 0.5,
    "max_boxes": 100,
    "min_score": 0.1,
    "mindrecord_dir": "/home/datasets/coco_mindrecord",
    "mode": "sink",
    "modelarts_dataset_unzip_name": "MindRecord_COCO",
    "momentum": 0.9,
    "nasfpn_end_level": -1,
    "nasfpn_input_channels": [512, 1024, 2048],
    "nasfpn_num_outs": 5,
    "nasfpn_out_channel": 256,
    "nasfpn_stack_times": 7,
    "nasfpn_start_level": 0,
    "need_modelarts_dataset_unzip": True,
    "nms_thershold": 0.6,
    "num_classes": 81,
    "num_default": [9, 9, 9, 9, 9],
    "num_retinanet_boxes": 76725,
    "output_path": "/cache/train",
    "pre_trained": "",
    "pre_trained_epoch_size": 0,
    "prefix": "retinanet.mindrecord",
    "prior_scaling": [0.1, 0.2],
    "result_path": "",
    "save_checkpoint": True,
    "save_checkpoint_epochs": 1,
    "save_checkpoint_path": "./ckpt",
    "steps": [8, 16, 32, 64, 128],
    "train_data_type": "train2017",
    "train_url": "",
    "val_data_type": "val2017",
    "warmup_epochs": 2,
    "warmup_epochs1": 2,
    "warmup_epochs2": 5,
    "warmup_epochs3": 23,
    "warmup_epochs4": 60,
    "warmup_epochs5": 160,
    "weight_decay": 0.00015,
    "workers": 24,
}
TABLES = (
    zoo_keys.COPIED,
    zoo_keys.DERIVED,
    zoo_keys.FIXED,
    zoo_keys.MOVED,
    zoo_keys.NOTHING,
)


def imported(changes: dict[str, Any], devices: int = 8) -> Recipe:
    values = {key: default for key, (default, _) in KEYS.items()} | changes
    return import_values(values, devices, "x.yaml")


def setting(recipe: Recipe, path: str) -> Any:
    content: Any = recipe.to_dict()
    for part in path.split("."):
        content = content[part]
    return content


def test_every_key_of_the_model_zoo_is_in_one_table_with_its_value() -> None:
    names = [key for table in TABLES for key in table]
    assert sorted(names) == sorted([*ZOO, "coco_classes"])
    assert {key: KEYS[key][0] for key in ZOO} == ZOO


def test_the_model_zoo_s_values_are_the_shipped_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "default_config.yaml"
    # Numbers as text, and help texts in a second document, as in the original.
    text = yaml.safe_dump(ZOO).replace("1.0e-06", "1e-6")
    source.write_text(f"{text}---\nlr: Learning rate\n")
    out = tmp_path / "new" / "mine.yaml"
    assert main(["import-config", str(source), "-o", str(out)]) == 0
    shipped = load_recipe(zoo_keys.RECIPE)
    found = load_recipe(out)
    assert found.name == "mine"
    assert replace(found, name=shipped.name, description=shipped.description) == shipped
    printed = capsys.readouterr().out
    for key in KEYS:
        assert re.search(rf"^  {key} +\S", printed, re.MULTILINE), key
    assert f"--recipe {out} --devices 8\n" in printed


def test_options_that_keys_are_moved_to_exist(capsys: pytest.CaptureFixture[str]) -> None:
    uses = [
        (command, option)
        for _, text in zoo_keys.MOVED.values()
        for command, rest in re.findall(
            r"nasfpn (data create|[a-z-]+)([^,;]*(?:, --[a-z]+)*)", text
        )
        for option in re.findall(r"--[a-z-]+", rest)
    ]
    assert {command for command, _ in uses} == {"train", "eval", "import", "data create"}
    for command, option in uses:
        assert main([*command.split(), "--help"]) == 0
        assert f"{option} " in capsys.readouterr().out, (command, option)


COPIES = {
    "nms_thershold": st.floats(0, 1),
    "min_score": st.floats(0, 1),
    "max_boxes": st.integers(1, 1000),
    "lr": st.floats(1e-6, 10),
    "lr_end_rate": st.floats(0, 1),
    "momentum": st.floats(0, 0.999),
    "weight_decay": st.floats(0, 1),
    "epoch_size": st.integers(1, 1000),
    "loss_scale": st.floats(1, 1e6),
    "save_checkpoint_epochs": st.integers(1, 100),
    "keep_checkpoint_max": st.integers(1, 100),
    "prior_scaling": st.lists(st.floats(0.01, 1), min_size=2, max_size=2),
    "gamma": st.floats(0, 5),
    "alpha": st.floats(0.01, 0.99),
    "nasfpn_stack_times": st.integers(1, 9),
}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries({}, optional=COPIES))
def test_changed_values_arrive_and_nothing_else_changes(changes: dict[str, Any]) -> None:
    recipe = imported(changes)
    for key, value in changes.items():
        assert setting(recipe, zoo_keys.COPIED[key][1]) == value
    expected = imported({}).to_dict()
    for key in changes:
        section, name = zoo_keys.COPIED[key][1].split(".")
        expected[section][name] = setting(recipe, f"{section}.{name}")
    if "lr" in changes:  # warm-up begins at rates, not at shares of lr
        expected["training"]["warmup"] = recipe.to_dict()["training"]["warmup"]
    found = recipe.to_dict()
    assert {**found, "description": ""} == {**expected, "description": ""}


def test_every_copied_key_is_tried() -> None:
    assert {*COPIES, "nasfpn_out_channel"} == set(zoo_keys.COPIED)  # it has another beside it


@settings(max_examples=25, deadline=None)
@given(
    classes=st.integers(1, 100),
    side=st.integers(1, 8),
    ratios=st.lists(st.floats(0.1, 10), min_size=1, max_size=4),
    size=st.floats(4, 100),
    share=st.floats(0.1, 1),
    channels=st.integers(1, 64),
    batch=st.integers(1, 32),
    devices=st.integers(1, 16),
)
def test_keys_that_belong_together_arrive_together(
    classes: int,
    side: int,
    ratios: list[float],
    size: float,
    share: float,
    channels: int,
    batch: int,
    devices: int,
) -> None:
    sides = [16 * side // 2**level for level in range(5)]
    count = 3 * len(ratios)
    recipe = imported(
        {
            "num_classes": classes + 1,
            "coco_classes": ["background", *map(str, range(classes))],
            "img_shape": [128 * side] * 2,
            "feature_size": sides,
            "aspect_ratios": [ratios] * 5,
            "num_default": [count] * 5,
            "num_retinanet_boxes": sum(s * s for s in sides) * count,
            "anchor_size": [size * 2**level for level in range(5)],
            "nasfpn_out_channel": channels,
            "extras_out_channels": [channels] * 5,
            "match_thershold": share,
            "batch_size": batch,
        },
        devices,
    )
    assert recipe.model.categories == classes
    assert recipe.model.channels == channels
    assert recipe.data.image == (128 * side, 128 * side)
    assert recipe.anchors.ratios == tuple(ratios)
    assert recipe.anchors.scale == size / 8  # stride of level 3
    assert (recipe.matching.positive, recipe.matching.negative) == (share, share)
    assert recipe.training.batch == batch * devices


def test_anchors_are_those_of_the_changed_settings() -> None:
    """Height and width of src/box_utils.py: side over and times the root of a ratio."""
    ratios, size = [0.25, 3.0], 20.0
    sides = [16, 8, 4, 2, 1]
    recipe = imported(
        {
            "img_shape": [128, 128],
            "feature_size": sides,
            "aspect_ratios": [ratios] * 5,
            "num_default": [6] * 5,
            "num_retinanet_boxes": 6 * (256 + 64 + 16 + 4 + 1),
            "anchor_size": [size * 2**level for level in range(5)],
        }
    )
    expected = []
    for level, cells in enumerate(sides):
        stride = 128 / cells
        for y in range(cells):
            for x in range(cells):
                for ratio in ratios:
                    for octave in range(3):
                        side = size * 2**level * 2 ** (octave / 3)
                        w, h = side * math.sqrt(ratio) / 2, side / math.sqrt(ratio) / 2
                        cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
                        expected.append((cx - w, cy - h, cx + w, cy + h))
    found = recipe.anchor_boxes(range(3, 8))
    np.testing.assert_allclose(found, np.array(expected, np.float32), rtol=1e-5, atol=1e-4)


def zoo_rates(values: dict[str, Any], steps_per_epoch: int) -> NDArray[np.float64]:
    """Return the rates of src/lr_schedule.py, step by step.

    Each phase goes from one rate to another; what is left is half a wave of cosine. The
    rates at which phases two to five begin do not depend on lr.
    """
    top = values["lr"]
    ends = [
        (values["lr_init"], top * 1e-4 / 3),
        (1e-5, top * 1e-3),
        (1e-4, top * 1e-2),
        (1e-3, top * 1e-1),
        (1e-2, top),
    ]
    rates = []
    for phase, (start, stop) in enumerate(ends, 1):
        steps = values[f"warmup_epochs{phase}"] * steps_per_epoch
        rates += [start * (1 - i / steps) + stop * i / steps for i in range(steps)]
    total = values["epoch_size"] * steps_per_epoch
    left, low = total - len(rates), top * values["lr_end_rate"]
    rates += [
        low + (top - low) * (1 + math.cos(math.pi * i / left)) / 2 for i in range(max(0, left))
    ]
    return np.array(rates[:total])


WARMUP = st.tuples(*[st.integers(0, 4)] * 5)


@settings(max_examples=25, deadline=None)
@given(
    lr=st.floats(1e-3, 1),
    lr_init=st.floats(0, 1e-3),
    warmup=WARMUP,
    epochs=st.integers(1, 25),
    end=st.floats(0, 1),
    steps=st.integers(1, 7),
)
def test_rates_are_those_of_the_model_zoo_for_any_settings(
    lr: float, lr_init: float, warmup: tuple[int, ...], epochs: int, end: float, steps: int
) -> None:
    changes = {"lr": lr, "lr_init": lr_init, "epoch_size": epochs, "lr_end_rate": end}
    changes |= {f"warmup_epochs{n}": count for n, count in enumerate(warmup, 1)}
    found = learning_rates(imported(changes).training, steps)
    np.testing.assert_allclose(found, zoo_rates(changes, steps), rtol=2e-6, atol=1e-12)


def test_settings_of_the_command_line_come_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "a.yaml", tmp_path / "b.yaml"
    source.write_text("lr: 0.2\nbatch_size: 4\nmomentum: 0.5\ndistribute: false\n")
    words = ["--set", "lr=5e-2", "--set", "epoch_size=10", "--set", "data_url=obs://b/x"]
    assert main(["import-config", str(source), "-o", str(out), *words]) == 0
    training = load_recipe(out).training
    assert (training.lr, training.momentum, training.epochs) == (0.05, 0.5, 10)
    assert training.batch == 4  # of one device, as nothing is distributed
    printed = capsys.readouterr().out
    assert "nasfpn train --data, was 'obs://b/x'" in printed
    assert printed.endswith("--devices 1\n")
    command = ["import-config", str(source), "-o", str(out), "--devices", "2", "--overwrite"]
    assert main(command) == 0
    assert load_recipe(out).training.batch == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lerning_rate=1", r"lerning_rate.*\(at --set lerning_rate=1\)"),
        ("epoch_siz=1", r"epoch_siz, .* epoch_size\?"),
        ("lr", r"key=value, got 'lr'"),
        ("lr=[", r"YAML"),
        ("lr=fast", r"lr .* finite number, got 'fast'"),
        ("lr=true", r"lr .* finite number, got True"),
        ("lr=-1", r"lr .* above 0, got -1\.0"),
        ("lr=0", r"lr .* above 0, got 0\.0"),
        ("epoch_size=1.5", r"epoch_size .* whole number, got 1\.5"),
        ("epoch_size=0", r"epoch_size: training\W+epochs .* above 0, got 0"),
        ("warmup_epochs3=-1", r"warmup_epochs3 .* 0 or more, got -1"),
        ("distribute=8", r"distribute .* true or false, got 8"),
        ("img_shape=640", r"img_shape .* list, got 640"),
        ("img_shape=[]", r"img_shape .* list, got \[\]"),
        ("img_shape=[640, a]", r"img_shape\[1\] .* whole number, got 'a'"),
        ("img_shape=[640, 512]", r"img_shape .* 128, got \[640, 512\]"),
        ("img_shape=[600, 600]", r"img_shape .* 128, got \[600, 600\]"),
        ("img_shape=[512, 512]", r"feature_size .*\[64, 32, 16, 8, 4\] \(img_shape .* steps\)"),
        ("aspect_ratios=[[1.0], [2.0]]", r"aspect_ratios .*five.*, got \[\[1\.0\], \[2\.0\]\]"),
        ("aspect_ratios=[[1], [1], [1], [1], [1]]", r"num_default .*\[3, 3, 3, 3, 3\] \(3 sizes"),
        ("anchor_size=[32, 64]", r"anchor_size .*five.*twice.*, got \[32\.0, 64\.0\]"),
        ("num_retinanet_boxes=10", r"num_retinanet_boxes .*76725 .*anchors.*, got 10"),
        ("num_classes=21", r"num_classes .*81 .*coco_classes.*, got 21"),
        ("coco_classes=[cat]", r"coco_classes .*background, got \['cat'\]"),
        ("nasfpn_out_channel=64", r"extras_out_channels .*\[64, 64, 64, 64, 64\]"),
        ("nasfpn_input_channels=[128, 256, 512]", r"nasfpn_input_channels .*\[512, 1024, 2048\]"),
        ("nasfpn_num_outs=4", r"nasfpn_num_outs .*5 \(levels 3 to 7\), got 4"),
        ("prior_scaling=[0.1]", r"prior_scaling: box_code\.variances .*list of 2"),
        ("global_step=916", r"global_step .*0 .*, got 916"),
        ("keep_checkpoint_max=0", r"keep_checkpoint_max .* 1 or more, got 0"),
        ("save_checkpoint_epochs=0", r"save_checkpoint_epochs .* 1 or more, got 0"),
        ("device_target=GPU", r"device_target .*Ascend, CPU, got 'GPU'"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "a.yaml", tmp_path / "b.yaml"
    source.write_text("lr: 0.1\n")
    assert main(["import-config", str(source), "-o", str(out), "--set", change]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nasfpn: error: ")
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("batch_size=0", "--set batch_size=0"),
        ("lr=-1", "--set lr=-1"),
        ("lr=inf", "--set lr=inf"),
        ("lr_init=-1", "--set lr_init=-1"),
        ("num_classes=21", "--set num_classes=21"),
        ("img_shape=[512, 512]", "a.yaml"),  # feature_size there is what does not follow
        ("lr=2020-99-99", "--set lr=2020-99-99"),
        ("lr=!!bool x", "--set lr=!!bool x"),
    ],
)
def test_the_place_of_a_mistake_is_where_it_was_made(
    tmp_path: Path, change: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.yaml"
    source.write_text("lr: 0.1\n")
    words = ["--set", "epoch_size=7", "--set", change, "--set", "gamma=1"]
    assert main(["import-config", str(source), "-o", str(tmp_path / "b.yaml"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"\(at (\S*/)?{re.escape(place)}\)$", line)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- lr", r"mapping, got \['lr'\] \(at .*a\.yaml\)"),
        (b"", r"mapping, got None \(at .*a\.yaml\)"),
        (b"lr: [", r"YAML: .* \(at .*a\.yaml\)"),
        (b"\xff", r"YAML: .* \(at .*a\.yaml\)"),
        (b"lr: !!python/object/apply:os.getcwd []", r"YAML: could not .*os\.getcwd"),
        (b"1: 2", r"key 1 \(at .*a\.yaml\)"),
    ],
)
def test_a_file_that_is_no_settings_is_named(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.yaml"
    source.write_bytes(content)
    assert main(["import-config", str(source), "-o", str(tmp_path / "b.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nasfpn: error: ")
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_options_out_of_range_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "a.yaml"
    source.write_text("lr: 0.1\n")
    assert main(["import-config", str(source), "-o", "b.txt"]) == 2
    assert "--out must end in .yaml or .yml, got b.txt" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_values(tmp_path / "none.yaml")
