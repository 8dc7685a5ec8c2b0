"""What prepares the images of batches: the calling thread, a background thread, or processes.

Part of the work holds Python's global interpreter lock, so two threads are hardly faster than
one. Processes do not share that lock. They write to memory shared with the calling process, and
end when it ends, even if it is killed.
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
from nasfpn_runtime.data.entry import Id
from nasfpn_runtime.processes import without_current_folder

# (block, [(slot, index of the picture)], epoch) -> image ids
Fill = Callable[[int, Sequence[tuple[int, int]], int], list[Id]]

_fill: Fill  # of a worker process, set when it starts


class Workers:
    """Prepare images into the slots of memory blocks, one block for a batch.

    Args:
        count: 0 to work in the calling thread during :meth:`fill`, 1 for a background thread,
            more for that many processes.
        blocks: number of memory blocks.
        layout: of each block.
        arguments: of each worker's ``Preparer``.

    Attributes:
        blocks: the memory blocks.
    """

    def __init__(self, count: int, blocks: int, layout: BatchLayout, *arguments: Any) -> None:
        self.count = count
        self._pool: Executor | None = None
        if count > 1:
            # Spawn, not fork: a forked child inherits locks held by MindSpore's threads, and
            # the threads that would release them do not exist there.
            spawn = multiprocessing.get_context("spawn")
            self.blocks: list[Any] = [spawn.RawArray("B", layout.bytes) for _ in range(blocks)]
            self._fill: Fill = _fill_in_process
            settings = (self.blocks, layout, arguments)
            with without_current_folder():  # the pool starts multiprocessing's resource tracker
                self._pool = ProcessPoolExecutor(
                    count, spawn, initializer=_start_process, initargs=settings
                )
            return
        self.blocks = [bytearray(layout.bytes) for _ in range(blocks)]
        self._fill = _make_fill(self.blocks, layout, arguments)
        if count:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pictures")

    def fill(self, block: int, pictures: Sequence[int], epoch: int) -> list[Future[list[Id]]]:
        """Start to write pictures to the slots of a block, an equal part for each worker.

        Args:
            block: index into ``blocks``.
            pictures: indices into the split's samples, one for each slot.

        Returns:
            Futures of the image ids of each part, in order; see ``Preparer.fill``.
        """
        slots = list(enumerate(pictures))
        size = -(-len(slots) // max(1, self.count))
        parts = [slots[start : start + size] for start in range(0, len(slots), size)]
        return [self._submit(block, part, epoch) for part in parts]

    def _submit(self, *part: Any) -> Future[list[Id]]:
        if self._pool is not None:
            # The pool starts a process when it gets work.
            with interrupts.held_back(), without_current_folder():
                return self._pool.submit(self._fill, *part)
        done: Future[list[Id]] = Future()
        done.set_result(self._fill(*part))
        return done

    def close(self) -> None:
        """End the threads and processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _make_fill(blocks: Sequence[Any], layout: BatchLayout, arguments: tuple[Any, ...]) -> Fill:
    batches, preparer = [layout.arrays(block) for block in blocks], Preparer(*arguments)

    def fill(block: int, slots: Sequence[tuple[int, int]], epoch: int) -> list[Id]:
        return [preparer.fill(batches[block], slot, index, epoch) for slot, index in slots]

    return fill


def _start_process(*arguments: Any) -> None:
    """Prepare a worker process for work."""
    global _fill
    # For MindSpore: there is a process for each core already.
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _fill = _make_fill(*arguments)


def _fill_in_process(block: int, slots: Sequence[tuple[int, int]], epoch: int) -> list[Id]:
    return _fill(block, slots, epoch)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
