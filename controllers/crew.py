"""Several workers of one process: each in a thread, and on cores of its own.

A small training gains little from a second core, so two workers with one core each train more than
one worker with both; ``nasfpn bench workers`` measures it. Workers that share cores slow each other
down, because the threads of MindSpore spin while they wait.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import pairwise

from controllers.worker import ProxyWorker


def cores_of(workers: int) -> list[tuple[int, ...]]:
    """Divide the cores that this process may use among workers, as evenly as possible.

    Args:
        workers: their number, at most that of the cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    ends = [len(cores) * i // workers for i in range(workers + 1)]
    return [tuple(cores[a:b]) for a, b in pairwise(ends)]


def run(workers: int, work: Callable[[ProxyWorker], None]) -> None:
    """Call a function for each worker, at the same time, and wait until all calls have ended.

    If a call raises or this process is interrupted, the other calls end with a KeyboardInterrupt at
    once, wherever they use their worker. A single worker has all cores and needs no thread.

    Args:
        workers: number of calls.
        work: is called with a worker of its own.

    Raises:
        BaseException: what the first call raised that did.
    """
    if workers == 1:
        with ProxyWorker() as worker:
            work(worker)
        return
    stop = threading.Event()

    def task(cores: tuple[int, ...]) -> None:
        with ProxyWorker(cores=cores, stop=stop) as worker:
            work(worker)

    with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
        calls = [pool.submit(task, cores) for cores in cores_of(workers)]
        try:
            for call in as_completed(calls):
                call.result()
        finally:
            stop.set()
