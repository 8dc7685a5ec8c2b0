"""Batches prepared by threads and processes, and batches shared out to several cards."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasfpn_runtime.batches import cache as pictures
from nasfpn_runtime.batches import loader
from nasfpn_runtime.batches import preparer as prepare
from nasfpn_runtime.batches.buffers import BatchLayout, Buffers
from nasfpn_runtime.batches.loader import Batch, TrainLoader
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.errors import DataError, DeviceError, RecipeError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.image import Pixels, read_image
from nasfpn_runtime.recipe.recipe import Recipe
from nasfpn_runtime.recipe.settings import Anchors, Data, Training

SIZE, LEVELS, COUNT = (64, 64), (3, 4), 26
VARIED = [
    Augment(0.5, 0.5, (0.5, 1.5), 0.5),
    Augment(0.5, scale=(0.8, 1.2), jitter="mmdet"),
    Augment(0.5, colour=0.4, iou_crop=True),
]


def write(folder: Path, boxes: list[list[float]], first: int = 1) -> Split:
    """Write noise of 40 x 30 with these boxes each; ids count from 100.

    The first picture is scaled by ``first``.
    """
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        name = f"{number}.png"
        noise = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        width, height = (side * (1 if number else first) for side in (40, 30))
        picture = Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST)
        picture.save(folder / "train2017" / name)
        images.append({"id": 100 + number, "file_name": name, "width": width, "height": height})
        for box in boxes:
            place = {"id": len(annotations), "image_id": 100 + number, "category_id": 1}
            annotations.append({**place, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return load_split(folder)


# Prints the processes of a loader, and waits.
WAITING = """
import multiprocessing, sys, time
from pathlib import Path
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.batches.loader import TrainLoader
split, levels = load_split(Path(sys.argv[1])), (3, 4, 5, 6, 7)
used = TrainLoader(split, load_recipe("shapes"), levels, 0, workers=2)
next(used.epoch(0))
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    boxes: list[list[float]] = [[4, 3, 20, 12], [0, 0, 9, 9]]
    return write(tmp_path_factory.mktemp("data") / "coco", boxes)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    left = working()
    for process in multiprocessing.active_children():
        process.kill()  # Python waits for it at its end, and it for Python
    assert not left


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """As in a terminal; a shell's background job ignores SIGINT, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def working() -> list[str]:
    """Return the names of threads and processes that prepare pictures."""
    threads = [t.name for t in threading.enumerate() if t.name.startswith("pictures")]
    return threads + [process.name for process in multiprocessing.active_children()]


def make(split: Split, augment: Augment = VARIED[0], batch: int = 4, **options: Any) -> TrainLoader:
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
        for name in ("images", "sizes", "labels", "deltas"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("augment", VARIED, ids=["own", "mmdet", "modelzoo"])
def test_batches_are_the_same_whatever_prepares_them(split: Split, augment: Augment) -> None:
    expected = [list(make(split, augment).epoch(epoch)) for epoch in range(2)]
    assert expected[0][0].pictures != expected[1][0].pictures
    for workers in (0, 1, 3):
        with make(split, augment, workers=workers) as used:
            for epoch in (1, 0, 1):  # the third time from memory
                # All are kept: none is written to when its memory would be needed again.
                assert_equal(list(used.epoch(epoch)), expected[epoch])


def test_mindrecord_can_be_read_by_all_workers(split: Split, tmp_path: Path) -> None:
    pack({"train": split}, tmp_path / "rec", shards=2)
    expected = list(make(split).epoch(0))
    for workers in (0, 1, 2):
        stored = load_split(tmp_path / "rec")
        with make(stored, workers=workers, cache_bytes=0) as used:
            assert_equal(list(used.epoch(0)), expected)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_are_the_parts_of_a_batch_in_order(split: Split, count: int) -> None:
    whole = list(make(split, batch=8).epoch(1))
    shards = []
    for rank in range(count):
        with make(split, batch=8, shard=(rank, count), workers=rank % 2) as used:
            shards.append(list(used.epoch(1)))
    names = ("images", "sizes", "labels", "deltas")
    joined = [
        Batch(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in names),
            sum((part.pictures for part in parts), ()),
        )
        for parts in zip(*shards, strict=True)
    ]
    assert_equal(joined, whole)
    assert {len(batch.pictures) for shard in shards for batch in shard} == {8 // count}
    pictures = [number for batch in whole for number in batch.pictures]
    assert len(pictures) == len(set(pictures)) == 24  # three batches of 8 of 26 pictures


def test_a_batch_that_cannot_be_shared_evenly_is_refused(split: Split) -> None:
    with pytest.raises(RecipeError, match=r"training\.batch is a multiple of .* got 6 and 4 cards"):
        make(split, batch=6, shard=(0, 4))


def test_few_batches_are_prepared_ahead(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(pictures, "read_image", lambda path: read.append(path) or read_image(path))
    with make(split, batch=2, workers=1, cache_bytes=0) as used:
        batches = used.epoch(0)
        for number in (1, 2):
            next(batches)
            time.sleep(0.3)  # for a thread that would go on; too short cannot fail the test
            assert len(read) <= 2 * (number + loader.AHEAD)
        batches.close()


def test_an_error_of_a_worker_arrives_as_it_is(tmp_path: Path) -> None:
    split = write(tmp_path / "coco", [[4, 3, 20, 12]])
    broken = split.samples[5].path
    assert isinstance(broken, Path)
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    for workers in (0, 1, 2):
        with make(split, batch=13, workers=workers) as used:
            with pytest.raises(DataError, match=r"5\.png"):
                list(used.epoch(0))
            broken.write_bytes(whole)  # the workers are still there
            assert len(list(used.epoch(0))) == 2
            broken.write_bytes(whole[:60])
        assert not working()


@pytest.mark.parametrize("workers", [1, 2])
def test_an_epoch_that_is_left_early_can_be_followed_by_another(split: Split, workers: int) -> None:
    expected = list(make(split).epoch(1))
    with make(split, workers=workers) as used:
        for _ in range(3):
            for _ in used.epoch(0):
                break
            gc.collect()
            assert_equal(list(used.epoch(1)), expected)


def test_nothing_is_written_for_an_epoch_after_it_was_left(tmp_path: Path) -> None:
    # A picture of 4000 x 3000 is still being read then.
    split = write(tmp_path / "coco", [[4, 3, 20, 12]], first=100)
    for epoch in range(100):
        order = np.random.default_rng((3, epoch)).permutation(COUNT)
        if order.tolist().index(0) // 4 == 1:  # in the second batch
            break
    with make(split, workers=2, cache_bytes=0) as used:
        list(used.epoch(0))  # both processes are there
        assert used._workers is not None
        for _ in used.epoch(epoch):
            time.sleep(0.02)  # for one to begin with it; other times cannot fail the test
            break
        gc.collect()
        left = [bytes(block) for block in used._workers.blocks]
        time.sleep(0.5)
        assert [bytes(block) for block in used._workers.blocks] == left


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaving_ends_the_workers(split: Split, error: type[BaseException], workers: int) -> None:
    def train() -> None:
        with make(split, workers=workers) as used:
            for _ in used.epoch(0):
                assert working()
                raise error

    with pytest.raises(error):
        train()
    assert not working()


def test_a_process_that_dies_ends_the_epoch_with_a_clear_error(split: Split) -> None:
    with make(split, workers=2) as used:
        next(used.epoch(0))
        victim = multiprocessing.active_children()[0]
        os.kill(victim.pid or 0, signal.SIGKILL)
        for epoch in (0, 1):
            with pytest.raises(DeviceError, match="--workers"):
                list(used.epoch(epoch))


@pytest.mark.usefixtures("_interruptible")
def test_processes_leave_an_interrupt_to_the_one_that_started_them(
    split: Split, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal interrupts all, from the moment on in which they begin to exist."""
    expected, enough = list(make(split).epoch(0)), threading.Event()

    def interrupt() -> None:
        while not enough.wait(0.01):
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with make(split, workers=2) as used:
        thread.start()
        try:
            for _ in range(2):
                assert_equal(list(used.epoch(0)), expected)
        finally:
            enough.set()
            thread.join()
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupt_while_processes_are_started_is_raised_and_leaves_none(
    split: Split,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: int,
    when: str,
) -> None:
    """Breaks if it is held back in one thread alone: then another one takes it."""
    start, started, enough = SpawnProcess.start, 0, threading.Event()

    def interrupted(process: SpawnProcess) -> None:
        nonlocal started
        started += 1
        if (started, when) == (number, "before"):
            os.kill(os.getpid(), signal.SIGINT)
        start(process)
        if (started, when) == (number, "after"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    thread = threading.Thread(target=enough.wait)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt), make(split, workers=2) as used:
            list(used.epoch(0))
    finally:
        enough.set()
        thread.join()
    assert started >= number
    assert capfd.readouterr().err == ""
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    write(tmp_path / "coco", [[4, 3, 20, 12]])
    command = [sys.executable, "-c", WAITING, str(tmp_path / "coco")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    limit = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_ctrl_c_while_waiting_ends_the_thread(
    split: Split, monkeypatch: pytest.MonkeyPatch
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
    used = make(split, workers=1, cache_bytes=0)
    with pytest.raises(KeyboardInterrupt), used:
        list(used.epoch(0))
    # Where the interrupt comes while the thread is being started nobody waits for it.
    for thread in threading.enumerate():
        if thread.name in working():
            thread.join(10)


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
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "REPLACEMENTS", 3)
    outside = np.array([[90, 90, 99, 99]], np.float32)  # of every crop
    samples = tuple(replace(s, boxes=outside, labels=s.labels[:1]) for s in split.samples)
    used = make(replace(split, samples=samples), Augment(scale=(1, 1), jitter="mmdet"))
    assert not any((batch.labels >= 0).any() for batch in used.epoch(0))


def test_memory_is_used_again_when_nobody_looks_at_it() -> None:
    layout = BatchLayout(2, (4, 8), 3)
    buffers = Buffers([bytearray(layout.bytes) for _ in range(2)], layout)
    first, arrays = buffers.take()
    shapes = [(2, 3, 4, 8), (2, 2), (2, 3), (2, 3, 4)]
    assert [array.shape for array in arrays] == shapes
    assert [array.dtype.name for array in arrays] == ["uint8", "int32", "int32", "float32"]
    for number, array in enumerate(arrays):
        array[:] = number
    assert [set(array.ravel().tolist()) for array in arrays] == [{0}, {1}, {2}, {3}]  # apart
    part = arrays.deltas[1:, :2]
    del arrays, array
    second, others = buffers.take()
    assert (second != first, len(buffers)) == (True, 0)
    others.deltas[:] = 7
    assert set(part.ravel().tolist()) == {3}  # still looked at
    with pytest.raises(IndexError):
        buffers.take()
    del part
    assert buffers.take()[0] == first
