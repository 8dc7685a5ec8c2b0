"""MindRecord folders: killed writers, broken shards, bytes that are the pictures' own."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime.data.dataset import Split, form_of, load_split, split_names
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.data.mindrecord import INDEX, Row, source
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.pictures.image import read_image
from nasfpn_runtime.scoring.coco_eval import evaluate


def write(folder: Path, pictures: dict[str, bytes], size: tuple[int, int] = (16, 8)) -> Split:
    """Write a COCO folder of these picture files, (width, height) each, with a box in each."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train").mkdir()
    width, height = size
    images, annotations = [], []
    for number, (name, content) in enumerate(pictures.items(), start=1):
        (folder / "train" / name).write_bytes(content)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append({"image_id": number, "category_id": 1, "bbox": [1, 2, 3, 4]})
    categories = [{"id": 1, "name": "cat"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances_train.json").write_text(json.dumps(data))
    return load_split(folder)


def encoded(tmp_path: Path, suffix: str, pixels: np.ndarray) -> bytes:
    path = tmp_path / f"encoded.{suffix}"
    Image.fromarray(pixels).save(path)
    return path.read_bytes()


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    write_shapes(tmp_path / "shapes", train=5, val=4, test=1, size=32)
    return tmp_path / "shapes"


def packed(folder: Path, out: Path, *names: str, shards: int = 2) -> Path:
    pack({name: load_split(folder, name) for name in names}, out, shards=shards, progress=False)
    return out


def test_bytes_are_those_of_the_files_whatever_they_end_in(tmp_path: Path) -> None:
    black = np.zeros((8, 16, 3), np.uint8)
    pictures = {s: encoded(tmp_path, s, black) for s in ("png", "jpg", "bmp")}
    assert pictures["bmp"].endswith(b"\0")
    split = write(tmp_path / "data", {f"a.{s}": content for s, content in pictures.items()})
    found = load_split(packed(tmp_path / "data", tmp_path / "out", "train"))
    assert len(split.samples) == 3
    for sample, content in zip(found.samples, pictures.values(), strict=True):
        assert isinstance(sample.path, Row)
        assert sample.path.read_bytes() == content
        np.testing.assert_array_equal(read_image(source(sample.path)), black)


@pytest.mark.parametrize("shards", [1, 2, 9])
def test_any_number_of_shards_gives_the_same_samples(shapes: Path, shards: int) -> None:
    folder = packed(shapes, shapes.with_name("out"), "train", "val", shards=shards)
    assert (form_of(folder), split_names(folder)) == ("mindrecord", ("train", "val"))
    assert len(list(folder.glob("train.mindrecord*.db"))) == min(shards, 5)
    for name in ("train", "val"):
        for one, other in zip(
            load_split(folder, name).samples, load_split(shapes, name).samples, strict=True
        ):
            assert one.image_id == other.image_id
            assert one.path.read_bytes() == other.path.read_bytes()
            np.testing.assert_array_equal(one.boxes, other.boxes)


def test_a_row_is_read_in_another_process(shapes: Path) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val")
    rows = [sample.path for sample in load_split(folder, "val").samples]
    code = (
        "import pickle, sys, zlib; rows = pickle.load(sys.stdin.buffer); "
        "print(*[zlib.crc32(row.read_bytes()) for row in rows])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(rows),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == [b"%d" % zlib.crc32(row.read_bytes()) for row in rows]


def test_scoring_from_mindrecord_is_that_of_the_folder(shapes: Path) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val")
    rng = np.random.default_rng(0)
    results = []
    for sample in load_split(shapes, "val").samples:
        boxes = sample.boxes + rng.normal(0, 1, sample.boxes.shape).astype(np.float32)
        scores = rng.random(len(boxes)).astype(np.float32)
        results.append((sample.image_id, Detections(boxes, scores, sample.labels)))
    found, expected = (evaluate(load_split(f, "val"), results) for f in (folder, shapes))
    assert found == expected
    assert 0 < found["AP"] < 1


# In a process of its own that has no threads yet, so that it may fork.
KILLED = """
import os, resource, signal, sys
from pathlib import Path
from nasfpn_runtime.data import mindrecord_writer as module
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.errors import DataError

source, out = map(Path, sys.argv[1:])
split = load_split(source, "train")
calls = []

def dies(function, call):
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

points = [
    (module, "read_image", 1),
    (module, "read_image", 4),
    (module.json, "dumps", 1),
    (os, "rename", 1),
]
for owner, name, call in points:
    child = os.fork()
    if not child:
        setattr(owner, name, dies(getattr(owner, name), call))
        module.pack({"train": split}, out, shards=2, progress=False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(name, os.WTERMSIG(status), out.exists(), len(list(out.parent.glob(".*.partial"))))
child = os.fork()
if not child:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))  # a header, but no page
    try:
        module.pack({"train": split}, out, shards=1, progress=False)
    except DataError as error:
        print(type(error).__name__, str(error).partition("(at")[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("full", out.exists(), len(list(out.parent.glob(".*.partial"))))
module.pack({"train": split}, out, shards=2, progress=False)
print("done", out.exists(), len(list(out.parent.glob(".*.partial"))))
"""


def test_a_killed_or_full_writer_leaves_nothing_that_looks_whole(shapes: Path) -> None:
    out = shapes.with_name("out")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, shapes, out],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    # Each killed one leaves its draft, which the next removes: never more than one.
    lines = done.stdout.splitlines()
    error = lines.pop(4)
    assert re.fullmatch(r"DataError shards can be written, got Failed to .* MB free ", error), error
    assert lines == [
        "read_image 9 False 1",
        "read_image 9 False 1",
        "dumps 9 False 1",
        "rename 9 False 1",
        "full False 0",
        "done True 0",
    ], done.stderr
    assert len(load_split(out).samples) == 5


WRITER = """
import os, sys
from pathlib import Path
from nasfpn_runtime.data.lists import new_folder
with new_folder(Path(sys.argv[1])) as draft:
    (draft / "a.txt").write_text(sys.argv[2])
    print(os.getpid(), flush=True)
    if sys.stdin.readline() == "die\\n":
        os._exit(9)  # a container's first process does not take SIGKILL from itself
"""
CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork")


@pytest.mark.parametrize("around", [(), CONTAINER], ids=["machine", "containers"])
def test_drafts_of_dead_writers_go_and_those_of_the_living_stay(
    tmp_path: Path, around: tuple[str, ...]
) -> None:
    """Breaks if a number is taken for a process: all writers in containers have number 1."""
    if around and subprocess.run([*around, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here; without them the other case shows the same")

    def start(text: str) -> subprocess.Popen[str]:
        writer = subprocess.Popen(
            [*around, sys.executable, "-c", WRITER, tmp_path / "out", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None
        number = int(writer.stdout.readline())
        assert number == 1 or not around
        return writer

    def end(writer: subprocess.Popen[str], line: str = "") -> int:
        writer.communicate(line)
        return writer.returncode

    old = tmp_path / ".out.1.partial"  # as they were before there were locks
    old.mkdir()
    living = start("living")
    (draft,) = tmp_path.iterdir()
    assert draft != old
    for _ in range(2):
        assert end(start("dead"), "die\n") == 9
        assert len(list(tmp_path.iterdir())) == 2
    assert end(start("new")) == 0
    assert sorted(tmp_path.iterdir()) == [draft, tmp_path / "out"]
    assert end(living) != 0  # the folder is there meanwhile
    assert list(tmp_path.rglob("*")) == [tmp_path / "out", tmp_path / "out" / "a.txt"]
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


def test_a_picture_that_ends_early_is_left_out_and_reported(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(tmp_path, "jpg", noise)
    pictures = {"a.jpg": whole, "b.jpg": whole[: len(whole) // 2], "c.jpg": whole}
    split = write(tmp_path / "data", pictures, size=(64, 64))
    assert split.faults == ()
    faults = pack({"train": split}, tmp_path / "out", progress=False)
    (fault,) = faults["train"]
    assert (fault.kind, fault.action) == ("picture file unreadable", "dropped")
    assert fault.where.endswith("b.jpg")
    assert "b.jpg: dropped" in (tmp_path / "out" / "faults.txt").read_text()
    found = load_split(tmp_path / "out")
    assert [sample.path.name for sample in found.samples] == ["a.jpg", "c.jpg"]
    assert found.truth.sample.tolist() == [0, 1]


def test_no_picture_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    half = encoded(tmp_path, "jpg", noise)[:2000]
    split = write(tmp_path / "data", {"a.jpg": half}, size=(64, 64))
    with pytest.raises(DataError, match="got none in 'train'"):
        pack({"train": split}, tmp_path / "out", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "encoded.jpg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 0}, "shards are from 1 to"),
        ({"shards": 1001}, "shards are from 1 to"),
    ],
)
def test_options_out_of_range_are_named(
    shapes: Path, options: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        pack({"val": load_split(shapes, "val")}, shapes.with_name("out"), **options)


def test_a_split_name_cannot_leave_the_folder(shapes: Path) -> None:
    with pytest.raises(DataError, match=r"plain name, got '\.\./val'"):
        pack({"../val": load_split(shapes, "val")}, shapes.with_name("out"), progress=False)


def test_a_disk_without_room_is_named_first(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = shutil.disk_usage(shapes)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(DataError, match="has room for the pictures, got 0 MB free of the"):
        packed(shapes, shapes.with_name("out"), "val")
    assert [path.name for path in shapes.parent.iterdir()] == ["shapes"]


def test_an_existing_folder_is_left_alone(shapes: Path) -> None:
    with pytest.raises(DataError, match=r"goes to a new folder, got .*shapes, which exists"):
        packed(shapes, shapes, "val")
    assert form_of(shapes) == "coco"


def shorten(folder: Path) -> None:
    path = folder / "val.mindrecord1"
    os.truncate(path, path.stat().st_size - 1)


def overwrite(folder: Path) -> None:
    # MindSpore at times leaves the other shard without a row, and shorter than this.
    shard = max(folder.glob("val.mindrecord?"), key=lambda path: path.stat().st_size)
    with shard.open("r+b") as file:
        file.write(b"\xff" * 4096)


def rewrite_index(change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda folder: (folder / INDEX).write_text(change((folder / INDEX).read_text())) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten, r"a shard has \d+ bytes, got \d+ \(at .*val.mindrecord1\)"),
        (lambda f: (f / "val.mindrecord0").unlink(), r"bytes, got no file .*val.mindrecord0\)"),
        (lambda f: (f / "val.mindrecord0.db").unlink(), r"got no file .*val.mindrecord0.db\)"),
        (overwrite, "a shard can be read, got Invalid file, the size of mindrecord file header"),
        (rewrite_index(lambda text: text[:-20]), "an index is JSON, got"),
        (rewrite_index(lambda text: "[]"), "an index has version 1"),
        (rewrite_index(lambda t: t.replace('"version": 1', '"version": 2')), "has version 1"),
        (rewrite_index(lambda t: t.replace('"splits"', '"split"')), "has splits by name"),
        (rewrite_index(lambda t: t.replace('"shards"', '"shard"')), "has pictures, shards and"),
        (rewrite_index(lambda t: t.replace("val.mind", "../val.mind")), "in the folder of its"),
        (rewrite_index(lambda t: t.replace('"pictures": 4', '"pictures": 5')), "has 5 pictures"),
    ],
)
def test_damage_is_named(shapes: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val")
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        load_split(folder, "val")
    assert "\n" not in str(caught.value)


def test_a_folder_written_anew_is_read_anew(shapes: Path) -> None:
    out = shapes.with_name("out")
    for name in ("val", "train"):
        pack({"val": load_split(shapes, name)}, out, shards=2, progress=False)
        expected = [sample.path.read_bytes() for sample in load_split(shapes, name).samples]
        assert [sample.path.read_bytes() for sample in load_split(out, "val").samples] == expected
        shutil.rmtree(out)


def test_a_shard_that_goes_away_is_named(shapes: Path) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val", shards=1)
    samples = load_split(folder, "val").samples
    os.truncate(folder / "val.mindrecord", 1 << 20)
    with pytest.raises(DataError, match=r"a shard can be read, got .*\(at .*mindrecord.json"):
        [read_image(source(sample.path)) for sample in samples]
