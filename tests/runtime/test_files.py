"""Files that appear whole, and locks between processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from nasfpn_runtime.files import link_or_copy, locked, whole

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
    """Yield a process that holds the lock and has forked another one; both are killed."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail() -> None:
        with whole(path) as draft:
            draft.write_text("half")
            assert path.read_text() == "old"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    with whole(path) as draft:
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


def test_half_a_copy_is_none(
    tmp_path: Path, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    with full_disk(), pytest.raises(OSError, match="too large"):
        link_or_copy(Path("/proc/version"), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_one_process_s_and_ends_with_it_though_its_children_live(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with holder(file) as process:
        with pytest.raises(BlockingIOError, match="another process holds"), locked(file):
            pass
        process.kill()
        process.wait()
        os.killpg(process.pid, 0)  # the child lives
        with locked(file):
            pass


def test_who_waits_is_told_and_gets_the_lock(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    with (
        holder(file) as process,
        locked(file, waiting=lambda: os.killpg(process.pid, signal.SIGKILL)),
    ):
        assert process.wait() == -signal.SIGKILL
