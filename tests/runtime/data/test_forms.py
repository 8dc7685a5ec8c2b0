"""The same pictures in every form are the same samples; what is wrong with a form is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nasfpn_runtime.batches.loader import TrainLoader
from nasfpn_runtime.data.dataset import Split, form_of, load_split, split_names
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.data.samples import Fault
from nasfpn_runtime.data.voc import MOST_BYTES
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.settings import Anchors, Data, Matching, Training

NAMES = ("cat", "dog", "owl")
WIDTH, HEIGHT = 64, 32  # powers of two: YOLO's shares of them are exact in decimals

Box = tuple[int, int, int, int, int, bool]  # x1, y1, x2, y2, class from 0, crowd


@dataclass(frozen=True)
class Drawn:
    """A picture and its boxes, before any form."""

    name: str
    pixels: NDArray[np.uint8]
    boxes: tuple[Box, ...]


def draw(seed: int, crowds: bool = False) -> list[Drawn]:
    """Return six pictures of noise with none to four boxes; every category occurs."""
    rng = np.random.default_rng(seed)
    drawn = []
    for number in range(6):
        boxes = []
        for index in range(3 if number == 0 else rng.integers(5)):
            x1, y1 = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
            x2, y2 = int(rng.integers(x1 + 1, WIDTH + 1)), int(rng.integers(y1 + 1, HEIGHT + 1))
            label = index if number == 0 else int(rng.integers(3))
            boxes.append((x1, y1, x2, y2, label, bool(crowds and number and rng.random() < 0.4)))
        pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        drawn.append(Drawn(f"{number:06d}", pixels, tuple(boxes)))
    return drawn


def save(folder: Path, drawn: list[Drawn]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in drawn:
        Image.fromarray(picture.pixels).save(folder / f"{picture.name}.png")


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_coco(folder: Path, drawn: list[Drawn]) -> None:
    save(folder / "train2017", drawn)
    images = [
        {"id": place, "file_name": f"{p.name}.png", "width": WIDTH, "height": HEIGHT}
        for place, p in enumerate(drawn, start=1)
    ]
    rows = [(place, box) for place, p in enumerate(drawn, start=1) for box in p.boxes]
    annotations = [
        {
            "id": number,
            "image_id": place,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": int(crowd),
        }
        for number, (place, (x1, y1, x2, y2, label, crowd)) in enumerate(rows)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, start=1)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    write_lines(folder / "annotations" / "instances_train2017.json", [json.dumps(data)])


def voc_object(box: Box) -> str:
    x1, y1, x2, y2, label, crowd = box
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x1 + 1, y1 + 1, x2, y2), strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return (
        f"<object><name>{NAMES[label]}</name><difficult>{int(crowd)}</difficult>"
        f"<bndbox>{inner}</bndbox></object>"
    )


def write_voc(folder: Path, drawn: list[Drawn]) -> None:
    save(folder / "JPEGImages", drawn)
    write_lines(folder / "ImageSets" / "Main" / "train.txt", [p.name for p in drawn])
    write_lines(folder / "ImageSets" / "Main" / "cat_train.txt", [f"{p.name} -1" for p in drawn])
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    for p in drawn:
        objects = "".join(map(voc_object, p.boxes))
        text = f"<annotation><filename>{p.name}.jpg</filename>{size}{objects}</annotation>"
        write_lines(folder / "Annotations" / f"{p.name}.xml", [text])


def write_yolo(folder: Path, drawn: list[Drawn]) -> None:
    save(folder / "images" / "train", drawn)
    write_lines(folder / "data.yaml", ["train: ../images/train", f"names: {json.dumps(NAMES)}"])
    for p in drawn:
        lines = [
            f"{label} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} "
            f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"
            for x1, y1, x2, y2, label, _ in p.boxes
        ]
        if lines:  # a picture without boxes may have no file
            write_lines(folder / "labels" / "train" / f"{p.name}.txt", lines)


def write_text(folder: Path, drawn: list[Drawn]) -> None:
    save(folder / "images", drawn)
    write_lines(folder / "classes.txt", ["background", *NAMES])
    lines = [
        " ".join(
            [f"{p.name}.png", *(f"{y1},{x1},{y2},{x2},{c + 1}" for x1, y1, x2, y2, c, _ in p.boxes)]
        )
        for p in drawn
    ]
    write_lines(folder / "train.txt", lines)


WRITERS: dict[str, Callable[[Path, list[Drawn]], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "text": write_text,
}


def make(folder: Path, form: str, drawn: list[Drawn]) -> Path:
    """Write a form; ``mindrecord-<form>`` packs it."""
    packed, _, source = form.rpartition("-")
    WRITERS[source](folder / form, drawn)
    if packed:
        made = load_split(folder / form)
        pack({"train": made}, folder / f"{form}-packed", shards=3, progress=False)
        return folder / f"{form}-packed"
    return folder / form


def batches(split: Split) -> list[NDArray[Any]]:
    recipe = Recipe(
        "test",
        anchors=Anchors(scale=2.0, octaves=1),
        matching=Matching(0.5, 0.4),
        data=Data((32, 64), augment=Augment(hflip=0.5, scale=(0.5, 1.5), colour=0.3)),
        training=Training(batch=2),
    )
    loader = TrainLoader(split, recipe, (3, 4), seed=7)
    found = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    return [array for b in found for array in (b.images, b.sizes, b.labels, b.deltas)]


@pytest.mark.parametrize(
    ("forms", "crowds"),
    [
        (("voc", "yolo", "text", "mindrecord-coco", "mindrecord-yolo"), False),
        (("voc", "mindrecord-coco", "mindrecord-voc"), True),
    ],
)
def test_every_form_gives_the_same_samples_and_batches(
    tmp_path: Path, forms: tuple[str, ...], crowds: bool
) -> None:
    drawn = draw(seed=3, crowds=crowds)
    expected = load_split(make(tmp_path, "coco", drawn))
    assert any(len(s.crowd) for s in expected.samples) == crowds
    expected_batches = batches(expected)
    for form in forms:
        folder = make(tmp_path, form, drawn)
        assert form_of(folder) == form.partition("-")[0]
        assert split_names(folder) == ("train",)
        split = load_split(folder)
        assert split.faults == ()
        assert split.categories == NAMES
        for one, other in zip(split.samples, expected.samples, strict=True):
            assert one.path.name == other.path.name
            assert one.path.read_bytes() == other.path.read_bytes()
            for name in ("image_id", "width", "height"):
                assert getattr(one, name) == getattr(other, name), (form, name)
            for name in ("boxes", "labels", "crowd"):
                a, b = getattr(one, name), getattr(other, name)
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b, err_msg=f"{form} {name}")
        for name in ("sample", "label", "box", "area", "crowd"):
            a, b = getattr(split.truth, name), getattr(expected.truth, name)
            np.testing.assert_array_equal(a, b, err_msg=f"{form} {name}")
        for a, b in zip(batches(split), expected_batches, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=form)


def test_pixels_of_voc_are_counted_from_one(tmp_path: Path) -> None:
    drawn = [Drawn("a", np.zeros((HEIGHT, WIDTH, 3), np.uint8), ((0, 0, WIDTH, HEIGHT, 1, False),))]
    write_voc(tmp_path, drawn)
    text = (tmp_path / "Annotations" / "a.xml").read_text()
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>64</xmax><ymax>32</ymax>" in text
    assert load_split(tmp_path).samples[0].boxes.tolist() == [[0, 0, 64, 32]]


def break_voc(folder: Path, change: Callable[[str], str]) -> None:
    path = folder / "Annotations" / "000000.xml"
    path.write_text(change(path.read_text()))


def add_line(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def xml_object(name: str = "cat", box: tuple[object, ...] = (1, 1, 5, 5)) -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    return f"<object><name>{name}</name><bndbox>{inner}</bndbox></object></annotation>"


def voc_with(tail: str) -> Callable[[Path], None]:
    return lambda folder: break_voc(folder, lambda text: text.replace("</annotation>", tail))


def listed(name: str) -> Callable[[Path], None]:
    return lambda folder: add_line(folder / "ImageSets" / "Main" / "train.txt", name)


def yolo_with(line: str) -> Callable[[Path], None]:
    return lambda folder: add_line(folder / "labels" / "train" / "000000.txt", line)


def text_with(line: str) -> Callable[[Path], None]:
    return lambda folder: add_line(folder / "train.txt", line)


@pytest.mark.parametrize(
    ("form", "change", "fault"),
    [
        ("voc", voc_with(xml_object(box=(5, 1, 4, 9))), "box without area @ 000000.xml object[3]"),
        ("voc", voc_with(xml_object(box=("x", 1, 4, 9))), "box is not four finite numbers @"),
        ("voc", voc_with(xml_object(box=(70, 1, 80, 9))), "box outside the picture @"),
        ("voc", voc_with(xml_object(box=(0, 1, 4, 9))), "box partly outside the picture @"),
        ("voc", listed("000001"), "picture id repeated @ 000001.xml (id 2)"),
        ("voc", listed("gone"), "annotation file missing or unreadable @ gone.xml"),
        ("voc", listed("../../outside"), "file name outside the picture folder @"),
        ("voc", listed("/etc/hostname"), "file name outside the picture folder @"),
        ("yolo", yolo_with("7 0.5 0.5 0.1 0.1"), "category unknown @ 000000.txt line 4"),
        ("yolo", yolo_with("0.5 0.5 0.5 0.1 0.1"), "category unknown @"),
        ("yolo", yolo_with("1 0.5 0.5 0 0.1"), "box without area @"),
        ("yolo", yolo_with("1 0.5 0.5 -0.1 0.1"), "box without area @"),
        ("yolo", yolo_with("1 1.5 0.5 0.1 0.1"), "box outside the picture @"),
        ("yolo", yolo_with("1 0.1 0.5 0.4 0.1"), "box partly outside the picture @"),
        ("yolo", yolo_with("1 0.1 0.5 0.4"), "box is not four finite numbers @"),
        ("yolo", yolo_with("1 nan 0.5 0.4 0.1"), "box is not four finite numbers @"),
        ("yolo", yolo_with("nan 0.5 0.5 0.4 0.1"), "category unknown @"),
        (
            "yolo",
            lambda f: write_lines(f / "labels" / "train" / "lost.txt", ["0 0.5 0.5 1 1"]),
            "annotation of an unknown picture @ lost.txt",
        ),
        ("text", text_with("gone.png 1,1,5,5,1"), "picture file missing @ line 7 (id 7)"),
        ("text", text_with("../out.png 1,1,5,5,1"), "file name outside the picture folder @"),
        ("text", text_with("/etc/hostname 1,1,5,5,1"), "file name outside the picture folder @"),
        ("text", text_with("000000.png 1,1,5,5,1"), "picture id repeated @ line 7 (id 1)"),
        ("text", text_with("extra.png 1,1,5,5,0"), "category unknown @ line 7 box[0] (picture 7)"),
        ("text", text_with("extra.png 1,1,5,5,4"), "category unknown @"),
        ("text", text_with("extra.png 5,1,5,9,1"), "box without area @"),
        ("text", text_with("extra.png 5,1,5,9"), "box is not four finite numbers @"),
        ("text", text_with("broken.png 1,1,5,5,1"), "picture file unreadable @"),
    ],
)
def test_a_fault_is_one_line_and_leaves_the_rest(
    tmp_path: Path, form: str, change: Callable[[Path], None], fault: str
) -> None:
    folder = make(tmp_path, form, draw(seed=5))
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "out.png")
    before = load_split(folder)
    assert before.faults == ()
    if form == "text":
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "images" / "extra.png")
        (folder / "images" / "broken.png").write_text("not a picture")
    change(folder)
    split = load_split(folder)
    (found,) = split.faults
    kind, _, where = fault.partition(" @")
    assert found.kind == kind
    assert found.where.startswith(where.strip())
    assert found.action == ("clipped" if "partly" in kind else "dropped")
    boxes = [sum(len(s.boxes) for s in each.samples) for each in (before, split)]
    assert boxes[1] == boxes[0] + (found.action == "clipped")


def test_a_category_that_is_not_listed_is_a_fault_of_voc(tmp_path: Path) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    write_lines(folder / "classes.txt", list(NAMES))
    voc_with(xml_object("emu"))(folder)
    assert [f.kind for f in load_split(folder).faults] == ["category unknown"]
    (folder / "classes.txt").unlink()
    assert load_split(folder).categories == ("cat", "dog", "emu", "owl")


BOMB = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))


@pytest.mark.parametrize(
    "head",
    [
        f'<!DOCTYPE a [<!ENTITY e0 "x">{BOMB}]>',
        '<!DOCTYPE a [<!ENTITY e11 SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE a [<!ENTITY e11 "x">]>',  # harmless, but so is no annotation's
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_entities_is_refused(tmp_path: Path, head: str, encoding: str) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    text = (folder / "Annotations" / "000002.xml").read_text()
    text = head + text.replace("<filename>", "<filename>&e11;")
    (folder / "Annotations" / "000002.xml").write_bytes(text.encode(encoding))
    expected = Fault("annotation file missing or unreadable", "000002.xml", "dropped")
    assert load_split(folder).faults == (expected,)


def test_xml_is_bounded(tmp_path: Path) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    break_voc(folder, lambda text: text + " " * MOST_BYTES)
    assert [f.where for f in load_split(folder).faults] == ["000000.xml"]


def test_sizes_that_voc_leaves_out_are_those_of_the_picture(tmp_path: Path) -> None:
    folder = make(tmp_path, "voc", draw(seed=5))
    break_voc(folder, lambda text: text.replace("<width>64<", "<width>0<"))
    split = load_split(folder)
    assert split.faults == ()
    assert (split.samples[0].width, split.samples[0].height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("names: [a, a]", "categories are different names"),
        ("names: {0: a, 2: b}", "numbered from 0"),
        ("names: 5", "numbered from 0"),
        ("- a", "has keys such as names"),
        ("names: [", "is YAML, got"),
        ("names: !!python/object:os.system {}", "is YAML, got"),
    ],
)
def test_settings_of_yolo_that_cannot_be_used_are_named(
    tmp_path: Path, content: str, message: str
) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    (folder / "data.yaml").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load_split(folder)
    assert "\n" not in str(caught.value)


def test_yolo_as_exporters_arrange_it(tmp_path: Path) -> None:
    folder = make(tmp_path, "yolo", draw(seed=5))
    expected = load_split(folder).samples[0].boxes
    for name in ("images", "labels"):
        (folder / "valid").mkdir(exist_ok=True)
        (folder / name / "train").rename(folder / "valid" / name)
        (folder / name).rmdir()
    (folder / "data.yaml").write_text("val: ../valid/images\nnames: {0: cat, 1: dog, 2: owl}\n")
    assert split_names(folder) == ("val",)
    np.testing.assert_array_equal(load_split(folder, "val").samples[0].boxes, expected)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    for form in ("voc", "yolo", "text", "mindrecord-coco"):
        with pytest.raises(DataError, match="nope"):
            load_split(make(tmp_path, form, draw(seed=5)), "nope")


@pytest.mark.parametrize("first", ["background", "Background", "BACKGROUND"])
def test_a_background_of_the_text_form_is_class_0(tmp_path: Path, first: str) -> None:
    folder = make(tmp_path, "text", draw(seed=5))
    expected = load_split(folder)
    write_lines(folder / "classes.txt", list(NAMES))
    plain = load_split(folder)
    write_lines(folder / "classes.txt", [first, *NAMES])
    for split in (plain, load_split(folder)):
        assert split.categories == expected.categories == NAMES
        np.testing.assert_array_equal(split.truth.label, expected.truth.label)


def test_a_background_alone_is_no_category(tmp_path: Path) -> None:
    folder = make(tmp_path, "text", draw(seed=5))
    write_lines(folder / "classes.txt", ["background"])
    with pytest.raises(DataError, match="more than the background"):
        load_split(folder)
