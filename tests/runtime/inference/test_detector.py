"""``Detector``: kinds of images, the frame of the boxes, batches, engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.bench.parity import pictures, write_random
from nasfpn_runtime.errors import DataError, EngineError
from nasfpn_runtime.export.compare import same
from nasfpn_runtime.export.exporter import ExportRequest, export
from nasfpn_runtime.inference.description import Description, describe
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.inference.engines.base import BATCH
from nasfpn_runtime.pictures.image import MEAN, STD, Pixels
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Data, DetectionRule
from search_space import Genome, MergingCell

GENOME = Genome(tuple(MergingCell(level, "sum", (0, 1, 2)) for level in (3, 4, 5)), (3, 4, 5))
NAMES = ("cat", "dog", "cow")
ORIENTATION = 0x0112
SETTINGS = ["model.backbone=resnet10", "model.width=4", "model.channels=8", "model.stacks=1"]


def about(**data: Any) -> Description:
    description = describe(load_recipe("tf-r50-7x256-640"), GENOME, NAMES, (64, 96))
    return replace(description, data=Data(image=(64, 96), **data))


class Finder:
    """An engine that detects the only red spot of each image as a dog.

    Boxes are in pixels of the input. With ``suppressed`` the outputs are those of a file that
    suppresses.
    """

    def __init__(self, suppressed: bool = False) -> None:
        self.suppressed = suppressed
        self.shapes: list[tuple[int, ...]] = []

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        images = inputs[0]
        self.shapes.append(images.shape)
        spots = np.array([self._spot(image) for image in images], np.float32)
        if self.suppressed:
            scale = inputs[1][:, [0, 1, 0, 1]]
            rows = np.stack([spots / scale, np.zeros_like(spots)], axis=1)
            scores = np.tile(np.float32([0.9, 0]), (len(images), 1))
            return rows, scores, np.tile([1, -1], (len(images), 1))
        count = 9 * sum((images.shape[2] >> n) * (images.shape[3] >> n) for n in (3, 4, 5))
        boxes = np.zeros((len(images), count, 4), np.float32)
        scores = np.zeros((len(images), count, len(NAMES)), np.float32)
        boxes[:, 7], scores[:, 7, 1] = spots, 0.9
        return boxes, scores

    @staticmethod
    def _spot(image: NDArray[np.float32]) -> Sequence[float]:
        rgb = image * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
        y, x = np.nonzero((rgb[0] > 0.5) & (rgb[1] < 0.5) & (rgb[2] < 0.5))
        return x.min(), y.min(), x.max() + 1, y.max() + 1


SPOT = (20, 10, 36, 20)  # xyxy px


def spotted(height: int = 64, width: int = 96, box: Sequence[int] = SPOT) -> Pixels:
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[box[1] : box[3], box[0] : box[2]] = (255, 0, 0)
    return picture


def test_paths_pil_images_and_arrays_give_the_same_detections(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(spotted()).save(path)
    detector = Detector(Finder(), about())
    for picture in (path, str(path), Image.open(path), spotted()):
        found = detector(picture)
        np.testing.assert_array_equal(found.boxes, [SPOT])
        assert found.scores == pytest.approx([0.9])
        assert found.labels.tolist() == [1]
        assert found.names == ("dog",)
    assert detector.names == NAMES


# EXIF orientation -> how a viewer transforms the stored image.
UPRIGHT = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p.transpose(1, 0, 2)[:, ::-1],  # the first row is the right side
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p.transpose(1, 0, 2)[::-1],  # the first row is the left side
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_boxes_are_in_pixels_of_the_image_that_a_viewer_shows(
    tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(spotted()).save(path, exif=exif, quality=100, subsampling=0)
    shown = UPRIGHT[orientation](spotted())
    y, x = np.nonzero(shown[:, :, 1] < 128)
    expected = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    detector = Detector(Finder(), about(interpolation="bilinear"))
    for picture in (path, Image.open(path)):
        np.testing.assert_allclose(detector(picture).boxes, [expected], atol=1.6)
    unscaled = Detector(Finder(), replace(about(), size=(96, 96)))  # the input is large enough
    np.testing.assert_allclose(unscaled(path).boxes, [expected], atol=1e-4)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_orientation_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(spotted()).save(path, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", quality=100)
    np.testing.assert_allclose(Detector(Finder(), about())(path).boxes, [SPOT], atol=1)


@pytest.mark.parametrize("suppressed", [False, True])
@pytest.mark.parametrize("fit", ["letterbox", "squash"])
@pytest.mark.parametrize("shape", [(32, 48), (200, 100), (64, 640)])
def test_boxes_are_in_pixels_of_the_stored_image(
    fit: str, shape: tuple[int, int], suppressed: bool
) -> None:
    height, width = shape
    box = (width // 4, height // 4, width // 2, height * 3 // 4)
    detector = Detector(Finder(suppressed), replace(about(fit=fit), suppressed=suppressed))
    pixel = max(width / 96, height / 64) * 1.01  # size of an input pixel in stored pixels
    np.testing.assert_allclose(detector(spotted(*shape, box)).boxes, [box], atol=pixel)


def test_detections_are_in_the_order_of_the_images() -> None:
    shapes = [(64, 96 - 2 * i) if i % 3 else (96, 64 + i) for i in range(2 * BATCH + 3)]
    boxes = [(i, 5, i + 10, 25) for i in range(len(shapes))]
    engine = Finder()
    detector = Detector(engine, about(pad="picture"))
    detections = detector.detect(spotted(*s, b) for s, b in zip(shapes, boxes, strict=True))
    for box, detected in zip(boxes, detections, strict=True):
        np.testing.assert_allclose(detected.boxes, [box], atol=1.6)
    assert {shape[2:] for shape in engine.shapes} == {(64, 64), (64, 96)}  # padded separately
    assert max(shape[0] for shape in engine.shapes) <= BATCH
    assert detector.detect([]) == []


@pytest.mark.parametrize("pad", ["image", "picture"])
@pytest.mark.parametrize("fit", ["letterbox", "squash"])
@pytest.mark.parametrize("fixed", [False, True])
def test_images_of_any_size_are_padded_to_multiples_of_the_stride(
    fixed: bool, fit: str, pad: str
) -> None:
    engine = Finder()
    detector = Detector(engine, replace(about(fit=fit, pad=pad), fixed=fixed))
    rng = np.random.default_rng(1)
    shapes = [(1, 1), (1, 300), (300, 1), *rng.integers(1, 400, (20, 2)).tolist()]
    for height, width in shapes:
        (box,) = detector(spotted(height, width, (0, 0, width, height))).boxes
        np.testing.assert_allclose(box, [0, 0, width, height], atol=1e-3)
    sides = {shape[2:] for shape in engine.shapes}
    assert all(height % 32 == width % 32 == 0 for height, width in sides)
    assert {(64, 96)} <= sides
    assert len(sides) == 1 or (pad == "picture" and fit == "letterbox" and not fixed)


@pytest.mark.parametrize("suppressed", [False, True])
def test_a_file_of_fixed_size_and_batch_always_gets_that_shape(suppressed: bool) -> None:
    engine = Finder(suppressed)
    fixed = replace(about(pad="picture"), fixed=True, batch=3, suppressed=suppressed)
    boxes = [(i, 5, i + 10, 25) for i in range(7)]
    found = Detector(engine, fixed).detect(spotted(64, 64, box) for box in boxes)
    assert engine.shapes == [(3, 3, 64, 96)] * 3
    np.testing.assert_allclose([f.boxes[0] for f in found], boxes)


@pytest.mark.parametrize("suppressed", [False, True])
def test_classes_are_selected_and_numbered_in_the_given_order(suppressed: bool) -> None:
    detector = Detector(Finder(suppressed), replace(about(), suppressed=suppressed))
    fitted = [detector.fit(spotted())]
    (found,) = detector.find(fitted, classes=[2, 1])
    assert found.labels.tolist() == [1]
    assert found.names == ("dog",)
    (found,) = detector.find(fitted, classes=[2, 0])
    assert len(found) == 0
    with pytest.warns(DeprecationWarning, match=r"columns .*classes") as caught:
        (old,) = detector.find(fitted, columns=[2, 1])
    assert (old.labels.tolist(), old.names) == ([1], ("dog",))
    assert caught[0].filename == __file__


def test_a_rule_replaces_the_descriptions() -> None:
    detector = Detector(Finder(), about())
    (found,) = detector.find([detector.fit(spotted())], rule=DetectionRule(score=0.95))
    assert len(found) == 0


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_a_value_that_is_not_an_image_is_refused(picture: Any) -> None:
    with pytest.raises(DataError, match=r"\(height, width, 3\) uint8, got \("):
        Detector(Finder(), about())(picture)


def test_a_broken_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(spotted()).save(path)
    complete = path.read_bytes()
    path.write_bytes(complete[:-40])  # cut in the pixels, after the headers
    for picture in (path, Image.open(path)):
        with pytest.raises(DataError, match=r"truncated .*a\.jpg|cannot read image"):
            Detector(Finder(), about())(picture)


@pytest.mark.slow
@pytest.mark.usefixtures("pynative")
def test_every_exported_file_detects_what_the_checkpoint_detects(tmp_path: Path) -> None:
    source = tmp_path / "a.ckpt"
    recipe = load_recipe("bccd-128", [*SETTINGS, "detection.score=0.6", "data.fit=letterbox"])
    write_random(source, recipe, GENOME)
    expected = Detector.load(source).detect(pictures())
    assert min(map(len, expected)) > 10
    for request in (
        ExportRequest("onnx"),
        ExportRequest("onnx", suppressed=True, dynamic=True),
        ExportRequest("mindir"),
    ):
        path = source.with_suffix(f".{request.format}")
        export(source, path, request, pictures()[:1])
        found = Detector.load(path).detect(pictures())
        assert all(same(a, b) for a, b in zip(expected, found, strict=True)), request
        assert found[0].categories == expected[0].categories == ("class0", "class1", "class2")
    with pytest.raises(EngineError, match=r"stacks .*got 1 .*a\.mindir"):
        Detector.load(path, stacks=1)
    onnx = str(source.with_suffix(".onnx"))
    code = (
        "import sys; from nasfpn_runtime import Detector; import numpy as np; "
        f"print(len(Detector.load({onnx!r})(np.zeros((9, 9, 3), np.uint8)))); "
        "print('mindspore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"  # ONNX needs no MindSpore
