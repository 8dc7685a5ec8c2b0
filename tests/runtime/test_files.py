"""Atomic writes, links and copies, and locks between processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from nasfpn_runtime.files import atomic_write, link_or_copy, locked

HOLDER = """
import os, sys, time
from pathlib import Path
from nasfpn_runtime.files import locked
with locked(Path(sys.argv[1])):
    if os.fork():
        print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that holds the lock and has forked another one; kill both at the end."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_file_is_replaced_at_the_end_of_the_block_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as draft:
            draft.write_text("half")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    with atomic_write(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_linked_within_a_file_system_and_copied_from_another(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_text("a")
    link_or_copy(source, tmp_path / "b")
    assert (tmp_path / "b").samefile(source)
    other = Path("/proc/version")
    link_or_copy(other, tmp_path / "c")
    assert (tmp_path / "c").read_text() == other.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_an_interrupted_copy_leaves_no_file(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    with full_disk(), pytest.raises(OSError, match="too large"):
        link_or_copy(Path("/proc/version"), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process_even_if_a_child_lives(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with holder(file) as process:
        with pytest.raises(BlockingIOError, match=rf"another process.*{file}"), locked(file):
            pass
        process.kill()
        process.wait()
        os.killpg(process.pid, 0)  # the child is alive
        with locked(file):
            pass


def test_a_process_that_waits_calls_back_and_gets_the_lock(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with (
        holder(file) as process,
        locked(file, waiting=lambda: os.killpg(process.pid, signal.SIGKILL)),
    ):
        assert process.wait() == -signal.SIGKILL
