"""Text lists, and folders that appear atomically: drafts of killed writers are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasfpn_runtime.data.lists import no_split, read_lines, read_names, usual_split
from nasfpn_runtime.errors import DataError


def test_lines_are_stripped_and_empty_ones_kept(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfcat \r\n\n dog")
    assert read_lines(path) == ["cat", "", "dog"]
    assert read_names(path) == ["cat", "dog"]


@pytest.mark.parametrize("content", [None, b"\xff\xff"])
def test_a_list_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"\(at .*list\.txt\)$"):
        read_lines(path)


def test_usual_names_of_splits() -> None:
    given = ["train2017", "Valid", "validation", "test", "trainable", "default", ""]
    assert [usual_split(name) for name in given] == ["train", "val", "val", "test", "", "", ""]


def test_a_set_of_one_split_is_to_be_split(tmp_path: Path) -> None:
    assert f"found all; divide it: nasfpn data split {tmp_path} -o DIR" in str(
        no_split("train", tmp_path, ["all"])
    )
    assert "divide" not in str(no_split("train", tmp_path, ["all", "val"]))


WRITER = """
import os, sys
from pathlib import Path
from nasfpn_runtime.data.lists import new_folder
with new_folder(Path(sys.argv[1])) as draft:
    (draft / "a.txt").write_text(sys.argv[2])
    print(os.getpid(), flush=True)
    if sys.stdin.readline() == "die\\n":
        os._exit(9)  # the first process of a container ignores its own SIGKILL
"""
CONTAINER = ("unshare", "--user", "--map-root-user", "--pid", "--fork")


@pytest.mark.slow
@pytest.mark.parametrize("around", [(), CONTAINER], ids=["machine", "containers"])
def test_drafts_of_dead_writers_go_and_those_of_the_living_stay(
    tmp_path: Path, around: tuple[str, ...]
) -> None:
    """A process id does not identify a writer: in containers all writers have id 1."""
    if around and subprocess.run([*around, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here; the other case covers the rest")

    def start(text: str) -> subprocess.Popen[str]:
        writer = subprocess.Popen(
            [*around, sys.executable, "-c", WRITER, tmp_path / "out", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert writer.stdout is not None
        number = int(writer.stdout.readline())
        assert number == 1 or not around
        return writer

    def end(writer: subprocess.Popen[str], line: str = "") -> int:
        writer.communicate(line)
        return writer.returncode

    old = tmp_path / ".out.1.partial"  # as an earlier version wrote them, without a lock
    old.mkdir()
    living = start("living")
    (draft,) = tmp_path.iterdir()
    assert draft != old
    for _ in range(2):
        assert end(start("dead"), "die\n") == 9
        assert len(list(tmp_path.iterdir())) == 2
    assert end(start("new")) == 0
    assert sorted(tmp_path.iterdir()) == [draft, tmp_path / "out"]
    assert end(living) != 0  # the folder exists by now
    assert list(tmp_path.rglob("*")) == [tmp_path / "out", tmp_path / "out" / "a.txt"]
    assert (tmp_path / "out" / "a.txt").read_text() == "new"
