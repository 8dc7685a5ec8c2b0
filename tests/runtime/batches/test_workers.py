"""Images prepared by threads and processes: same batches, and no process outlives its job."""

from __future__ import annotations

import _thread
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_data import NOISE, SIZE, assert_batches_equal, make_loader, write_noise
from nasfpn_runtime.batches import loader as loaders
from nasfpn_runtime.batches.loader import TrainLoader
from nasfpn_runtime.batches.workers import Workers
from nasfpn_runtime.data import samples
from nasfpn_runtime.data.dataset import Split, load_split
from nasfpn_runtime.data.mindrecord_writer import pack
from nasfpn_runtime.errors import DataError, DeviceError
from nasfpn_runtime.pictures.augment import Augment
from nasfpn_runtime.pictures.image import Pixels, read_image
from nasfpn_runtime.recipe.settings import Data
from runs import wait_until

SEED = 3
VARIED = [
    Augment(0.5, 0.5, (0.5, 1.5), 0.5),
    Augment(0.5, scale=(0.8, 1.2), jitter="mmdet"),
    Augment(0.5, colour=0.4, iou_crop=True),
]

# Prints the ids of a loader's processes, and waits.
WAITING = """
import multiprocessing, sys, time
from pathlib import Path
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.batches.loader import TrainLoader
split, levels = load_split(Path(sys.argv[1])), (3, 4, 5, 6, 7)
loader = TrainLoader(split, load_recipe("shapes"), levels, 0, workers=2)
next(loader.epoch(0))
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    boxes = [[4, 3, 20, 12], [0, 0, 9, 9]]
    return write_noise(tmp_path_factory.mktemp("data") / "coco", boxes)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail if a test leaves a thread or process."""
    yield
    left = working()
    for process in multiprocessing.active_children():
        process.kill()  # else it and Python would wait for each other at exit
    assert not left


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Handle SIGINT as in a terminal; a background job of a shell, and its children, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def working() -> list[str]:
    """Return the names of the threads and processes that prepare images."""
    threads = [t.name for t in threading.enumerate() if t.name.startswith("pictures")]
    return threads + [process.name for process in multiprocessing.active_children()]


def make(split: Split, augment: Augment = VARIED[0], **options: Any) -> TrainLoader:
    return make_loader(split, Data(SIZE, augment=augment), seed=SEED, **options)


@pytest.mark.slow
@pytest.mark.parametrize("augment", VARIED, ids=["own", "mmdet", "modelzoo"])
def test_batches_do_not_depend_on_what_prepares_them(split: Split, augment: Augment) -> None:
    expected = [list(make(split, augment).epoch(epoch)) for epoch in range(2)]
    assert expected[0][0].pictures != expected[1][0].pictures
    for workers in (0, 1, 3):
        with make(split, augment, workers=workers) as loader:
            for epoch in (1, 0, 1):  # the third time from the cache
                # All batches are kept. None may be overwritten when its block is needed again.
                assert_batches_equal(list(loader.epoch(epoch)), expected[epoch])


@pytest.mark.slow
def test_all_kinds_of_workers_read_mindrecord(split: Split, tmp_path: Path) -> None:
    pack({"train": split}, tmp_path / "rec", shards=2)
    expected = list(make(split).epoch(0))
    for workers in (0, 1, 2):
        stored = load_split(tmp_path / "rec")
        with make(stored, workers=workers, cache_bytes=0) as loader:
            assert_batches_equal(list(loader.epoch(0)), expected)


@pytest.mark.slow
def test_an_error_of_a_worker_arrives_as_it_is(tmp_path: Path) -> None:
    split = write_noise(tmp_path / "coco", [[4, 3, 20, 12]])
    broken = split.samples[5].path
    assert isinstance(broken, Path)
    intact = broken.read_bytes()
    broken.write_bytes(intact[:60])
    for workers in (0, 1, 2):
        with make(split, batch=13, workers=workers) as loader:
            with pytest.raises(DataError, match=r"5\.png"):
                list(loader.epoch(0))
            broken.write_bytes(intact)  # the workers are still alive
            assert len(list(loader.epoch(0))) == 2
            broken.write_bytes(intact[:60])
        assert not working()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_an_epoch_that_is_left_early_can_be_followed_by_another(split: Split, workers: int) -> None:
    expected = list(make(split).epoch(1))
    with make(split, workers=workers) as loader:
        for _ in range(3):
            for _ in loader.epoch(0):
                break
            gc.collect()
            assert_batches_equal(list(loader.epoch(1)), expected)


@pytest.mark.slow
def test_nothing_is_written_for_an_epoch_after_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Workers] = []

    class RecordedWorkers(Workers):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr(loaders, "Workers", RecordedWorkers)
    # The epoch is left while an image of 4000 x 3000 is read.
    split = write_noise(tmp_path / "coco", [[4, 3, 20, 12]], first=100)
    for epoch in range(100):
        order = np.random.default_rng((SEED, epoch)).permutation(NOISE)
        if order.tolist().index(0) // 4 == 1:  # in the second batch
            break
    with make(split, workers=2, cache_bytes=0) as loader:
        list(loader.epoch(0))  # both processes are running now
        for _ in loader.epoch(epoch):
            time.sleep(0.02)  # time for a process to start reading it; cannot fail the test
            break
        gc.collect()
        (workers,) = started
        left = [bytes(block) for block in workers.blocks]
        time.sleep(0.5)
        assert [bytes(block) for block in workers.blocks] == left


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_ends_the_workers(
    split: Split, error: type[BaseException], workers: int
) -> None:
    def train() -> None:
        with make(split, workers=workers) as loader:
            for _ in loader.epoch(0):
                assert working()
                raise error

    with pytest.raises(error):
        train()
    assert not working()


@pytest.mark.slow
def test_a_process_that_dies_ends_the_epoch_with_a_clear_error(split: Split) -> None:
    with make(split, workers=2) as loader:
        next(loader.epoch(0))
        victim = multiprocessing.active_children()[0]
        os.kill(victim.pid or 0, signal.SIGKILL)
        for epoch in (0, 1):
            # concurrent.futures looks for dead processes only while it has no results to take, so
            # the other process may finish an epoch alone.
            again = (loader.epoch(epoch) for _ in range(1000))
            with pytest.raises(DeviceError, match="--workers"):
                list(chain.from_iterable(again))


@pytest.mark.slow
@pytest.mark.usefixtures("_interruptible")
def test_processes_leave_an_interrupt_to_the_one_that_started_them(
    split: Split, capfd: pytest.CaptureFixture[str]
) -> None:
    """A terminal sends SIGINT to all processes, from the moment they start."""
    expected, enough = list(make(split).epoch(0)), threading.Event()

    def interrupt() -> None:
        while not enough.wait(0.01):
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with make(split, workers=2) as loader:
        thread.start()
        try:
            for _ in range(2):
                assert_batches_equal(list(loader.epoch(0)), expected)
        finally:
            enough.set()
            thread.join()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
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
    """Fails if SIGINT is blocked in one thread only, because another thread then receives it."""
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
        with pytest.raises(KeyboardInterrupt), make(split, workers=2) as loader:
            list(loader.epoch(0))
    finally:
        enough.set()
        thread.join()
    assert started >= number
    assert capfd.readouterr().err == ""
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    write_noise(tmp_path / "coco", [[4, 3, 20, 12]])
    command = [sys.executable, "-c", WAITING, str(tmp_path / "coco")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), 60)


def test_ctrl_c_while_waiting_ends_the_thread(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main thread is interrupted while it waits for an image, as by a terminal."""
    main_waits = threading.Event()

    def interrupt(path: Any, **options: bool) -> Pixels:
        if not main_waits.is_set():
            main_waits.set()
            _thread.interrupt_main()
        return read_image(path, **options)

    monkeypatch.setattr(samples, "read_image", interrupt)
    loader = make(split, workers=1, cache_bytes=0)
    with pytest.raises(KeyboardInterrupt), loader:
        list(loader.epoch(0))
    # If the interrupt comes while the thread is being started, nothing has waited for the thread.
    for thread in threading.enumerate():
        if thread.name in working():
            thread.join(10)
