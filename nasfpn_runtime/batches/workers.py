"""What prepares the pictures of batches: the caller, a thread beside it, or processes.

A part of the work holds the interpreter's lock, so that two threads are hardly faster than
one; processes share no lock. They write to memory that they share with the caller's, and end
when it does, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import wait
from typing import Any

from nasfpn_runtime import interrupts
from nasfpn_runtime.batches.buffers import BatchLayout
from nasfpn_runtime.batches.preparer import Preparer

Fill = Callable[[int, Sequence[tuple[int, int]], int], list[int]]

_fill: Fill


class Workers:
    """Fill places of blocks of memory with pictures.

    Args:
        count: 0 works in the caller's thread when a picture is asked for, 1 is a thread beside
            it, more are processes.
        blocks: how many there are, each of that layout.
        arguments: of the ``Preparer`` of each.

    Attributes:
        blocks: the memory.
    """

    def __init__(self, count: int, blocks: int, layout: BatchLayout, *arguments: Any) -> None:
        self.count = count
        self._pool: Executor | None = None
        if count > 1:
            # Not forked: of MindSpore's threads the locks would be there, held for ever.
            spawn = multiprocessing.get_context("spawn")
            self.blocks: list[Any] = [spawn.RawArray("B", layout.bytes) for _ in range(blocks)]
            self._fill: Fill = _fill_here
            self._pool = ProcessPoolExecutor(
                count, spawn, initializer=_start, initargs=(self.blocks, layout, arguments)
            )
            return
        self.blocks = [bytearray(layout.bytes) for _ in range(blocks)]
        self._fill = _filler(self.blocks, layout, arguments)
        if count:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def fill(self, block: int, pictures: Sequence[int], epoch: int) -> list[Future[list[int]]]:
        """Write pictures to the places of a block, sooner or later, in a part for each worker.

        The futures give the ids, in order; see ``Preparer.fill``.
        """
        places = list(enumerate(pictures))
        size = -(-len(places) // max(1, self.count))
        parts = [places[start : start + size] for start in range(0, len(places), size)]
        return [self._submit(block, part, epoch) for part in parts]

    def _submit(self, *part: Any) -> Future[list[int]]:
        if self._pool is not None:
            with interrupts.held_back():  # processes begin where there is work for them
                return self._pool.submit(self._fill, *part)
        done: Future[list[int]] = Future()
        done.set_result(self._fill(*part))
        return done

    def close(self) -> None:
        """End threads and processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _filler(blocks: Sequence[Any], layout: BatchLayout, arguments: tuple[Any, ...]) -> Fill:
    batches, preparer = [layout.arrays(block) for block in blocks], Preparer(*arguments)

    def fill(block: int, places: Sequence[tuple[int, int]], epoch: int) -> list[int]:
        return [preparer.fill(batches[block], *picture, epoch) for picture in places]

    return fill


def _start(*arguments: Any) -> None:
    """Begin a process."""
    global _fill
    # MindSpore's: there is a process for each core already.
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _fill = _filler(*arguments)


def _fill_here(block: int, places: Sequence[tuple[int, int]], epoch: int) -> list[int]:
    return _fill(block, places, epoch)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
