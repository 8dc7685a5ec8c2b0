"""MindRecord folders: the same samples as the folder they were made from; broken shards."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from mindspore.mindrecord import FileWriter

from nasfpn_runtime.data.dataset import form_of, load_split, split_names
from nasfpn_runtime.data.digest import digest
from nasfpn_runtime.data.mindrecord import SCHEMA, checksum_of
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.data.rows import INDEX, Row
from nasfpn_runtime.errors import DataError
from nasfpn_runtime.inference.postprocess import Detections
from nasfpn_runtime.scoring.coco_eval import evaluate
from records import encoded, packed, write


def test_bytes_are_those_of_the_files_whatever_they_end_in(tmp_path: Path) -> None:
    black = np.zeros((8, 16, 3), np.uint8)
    pictures = {s: encoded(tmp_path, s, black) for s in ("png", "jpg", "bmp")}
    assert pictures["bmp"].endswith(b"\0")
    files = {f"a.{suffix}": content for suffix, content in pictures.items()}
    for sample, content in zip(
        write(tmp_path / "data", files).samples, files.values(), strict=True
    ):
        np.testing.assert_array_equal(sample.read(), black)
        assert sample.file_size() == len(content)
    split = load_split(packed(tmp_path / "data", tmp_path / "out", "train"))
    assert len(split.samples) == 3
    for sample, content in zip(split.samples, pictures.values(), strict=True):
        assert isinstance(sample.path, Row)
        assert sample.path.read_bytes() == content
        assert sample.file_size() == len(content)
        np.testing.assert_array_equal(sample.read(), black)


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


@pytest.mark.slow
def test_a_row_can_be_read_in_another_process(shapes: Path) -> None:
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


def test_scoring_from_mindrecord_gives_the_metrics_of_the_folder(shapes: Path) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val")
    rng = np.random.default_rng(0)
    results = []
    for sample in load_split(shapes, "val").samples:
        boxes = sample.boxes + rng.normal(0, 1, sample.boxes.shape).astype(np.float32)
        scores = rng.random(len(boxes)).astype(np.float32)
        results.append((sample.image_id, Detections(boxes, scores, sample.labels)))
    metrics, expected = (evaluate(load_split(f, "val"), results) for f in (folder, shapes))
    assert metrics == expected
    assert 0 < metrics["AP"] < 1


def shorten(folder: Path) -> None:
    """Remove the last byte of a shard."""
    path = folder / "val.mindrecord1"
    os.truncate(path, path.stat().st_size - 1)


def overwrite(folder: Path) -> None:
    """Overwrite the header of a shard."""
    # The longer one: MindSpore sometimes leaves the other one without rows and shorter than this.
    shard = max(folder.glob("val.mindrecord?"), key=lambda path: path.stat().st_size)
    with shard.open("r+b") as file:
        file.write(b"\xff" * 4096)


def rewrite_index(change: Callable[[str], str]) -> Callable[[Path], None]:
    """Return a function that changes the text of the index, with the checksum that then fits."""

    def rewrite(folder: Path) -> None:
        text = change((folder / INDEX).read_text())
        with suppress(ValueError):
            index = json.loads(text)
            if "splits" in index:
                content = {key: index[key] for key in index if key != "checksum"}
                text = json.dumps({**content, "checksum": checksum_of(content)})
        (folder / INDEX).write_text(text)

    return rewrite


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shorten, r"\d+ bytes, got \d+ \(at .*val.mindrecord1\)"),
        (lambda f: (f / "val.mindrecord0").unlink(), r"bytes, got no file .*val.mindrecord0\)"),
        (lambda f: (f / "val.mindrecord0.db").unlink(), r"got no file .*val.mindrecord0.db\)"),
        (overwrite, r"checksum \w{8}, got \w{8}.*\(at .*val.mindrecord\d\)"),
        (rewrite_index(lambda text: text[:-20]), r"JSON: .*\(at .*mindrecord.json\)"),
        (rewrite_index(lambda text: "[]"), r"version .* 1 or 2, got None \(at .*mindrecord.json\)"),
        (
            rewrite_index(lambda t: t.replace('"version": 2', '"version": 3')),
            r"version .* 1 or 2, got 3 \(at .*mindrecord.json\)",
        ),
        (
            rewrite_index(lambda t: t.replace('"splits"', '"split"')),
            r"splits .* got None \(at .*mindrecord.json\)",
        ),
        (rewrite_index(lambda t: t.replace('"shards"', '"shard"')), "'val' .* KeyError"),
        (
            rewrite_index(lambda t: t.replace("val.mind", "../val.mind")),
            r"index, got '\.\./val.mindrecord0'",
        ),
        (
            rewrite_index(lambda t: t.replace('"pictures": 4', '"pictures": 5')),
            "'val' .* 5.* got 4",
        ),
    ],
)
def test_damage_is_named(shapes: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val")
    damage(folder)
    with pytest.raises(DataError, match=message) as caught:
        load_split(folder, "val")
    assert "\n" not in str(caught.value)


def test_a_folder_that_was_written_again_is_read_again(shapes: Path) -> None:
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
    with pytest.raises(DataError, match=r"shard: .* \(at .* in .*mindrecord.json\)"):
        [sample.read() for sample in samples]


PAGE = 1 << 25  # bytes of a page of a shard; the header has half as many


def damaged_places(path: Path, rng: np.random.Generator) -> list[int]:
    """Return places in each part of a file that holds something: header, pages and index."""
    content = np.frombuffer(path.read_bytes(), np.uint8)
    used = np.flatnonzero(content)
    parts = np.split(used, np.flatnonzero(np.diff(used // (PAGE // 2))) + 1)
    return [int(place) for part in parts for place in rng.choice(part, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 4000])
def test_damage_of_the_same_size_is_refused_anywhere(shapes: Path, length: int) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val", shards=2)
    rng = np.random.default_rng(length)
    for path in sorted(folder.glob("val.mindrecord*")):
        intact = path.read_bytes()
        for place in damaged_places(path, rng):
            with path.open("r+b") as file:
                file.seek(place)
                file.write(bytes(len(intact[place : place + length])))
            with pytest.raises(DataError, match=rf"checksum .*\(at {path}\)"):
                load_split(folder, "val")
            with path.open("r+b") as file:
                file.seek(place)
                file.write(intact[place : place + length])
    load_split(folder, "val")


def test_any_other_byte_in_the_index_is_refused(shapes: Path) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val", shards=1)
    intact = (folder / INDEX).read_bytes()
    rng = np.random.default_rng(0)
    for place, byte in enumerate(intact):
        content = bytearray(intact)
        content[place] = byte ^ int(rng.integers(1, 256))
        (folder / INDEX).write_bytes(content)
        if content.split() != intact.split():  # space between the values has no meaning
            with pytest.raises(DataError, match=INDEX):
                load_split(folder, "val")


def test_a_folder_without_checksums_is_read(shapes: Path) -> None:
    folder = packed(shapes, shapes.with_name("out"), "val")
    expected = [sample.path.read_bytes() for sample in load_split(folder, "val").samples]
    index = json.loads((folder / INDEX).read_text())
    del index["checksum"], index["splits"]["val"]["checksums"]
    (folder / INDEX).write_text(json.dumps(index))
    assert [sample.path.read_bytes() for sample in load_split(folder, "val").samples] == expected


def test_a_folder_of_version_1_is_read(shapes: Path) -> None:
    """Its ids were int64, it had no column for the frame, and the checksum was of the splits."""
    expected = load_split(shapes, "val")
    folder = shapes.with_name("old")
    folder.mkdir()
    columns = {name: SCHEMA[name] for name in SCHEMA if name != "upright"}
    writer = FileWriter(str(folder / "val.mindrecord"), 1)
    writer.add_schema({**columns, "image_id": {"type": "int64"}}, "pictures with boxes")
    for place, sample in enumerate(expected.samples):
        of_sample = expected.truth.sample == place
        writer.write_raw_data(
            [
                {
                    "place": place,
                    "image_id": sample.image_id,
                    "file_name": sample.path.name,
                    "width": sample.width,
                    "height": sample.height,
                    "image": sample.path.read_bytes(),
                    "length": sample.file_size(),
                    "count": int(of_sample.sum()),
                    "bbox": expected.truth.box[of_sample],
                    "area": expected.truth.area[of_sample],
                    "label": expected.truth.label[of_sample].astype(np.int32),
                    "iscrowd": expected.truth.crowd[of_sample].astype(np.int32),
                }
            ]
        )
    writer.commit()
    categories = [{"id": i, "name": n} for i, n in enumerate(expected.categories, start=1)]
    files = sorted(folder.glob("val.mindrecord*"))
    splits = {
        "val": {
            "pictures": len(expected.samples),
            "categories": categories,
            "shards": {path.name: path.stat().st_size for path in files},
            "checksums": {path.name: f"{zlib.crc32(path.read_bytes()):08x}" for path in files},
        }
    }
    checksum = f"{zlib.crc32(json.dumps(splits, sort_keys=True).encode()):08x}"
    index = {"version": 1, "splits": splits, "checksum": checksum}
    (folder / INDEX).write_text(json.dumps(index))
    split = load_split(folder, "val")
    assert [s.image_id for s in split.samples] == [s.image_id for s in expected.samples]
    assert [s.boxes.tolist() for s in split.samples] == [s.boxes.tolist() for s in expected.samples]
    assert digest(split) == digest(expected)
    assert split.category_ids == expected.category_ids
