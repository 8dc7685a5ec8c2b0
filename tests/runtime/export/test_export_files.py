"""What exported files say about themselves, and suppression inside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.export.compare import same
from nasfpn_runtime.export.onnx_graph import OnnxGraph
from nasfpn_runtime.export.onnx_suppression import suppress
from nasfpn_runtime.inference.description import Description, describe, from_json
from nasfpn_runtime.inference.metadata import read_entries
from nasfpn_runtime.inference.postprocess import Detections, choose
from nasfpn_runtime.pictures.image import Placement
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import DetectionRule
from search_space import Genome, MergingCell

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
COUNTS = (24, 12, 4)  # boxes of the levels
CLASSES = 3

entries = st.dictionaries(st.text(min_size=1, max_size=200), st.text(max_size=400), max_size=4)


def saved(path: Path, texts: dict[str, str]) -> bytes:
    """Write an ONNX file that adds two numbers, with these texts."""
    graph = OnnxGraph(np.dtype(np.float32))
    graph.add("Add", "y", "x", graph.constant("one", [1.0] * 50))
    model = graph.model({"x": (50,)}, {"y": (np.float32, (50,))}, texts, "1")
    onnx.save(model, str(path))
    return path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(texts=entries)
def test_texts_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.onnx"
    saved(path, texts)
    assert read_entries(path) == texts


def outcome(path: Path) -> dict[str, str] | str:
    """Return the texts of a file, or what is said of it."""
    try:
        return read_entries(path)
    except CheckpointError as error:
        return str(error)


def test_a_truncated_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    whole = saved(path, {"key": "value" * 30})
    found = []
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        found.append(outcome(path))
    readable = [texts for texts in found if not isinstance(texts, str)]
    # A cut between two fields leaves a sound file with less in it.
    assert len(readable) < 8
    assert all(texts in ({}, {"key": "value" * 30}) for texts in readable)
    assert all("is not a whole exported file" in text for text in found if isinstance(text, str))


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_other_files_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.onnx"
    path.write_bytes(content)
    assert "\n" not in outcome(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*a\.onnx: No such file"):
        read_entries(tmp_path / "a.onnx")


@pytest.mark.parametrize("name", ["tf-r50-7x256-640", "mmdet-r50-7x256-640", "bccd-256"])
def test_a_description_is_read_as_it_was_written(name: str) -> None:
    recipe = load_recipe(name)
    about = describe(recipe, GENOME, ("a", "b"), (64, 96))
    found = from_json(about.to_json(), "here")
    for key in ("fit", "interpolation", "round_up", "pad"):
        assert getattr(found.data, key) == getattr(recipe.data, key)
    assert found.detection == recipe.detection
    assert found.stride == 32
    assert found.to_json() == about.to_json()
    content = json.loads(about.to_json())
    assert content["mean"] == [0.485, 0.456, 0.406]
    assert content["genome"] == about.genome
    assert content["names"] == ["a", "b"]


def described(**changes: Any) -> str:
    about = json.loads(describe(load_recipe("bccd-256"), GENOME, ("a",)).to_json())
    return json.dumps({**about, **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "broken description"),
        ("[1]", "broken description"),
        (described(form=2), "of form 2, not 1"),
        (described(mean=[0, 0, 0]), r"normalises with \[0, 0, 0\]"),
        (described(names=[1]), r"names\[0\] is of type str, got 1"),
        (described(size=[64]), "size is a list of 2"),
        (described(colour=1), "unknown key colour"),
        (described(data={"fit": "stretch"}), "fit is one of letterbox, squash"),
        (
            json.dumps({"form": 1, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
            "a description needs names, size, ",
        ),
    ],
)
def test_a_broken_description_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as failure:
        from_json(text, "m.onnx")
    assert str(failure.value).startswith("m.onnx ")
    assert "\n" not in str(failure.value)


def session(rule: DetectionRule) -> onnxruntime.InferenceSession:
    """Return suppression alone as a network of boxes, scores and placements."""
    graph = OnnxGraph(np.dtype(np.float32))
    boxes = [f"boxes{i}" for i in range(len(COUNTS))]
    scores = [f"scores{i}" for i in range(len(COUNTS))]
    suppress(graph, boxes, scores, "placements", rule)
    inputs: dict[str, tuple[int | str, ...]] = {"placements": ("n", 4)}
    inputs |= {name: ("n", count, 4) for name, count in zip(boxes, COUNTS, strict=True)}
    inputs |= {name: ("n", count, CLASSES) for name, count in zip(scores, COUNTS, strict=True)}
    outputs: dict[str, Any] = {"boxes": (np.float32, ("n", "m", 4))}
    outputs |= {"scores": (np.float32, ("n", "m")), "labels": (np.int64, ("n", "m"))}
    model = graph.model(inputs, outputs, {}, "1")
    return onnxruntime.InferenceSession(model.SerializeToString())


def candidates(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two pictures' crowded boxes, some outside the picture, and scores, some equal."""
    count = sum(COUNTS)
    corner = rng.uniform(-20, 60, (2, count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 50, (2, count, 2))], axis=2)
    scores = rng.integers(0, 40, (2, count, CLASSES)) / 40 + rng.uniform(0, 1e-3)
    return boxes.astype(np.float32), scores.astype(np.float32)


RULES = [
    DetectionRule(score=0.3, maximum=20),
    DetectionRule(score=0.0, iou=0.3, pre_nms=5, maximum=100),
    DetectionRule(score=0.2, iou=0.7, pre_nms=7, pre_nms_per_level=True, maximum=12),
    DetectionRule(
        score=0.1, iou=0.6, pre_nms=None, maximum=3, maximum_per_class=True, inclusive=True
    ),
    DetectionRule(score=0.999),
]


@pytest.mark.parametrize("rule", RULES)
def test_suppression_in_the_file_is_that_of_postprocess(rule: DetectionRule) -> None:
    network = session(rule)
    rng = np.random.default_rng(0)
    levels = np.repeat(np.arange(3, 6), COUNTS).astype(np.intp)
    cuts = np.cumsum(COUNTS)[:-1]
    places = [Placement(0.5, 0.8, 64, 60), Placement(2.0, 1.0, 30, 64)]
    table = np.array([(p.scale_x, p.scale_y, p.height, p.width) for p in places], np.float32)
    total = 0
    for _ in range(40):
        boxes, scores = candidates(rng)
        feed = {"placements": table}
        for i, (b, s) in enumerate(
            zip(np.split(boxes, cuts, 1), np.split(scores, cuts, 1), strict=True)
        ):
            feed |= {f"boxes{i}": b, f"scores{i}": s}
        for b, s, place, found in zip(
            boxes, scores, places, zip(*network.run(None, feed), strict=True), strict=True
        ):
            expected = choose(s, b, levels, place, rule)
            rows = found[2] >= 0
            got = Detections(found[0][rows], found[1][rows], found[2][rows].astype(np.int32))
            assert same(expected, got)
            np.testing.assert_array_equal(got.scores, expected.scores)  # best first
            assert not found[1][~rows].any()
            total += len(got)
    assert total or rule.score == 0.999


def detections(*rows: tuple[float, float, int]) -> Detections:
    """Return 10 px squares at x, with score and label."""
    return Detections(
        np.array([(x, 0, x + 10, 10) for x, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int32),
    )


def test_same_allows_rounding_and_the_order_of_equals_alone() -> None:
    base = detections((0, 0.9, 0), (20, 0.5, 1), (40, 0.5, 1))
    assert same(base, detections((0.001, 0.90001, 0), (40, 0.5, 1), (20, 0.5, 1)))
    assert same(detections(), detections())
    for other in (
        detections((0, 0.9, 0), (20, 0.5, 1)),
        detections((0, 0.9, 0), (20, 0.5, 1), (40, 0.5, 0)),
        detections((0, 0.9, 0), (20, 0.5, 1), (41, 0.5, 1)),
        detections((0, 0.8, 0), (20, 0.5, 1), (40, 0.5, 1)),
        detections((0, 0.9, 0), (20, 0.5, 1), (20, 0.5, 1)),
    ):
        assert not same(base, other)


def test_the_form_is_one_old_runtimes_read(tmp_path: Path) -> None:
    saved(tmp_path / "a.onnx", {})
    model = onnx.load(tmp_path / "a.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    known = helper.find_min_ir_version_for([helper.make_opsetid("", 13)])
    assert known <= model.ir_version


def test_a_description_of_any_size_is_not_fixed() -> None:
    about: Description = describe(load_recipe("bccd-256"), GENOME, ("a",))
    assert (about.fixed, about.batch, about.size) == (False, None, (256, 256))
