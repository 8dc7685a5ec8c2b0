"""Batches prepared by threads, and batches that are shared out to several cards."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime.config import Recipe
from nasfpn_runtime.data import loader, pictures
from nasfpn_runtime.data.augment import Augment
from nasfpn_runtime.data.buffers import Buffers
from nasfpn_runtime.data.coco import CocoSplit, load_split
from nasfpn_runtime.data.image import Pixels, read_image
from nasfpn_runtime.data.loader import Batch, TrainLoader
from nasfpn_runtime.data.pack import pack
from nasfpn_runtime.errors import DataError, RecipeError
from nasfpn_runtime.sections import Anchors, Data, Training

SIZE, LEVELS, COUNT = (64, 64), (3, 4), 26
VARIED = [
    Augment(0.5, 0.5, (0.5, 1.5), 0.5),
    Augment(0.5, scale=(0.8, 1.2), jitter="mmdet"),
    Augment(0.5, colour=0.4, iou_crop=True),
]


def write(folder: Path, boxes: list[list[float]]) -> CocoSplit:
    """Write noise of 40 x 30 with these boxes each; ids count from 100."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        name = f"{number}.png"
        noise = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "train2017" / name)
        images.append({"id": 100 + number, "file_name": name, "width": 40, "height": 30})
        for box in boxes:
            place = {"id": len(annotations), "image_id": 100 + number, "category_id": 1}
            annotations.append({**place, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return load_split(folder)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    boxes: list[list[float]] = [[4, 3, 20, 12], [0, 0, 9, 9]]
    return write(tmp_path_factory.mktemp("data") / "coco", boxes)


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    yield
    assert not working()


def working() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("pictures")]


def make(
    split: CocoSplit, augment: Augment = VARIED[0], batch: int = 4, **options: Any
) -> TrainLoader:
    recipe = Recipe(
        "test",
        anchors=Anchors(scale=2.0, octaves=1),
        data=Data(SIZE, augment=augment),
        training=Training(batch=batch),
    )
    return TrainLoader(split, recipe, LEVELS, 3, **options)


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.pictures == b.pictures
        for name in ("images", "labels", "deltas"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("augment", VARIED, ids=["own", "mmdet", "modelzoo"])
def test_batches_are_the_same_whatever_prepares_them(split: CocoSplit, augment: Augment) -> None:
    expected = [list(make(split, augment).epoch(epoch)) for epoch in range(2)]
    assert expected[0][0].pictures != expected[1][0].pictures
    for workers in (1, 2, 5):
        used = make(split, augment, workers=workers)
        for epoch in (1, 0, 1):  # the third time from memory
            assert_equal(list(used.epoch(epoch)), expected[epoch])


def test_mindrecord_can_be_read_by_threads(split: CocoSplit, tmp_path: Path) -> None:
    pack({"train": split}, tmp_path / "rec", shards=2)
    expected = list(make(split).epoch(0))
    for workers in (0, 3):
        loader = make(load_split(tmp_path / "rec"), workers=workers, cache_bytes=0)
        assert_equal(list(loader.epoch(0)), expected)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_are_the_parts_of_a_batch_in_order(split: CocoSplit, count: int) -> None:
    whole = list(make(split, batch=8).epoch(1))
    shards = [
        list(make(split, batch=8, shard=(rank, count), workers=rank % 2).epoch(1))
        for rank in range(count)
    ]
    joined = [
        Batch(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.deltas for part in parts]),
            sum((part.pictures for part in parts), ()),
        )
        for parts in zip(*shards, strict=True)
    ]
    assert_equal(joined, whole)
    assert {len(batch.pictures) for shard in shards for batch in shard} == {8 // count}
    pictures = [number for batch in whole for number in batch.pictures]
    assert len(pictures) == len(set(pictures)) == 24  # three batches of 8 of 26 pictures


def test_a_batch_that_cannot_be_shared_evenly_is_refused(split: CocoSplit) -> None:
    with pytest.raises(RecipeError, match=r"training\.batch is a multiple of .* got 6 and 4 cards"):
        make(split, batch=6, shard=(0, 4))


def test_few_batches_are_prepared_ahead(split: CocoSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(pictures, "read_image", lambda path: read.append(path) or read_image(path))
    batches = make(split, batch=2, workers=1, cache_bytes=0).epoch(0)
    for number in (1, 2):
        next(batches)
        time.sleep(0.3)  # for a thread that would go on; too short a time cannot fail the test
        assert len(read) <= 2 * (number + loader.AHEAD)
    batches.close()  # type: ignore[attr-defined]


def test_an_error_of_a_thread_arrives_as_it_is(tmp_path: Path) -> None:
    split = write(tmp_path / "coco", [[4, 3, 20, 12]])
    broken = split.samples[5].path
    assert isinstance(broken, Path)
    broken.write_bytes(broken.read_bytes()[:60])
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"5\.png"):
            list(make(split, batch=13, workers=workers).epoch(0))
        assert not working()


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_leaving_early_ends_the_threads(
    split: CocoSplit, error: type[BaseException] | None
) -> None:
    def train() -> None:
        for _ in make(split, workers=2).epoch(0):
            assert working()
            if error is None:
                break
            raise error

    if error is None:
        train()
    else:
        with pytest.raises(error):
            train()
    gc.collect()  # the traceback that pytest looked at held the iterator
    assert not working()


def test_ctrl_c_while_waiting_ends_the_threads(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main thread is interrupted while it waits for a picture, as by the terminal."""
    import _thread

    main_waits = threading.Event()

    def interrupt(path: Any) -> Pixels:
        if not main_waits.is_set():
            main_waits.set()
            _thread.interrupt_main()
        return read_image(path)

    monkeypatch.setattr(pictures, "read_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(make(split, workers=2, cache_bytes=0).epoch(0))
    gc.collect()
    # Where the interrupt comes while a thread is being started nobody waits for that one.
    for thread in threading.enumerate():
        if thread.name in working():
            thread.join(10)
    assert not working()


def test_a_picture_that_lost_its_boxes_is_replaced_in_mmdetection(tmp_path: Path) -> None:
    # By 4 the picture is 256 x 192 of which 64 x 64 is kept: the box in the corner, 32 px
    # then, is there for 1 of 4 crops or so.
    split = write(tmp_path / "coco", [[0, 0, 5, 5]])
    found = {}
    for jitter in ("tf", "mmdet"):
        augment = Augment(scale=(4, 4), jitter=jitter)
        (batch,) = make(split, augment, batch=26).epoch(0)
        found[jitter] = (batch.labels > 0).any(axis=1), batch.pictures
    assert not found["tf"][0].all()  # those are trained on as background
    assert sorted(found["tf"][1]) == list(range(100, 126))
    assert found["mmdet"][0].all()
    kept = found["tf"][0]
    for before, now, same in zip(found["tf"][1], found["mmdet"][1], kept, strict=True):
        assert before == now or not same


def test_data_that_always_lose_their_boxes_end(
    split: CocoSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "REPLACEMENTS", 3)
    used = make(split, Augment(scale=(1, 1), jitter="mmdet"))
    none = replace(split.samples[0], boxes=np.zeros((0, 4), np.float32), labels=np.zeros(0, int))
    used.pictures.split = replace(split, samples=(none,) * COUNT)
    assert not any((batch.labels >= 0).any() for batch in used.epoch(0))


def test_memory_is_used_again_when_nobody_looks_at_it() -> None:
    buffers = Buffers((2, 3), np.float32)
    first = buffers.take()
    assert (first.shape, first.dtype) == ((2, 3), np.dtype(np.float32))
    first[:] = 7
    part = first[1:, :2]
    del first
    second = buffers.take()
    second[:] = 1
    assert part.tolist() == [[7, 7]]  # still looked at
    address = part.base.__array_interface__["data"][0]
    del part
    third = buffers.take()
    assert third.__array_interface__["data"][0] == address
    assert second.tolist() == [[1] * 3] * 2
