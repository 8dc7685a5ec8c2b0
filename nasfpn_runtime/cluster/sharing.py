"""Use of runtimes such as MindSpore by several threads, and in forked processes.

MindSpore computes one thing at a time: two threads that run networks, even different ones, get
wrong numbers, end in a segmentation fault or wait for ever (seen with 2.10). So all of this
project's calls that run, train, load, save or export a network hold the same lock.

A forked process has the memory of its parent but none of its threads. A runtime whose threads
are missing waits for them for ever, in a run or when the process ends. So a runtime of the parent
is refused in the child, or opened again where that works, and what it left behind is never
destroyed there.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import weakref
from pathlib import Path
from typing import Any, cast

from nasfpn_runtime.errors import EngineError

# The C implementations of RLock alone are safe here. ``with`` on them cannot be interrupted
# between taking the lock and entering the block; in a context manager written in Python, Ctrl-C
# could come there, and the lock would be held for ever.
_Locks = dict[str, "threading.RLock"]
# Runtimes that do not run in a child after they ran in its parent. OpenVINO does if it was idle
# at the fork, but loading a file waited for ever after a fork in the middle of a run.
_UNUSABLE = {"mindspore", "openvino"}
_THREADS = ("ActorThread_", "KernelThread_")  # names of MindSpore's, whoever has run it


def _new_locks() -> _Locks:
    return {name: threading.RLock() for name in ("mindspore", "detectors")}


_locks = _new_locks()
_started: set[str] = set()  # runtimes with threads in this process
_lost: set[str] = set()  # runtimes with threads in a process that this one was forked from
_live: weakref.WeakSet[object] = weakref.WeakSet()
_retired: list[object] = []


def lock(name: str) -> threading.RLock:
    """Return a lock of this process, which the same thread can take again.

    Use it as ``with lock("mindspore"):``. An exception or Ctrl-C in the block releases it. A
    forked process has new locks, which nobody holds.

    Args:
        name: ``mindspore``, or ``detectors`` for opening and closing a ``Detector``. A thread
            that holds the first must not take the second.

    Raises:
        EngineError: see :func:`check_usable`.
    """
    check_usable(name)
    return _locks[name]


def check_usable(runtime: str) -> None:
    """Check that a runtime can be used in this process.

    Raises:
        EngineError: it had started in a process that this one was forked from.
    """
    if runtime in _lost:
        raise EngineError(
            f"cannot use {runtime} in this process: it was forked from one in which {runtime} had "
            "started threads, which a fork does not copy; load the detector after the fork, in "
            "each worker (gunicorn: in post_fork), or start the processes with spawn"
        )


def register(engine: object, started: str = "mindspore") -> None:
    """Note that an engine must not be destroyed in forked processes.

    Args:
        started: the runtime that has started threads for it. MindSpore starts them later, in its
            first run, and they are looked for before a fork.
    """
    _live.add(engine)
    if started != "mindspore":
        _started.add(started)


def retire(thing: object) -> None:
    """Take over the last reference to a network, and destroy it when MindSpore is idle.

    Never waits, so that destructors can call it: if another thread holds MindSpore's lock, that
    thread destroys the network in :func:`destroy_retired`.
    """
    _retired.append(thing)
    del thing
    held = _locks["mindspore"]
    if held.acquire(blocking=False):
        try:
            destroy_retired()
        finally:
            held.release()


def destroy_retired() -> None:
    """Destroy retired networks; call it with MindSpore's lock."""
    _retired.clear()


class _MindSporeExit:
    """Equals the function that MindSpore leaves with ``atexit``, which joins its threads.

    In a forked process, where they do not exist, that ends in a segmentation fault (2.10). The
    function has no name, but like all functions of pybind11 it is bound to a capsule.
    """

    def __eq__(self, other: object) -> bool:
        return type(getattr(other, "__self__", None)).__name__ == "PyCapsule"

    def __hash__(self) -> int:
        return 0


def _before_fork() -> None:
    for name in Path("/proc/self/task").glob("*/comm"):
        try:
            if name.read_text(encoding="utf-8", errors="replace").startswith(_THREADS):
                _started.add("mindspore")
                return
        except OSError:  # the thread has just ended
            continue


def _in_child() -> None:
    global _locks
    _locks = _new_locks()
    if not _started:
        return
    _lost.update(_started & _UNUSABLE)
    for engine in [*_live, *_retired]:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    if "mindspore" in _lost:
        atexit.unregister(cast(Any, _MindSporeExit()))
    # When the process ends, C++ destructors of the runtimes would wait for their threads:
    # `import onnxruntime`, os.fork and sys.exit are enough for that in ONNX Runtime 1.32. on_exit
    # calls its functions with the exit code, the last one first, so this one ends the process
    # before those. Python has flushed its files and run `atexit` by then.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # glibc
        libc.on_exit(libc._exit, None)


os.register_at_fork(before=_before_fork, after_in_child=_in_child)
