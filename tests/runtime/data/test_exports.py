"""Layouts and spellings of the usual tools are read, with the right boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from exports import YOLO_LINE, box, coco, image, voc, write
from nasfpn_runtime.data.dataset import form_of, load_split, split_names
from nasfpn_runtime.errors import DataError

ONE = [box(1)]
LINES = [YOLO_LINE]


def roboflow_coco(folder: Path) -> None:
    for name in ("train", "valid", "test"):
        content = coco({0: "a_jpg.rf.1.jpg"}, [box(0, category_id=1)], {0: "pets", 1: "cat"})
        content["categories"][1]["supercategory"] = "pets"
        write(folder / name / "_annotations.coco.json", content)
        image(folder / name / "a_jpg.rf.1.jpg")


def cvat_coco(folder: Path) -> None:
    write(folder / "annotations" / "instances_default.json", coco({1: "a.jpg"}, ONE))
    image(folder / "images" / "a.jpg")


def cvat_coco_by_subset(folder: Path) -> None:
    write(folder / "annotations" / "instances_default.json", coco({1: "a.jpg"}, ONE))
    image(folder / "images" / "default" / "a.jpg")


def coco_under_images(folder: Path) -> None:
    for name in ("train2017", "val2017"):
        write(folder / "annotations" / f"instances_{name}.json", coco({1: "a.jpg"}, ONE))
        image(folder / "images" / name / "a.jpg")


def coco_with_folders_in_names(folder: Path) -> None:
    write(folder / "annotations" / "instances_train.json", coco({1: "images/x/a.jpg"}, ONE))
    image(folder / "images" / "x" / "a.jpg")


def coco_of_windows(folder: Path) -> None:
    name = "C:\\Users\\me\\set\\images\\a.jpg"
    write(folder / "annotations" / "instances_train.json", coco({1: name}, ONE))
    image(folder / "images" / "a.jpg")


def label_studio_coco(folder: Path) -> None:
    write(folder / "result.json", coco({1: "images\\1\\a.jpg"}, ONE))
    image(folder / "images" / "a.jpg")


def fiftyone_coco(folder: Path) -> None:
    write(folder / "labels.json", coco({1: "a.jpg"}, ONE))
    image(folder / "data" / "a.jpg")


def lvis(folder: Path) -> None:
    entry = {"coco_url": "http://images.cocodataset.org/train2017/a.jpg"}
    write(folder / "annotations" / "lvis_v1_train.json", coco({1: entry}, ONE))
    image(folder / "train2017" / "a.jpg")


def flat_coco(folder: Path) -> None:
    write(folder / "_annotations.coco.json", coco({1: "a.jpg"}, ONE))
    image(folder / "a.jpg")


def roboflow_voc(folder: Path) -> None:
    for name in ("train", "valid"):
        write(folder / name / "a.xml", voc("a.jpg"))
        image(folder / name / "a.jpg")


def flat_voc(folder: Path) -> None:
    write(folder / "Annotations" / "a.xml", voc("a.jpg"))
    image(folder / "images" / "a.jpg")


def voc_by_folder(folder: Path) -> None:
    for name in ("train", "val"):
        write(folder / "Annotations" / name / "a.xml", voc("a.jpg"))
        image(folder / "JPEGImages" / name / "a.jpg")


def voc_with_blanks(folder: Path) -> None:
    write(folder / "ImageSets" / "Main" / "train.txt", ["my cat 1"])
    write(folder / "Annotations" / "my cat 1.xml", voc("my cat 1.jpg"))
    image(folder / "JPEGImages" / "my cat 1.jpg")


def voc_list_of_one_category(folder: Path) -> None:
    write(folder / "ImageSets" / "Main" / "train.txt", ["a  1"])
    write(folder / "Annotations" / "a.xml", voc("a.jpg"))
    image(folder / "JPEGImages" / "a.jpg")


def voc_list_of_files(folder: Path) -> None:
    write(folder / "ImageSets" / "Main" / "train.txt", ["JPEGImages/a.jpg"])
    write(folder / "Annotations" / "a.xml", voc("a.jpg"))
    image(folder / "JPEGImages" / "a.JPG")


def label_studio_yolo(folder: Path) -> None:
    write(folder / "classes.txt", ["cat"])
    write(folder / "notes.json", {"categories": [{"id": 0, "name": "cat"}], "info": {}})
    write(folder / "labels" / "a.txt", LINES)
    image(folder / "images" / "a.jpg")


def yolo_with_a_list(folder: Path) -> None:
    write(folder / "coco.yaml", "path: ../datasets/coco\ntrain: train2017.txt\nnames: {0: cat}\n")
    write(folder / "train2017.txt", ["./images/train2017/a.jpg"])
    write(folder / "labels" / "train2017" / "a.txt", LINES)
    image(folder / "images" / "train2017" / "a.jpg")


def yolo_with_an_absolute_list(folder: Path) -> None:
    write(folder / "data.yaml", "train: /content/set/lists/train.txt\nnames: [cat]\n")
    write(folder / "lists" / "train.txt", ["/content/set/images/my a.jpg"])
    write(folder / "labels" / "my a.txt", LINES)
    image(folder / "images" / "my a.jpg")


def yolo_with_two_folders(folder: Path) -> None:
    write(folder / "data.yaml", "train: [images/x, images/y]\nnames: [cat]\n")
    write(folder / "labels" / "y" / "a.txt", LINES)
    image(folder / "images" / "y" / "a.jpg")
    (folder / "images" / "x").mkdir()


def roboflow_yolo(folder: Path) -> None:
    write(folder / "data.yaml", "train: ../train/images\nval: ../valid/images\nnames: ['cat']\n")
    for name in ("train", "valid"):
        write(folder / name / "labels" / "a.txt", LINES)
        image(folder / name / "images" / "a.jpg")


def darknet(folder: Path) -> None:
    write(folder / "train" / "_darknet.labels", ["cat"])
    write(folder / "train" / "a.txt", LINES)
    image(folder / "train" / "a.jpg")


def cvat_yolo(folder: Path) -> None:
    settings = ["classes = 1", "train = data/train.txt", "valid = data/valid.txt"]
    write(folder / "obj.data", [*settings, "names = data/obj.names", "backup = backup/"])
    write(folder / "obj.names", ["cat"])
    for name, part in (("train", "train"), ("valid", "valid")):
        write(folder / f"{name}.txt", [f"data/obj_{part}_data/a.jpg"])
        write(folder / f"obj_{part}_data" / "a.txt", LINES)
        image(folder / f"obj_{part}_data" / "a.jpg")


def voc_in_small_letters(folder: Path) -> None:
    write(folder / "annotations" / "a.xml", voc("a.png"))
    image(folder / "images" / "a.png")


def voc_by_split_in_small_letters(folder: Path) -> None:
    for name in ("train", "test"):
        write(folder / name / "annotations" / "a.xml", voc("a.jpg"))
        image(folder / name / "images" / "a.jpg")


def voc_with_folders_in_lists(folder: Path) -> None:
    write(folder / "ImageSets" / "Main" / "train.txt", ["x/a"])
    write(folder / "Annotations" / "x" / "a.xml", voc("x/a.jpg"))
    image(folder / "JPEGImages" / "x" / "a.jpg")


def coco_by_split(folder: Path) -> None:
    for name, inner in (("train", ""), ("val", "annotations/")):
        write(folder / name / f"{inner}labels.json", coco({1: "a.jpg"}, ONE))
        image(folder / name / "data" / "a.jpg")


def flat_coco_of_one_split(folder: Path) -> None:
    write(folder / "instances_train.json", coco({1: "a.jpg"}, ONE))
    image(folder / "images" / "a.jpg")


def coco_with_a_part_of_another_name(folder: Path) -> None:
    for name in ("train", "minival"):
        write(folder / "annotations" / f"lvis_v1_{name}.json", coco({1: "a.jpg"}, ONE))
    image(folder / "train2017" / "a.jpg")
    image(folder / "images" / "a.jpg")


def yolo_in_utf_16(folder: Path) -> None:
    """Text as Windows writes it."""
    image(folder / "images" / "train" / "a.jpg")
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "data.yaml").write_bytes("names:\r\n- cat\r\n".encode("utf-16"))
    (folder / "labels" / "train" / "a.txt").write_bytes(f"{YOLO_LINE}\r\n".encode("utf-16"))


def text_with_blanks(folder: Path) -> None:
    write(folder / "classes.txt", ["cat"])
    write(folder / "train.txt", ["my cat.jpg 6,4,16,24,1"])
    image(folder / "images" / "my cat.jpg")


EXPORTS = {
    roboflow_coco: ("coco", ("test", "train", "val")),
    cvat_coco: ("coco", ("all",)),
    cvat_coco_by_subset: ("coco", ("all",)),
    coco_under_images: ("coco", ("train", "val")),
    coco_with_folders_in_names: ("coco", ("train",)),
    coco_of_windows: ("coco", ("train",)),
    label_studio_coco: ("coco", ("all",)),
    fiftyone_coco: ("coco", ("all",)),
    lvis: ("coco", ("train",)),
    flat_coco: ("coco", ("all",)),
    roboflow_voc: ("voc", ("train", "val")),
    flat_voc: ("voc", ("all",)),
    voc_by_folder: ("voc", ("train", "val")),
    voc_with_blanks: ("voc", ("train",)),
    voc_list_of_one_category: ("voc", ("train",)),
    voc_list_of_files: ("voc", ("train",)),
    label_studio_yolo: ("yolo", ("all",)),
    yolo_with_a_list: ("yolo", ("train",)),
    yolo_with_an_absolute_list: ("yolo", ("train",)),
    yolo_with_two_folders: ("yolo", ("train",)),
    roboflow_yolo: ("yolo", ("train", "val")),
    darknet: ("yolo", ("train",)),
    cvat_yolo: ("yolo", ("train", "val")),
    voc_in_small_letters: ("voc", ("all",)),
    voc_by_split_in_small_letters: ("voc", ("test", "train")),
    voc_with_folders_in_lists: ("voc", ("train",)),
    coco_by_split: ("coco", ("train", "val")),
    flat_coco_of_one_split: ("coco", ("train",)),
    coco_with_a_part_of_another_name: ("coco", ("lvis_v1_minival", "train")),
    yolo_in_utf_16: ("yolo", ("train",)),
    text_with_blanks: ("text", ("train",)),
}


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_litter_is_not_read(tmp_path: Path, export: Callable[[Path], None]) -> None:
    """Files of macOS and Jupyter beside each file and in each folder change nothing."""
    export(tmp_path)
    form, splits = EXPORTS[export]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in files:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7\xff")
        copy = path.parent / ".ipynb_checkpoints" / f"{path.stem}-checkpoint{path.suffix}"
        other = tmp_path / "__MACOSX" / path.relative_to(tmp_path)
        for target in (copy, other):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert (form_of(tmp_path), split_names(tmp_path)) == (form, splits)
    for name in splits:
        split = load_split(tmp_path, name)
        assert split.faults == ()
        assert len(split.samples) == 1
        assert split.categories == ("cat",)


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_an_export_is_read(tmp_path: Path, export: Callable[[Path], None]) -> None:
    export(tmp_path)
    form, splits = EXPORTS[export]
    assert form_of(tmp_path) == form
    assert split_names(tmp_path) == splits
    for name in splits:
        split = load_split(tmp_path, name)
        assert split.faults == ()
        assert split.categories == ("cat",)
        (sample,) = split.samples
        (corners,) = sample.boxes.tolist()
        assert corners == pytest.approx([4, 6, 24, 16])
        assert sample.read().shape == (48, 64, 3)
    if splits == ("all",):
        with pytest.raises(DataError, match=r"found all; divide it: nasfpn data split"):
            load_split(tmp_path, "train")


def test_a_category_of_categories_is_kept_if_a_split_uses_it(tmp_path: Path) -> None:
    roboflow_coco(tmp_path)
    (note,) = load_split(tmp_path, "val").notes
    assert (note.where, note.action) == ("pets (id 0)", "left out")
    content = coco({0: "a_jpg.rf.1.jpg"}, [box(0, category_id=0)], {0: "pets", 1: "cat"})
    content["categories"][1]["supercategory"] = "pets"
    write(tmp_path / "test" / "_annotations.coco.json", content)
    assert load_split(tmp_path, "val").categories == ("pets", "cat")


def test_a_root_of_the_same_name_as_its_only_category_is_left_out(tmp_path: Path) -> None:
    content = coco({1: "a.jpg"}, [box(1)], {0: "cat", 1: "cat"})
    content["categories"][1]["supercategory"] = "cat"
    write(tmp_path / "train" / "_annotations.coco.json", content)
    image(tmp_path / "train" / "a.jpg")
    assert load_split(tmp_path, "train").category_ids == (1,)


def test_two_images_are_not_read_from_one_file(tmp_path: Path) -> None:
    """Both names end in a.jpg, and there is only one such file."""
    content = coco({1: "x/a.jpg", 2: "y/a.jpg"}, [box(1), box(2)])
    write(tmp_path / "annotations" / "instances_train.json", content)
    image(tmp_path / "images" / "a.jpg")
    split = load_split(tmp_path, "train")
    assert [sample.image_id for sample in split.samples] == [1]
    assert split.faults[0].kind == "image file of another image"
    assert "x/a.jpg" in split.faults[0].got
    assert "y/a.jpg" in split.faults[0].got


@pytest.mark.parametrize("name", ["../a.jpg", "..\\a.jpg", "/etc/../a.jpg", "images/../../a.jpg"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    content = coco({1: name, 2: "b.jpg"}, [box(1), box(2)])
    write(folder / "annotations" / "instances_train.json", content)
    image(folder / "train" / "b.jpg")
    image(tmp_path / "a.jpg")
    image(folder / "a.jpg")  # outside the folder of the images
    assert [sample.image_id for sample in load_split(folder, "train").samples] == [2]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("my%20a.jpg", "my a.jpg"),
        ("https://host/x/my%20a.jpg?token=1", "my a.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("a.JPG", "a.jpg"),
        ("images\\a.jpg", "a.JPG"),
    ],
)
def test_a_name_in_another_spelling_is_found_and_told(tmp_path: Path, name: str, file: str) -> None:
    write(tmp_path / "annotations" / "instances_train.json", coco({1: name}, ONE))
    image(tmp_path / "train" / file)
    split = load_split(tmp_path, "train")
    (sample,) = split.samples
    assert isinstance(sample.path, Path)
    assert sample.path.name == file
    assert [note.kind for note in split.notes] == [
        "file name in another spelling than that of the file"
    ]


def test_the_exact_name_comes_first(tmp_path: Path) -> None:
    names = {1: "a.jpg", 2: "a.JPG", 3: "my%20a.jpg", 4: "my a.jpg"}
    content = coco(names, [box(key) for key in names])
    write(tmp_path / "annotations" / "instances_train.json", content)
    for name in names.values():
        image(tmp_path / "train" / name)
    split = load_split(tmp_path, "train")
    assert (split.faults, split.notes) == ((), ())
    assert [Path(str(sample.path)).name for sample in split.samples] == list(names.values())


@pytest.mark.parametrize("annotations", ["missing", None, []])
@pytest.mark.parametrize("file", ["instances_test2017", "image_info_test2017"])
def test_a_test_set_may_have_no_list_of_annotations(
    tmp_path: Path, file: str, annotations: object
) -> None:
    coco_under_images(tmp_path)
    content = {**coco({7: "a.jpg"}, []), "annotations": annotations}
    if annotations == "missing":
        del content["annotations"]
    write(tmp_path / "annotations" / f"{file}.json", content)
    image(tmp_path / "images" / "test2017" / "a.jpg")
    assert sorted(split_names(tmp_path)) == ["test", "train", "val"]
    split = load_split(tmp_path, "test", needs_boxes=False)
    assert [sample.image_id for sample in split.samples] == [7]
    assert (split.faults, len(split.truth.box)) == ((), 0)


def test_a_list_of_test_images_that_are_not_there_is_no_split(tmp_path: Path) -> None:
    """COCO has such a list of 40,000 images, which most users do not have."""
    coco_under_images(tmp_path)
    write(tmp_path / "annotations" / "image_info_test2017.json", coco({1: "a.jpg"}, []))
    assert split_names(tmp_path) == ("train", "val")
