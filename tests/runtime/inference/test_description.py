"""What exported files say about themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.inference.checksum import BLANK
from nasfpn_runtime.inference.description import Description, describe, from_json
from nasfpn_runtime.recipe.recipe import load_recipe
from small_networks import GENOME


@pytest.mark.parametrize("name", ["tf-r50-7x256-640", "mmdet-r50-7x256-640", "bccd-256"])
def test_a_description_is_read_as_written(name: str) -> None:
    recipe = load_recipe(name)
    about = describe(recipe, GENOME, ("a", "b"), (64, 96))
    read, checksum = from_json(about.to_json(), "here")
    assert checksum == BLANK
    for key in ("fit", "interpolation", "round_up", "pad"):
        assert getattr(read.data, key) == getattr(recipe.data, key)
    assert read.detection == recipe.detection
    assert read.stride == 32
    assert read.to_json() == about.to_json()
    content = json.loads(about.to_json())
    assert content["mean"] == [0.485, 0.456, 0.406]
    assert content["genome"] == about.genome
    assert content["names"] == ["a", "b"]
    assert not {"augment", "background", "image"} & content["data"].keys()  # not used


def description_with(**changes: Any) -> str:
    about = json.loads(describe(load_recipe("bccd-256"), GENOME, ("a",)).to_json())
    return json.dumps({**about, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"column 2 \(at line 1 of m\.onnx\)"),
        ("[1]", r"TypeError|AttributeError"),
        (description_with(form=3), r"form\D*3\D+1 or 2"),
        (description_with(mean=[0, 0, 0]), r"\[0, 0, 0\]"),
        (description_with(names=[1]), r"names\[0\] .*text, got 1"),
        (description_with(size=[64]), r"size .*list of 2, got \[64\]"),
        (description_with(colour=1), r"key colour"),
        (description_with(data={"fit": "stretch"}), r"fit .*letterbox, squash, got 'stretch'"),
        (
            json.dumps({"form": 1, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
            r"description .*names, size, .*got \{\}",
        ),
    ],
)
def test_a_broken_description_is_reported_in_one_line(text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as failure:
        from_json(text, "m.onnx")
    assert str(failure.value).startswith("m.onnx ")
    assert "\n" not in str(failure.value)


def test_a_description_of_any_size_is_not_fixed() -> None:
    about: Description = describe(load_recipe("bccd-256"), GENOME, ("a",))
    assert (about.fixed, about.batch, about.size) == (False, None, (256, 256))
