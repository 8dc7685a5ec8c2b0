"""Which files a command may write, and what happens to a file that it may not."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nasfpn_runtime.errors import OutputError
from nasfpn_runtime.outputs import (
    Inputs,
    check_output,
    check_run_folder,
    is_stream,
    output_file,
    output_text,
)


def write(
    path: Path,
    *,
    overwrite: bool = False,
    inputs: Inputs | None = None,
    during: Callable[[Path], object] = lambda draft: None,
) -> None:
    """Write a file, and call a function with the draft before the end."""
    with output_file(path, overwrite=overwrite, inputs=inputs or Inputs()) as draft:
        draft.write_text("new")
        during(draft)


def test_a_new_file_and_its_folders_appear_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.svg"
    with output_file(path) as draft:
        assert draft.suffix == ".svg"
        draft.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["c.svg"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_leaves_neither_draft_nor_folder(overwrite: bool, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.svg"
    with pytest.raises(ZeroDivisionError):
        write(path, overwrite=overwrite, during=lambda _: 1 / 0)
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"a\.txt.*--overwrite"):
        write(path)
    assert path.read_text() == "old"
    write(path, overwrite=True)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["input", "hard", "soft", "soft of hard", "folder/input"])
def test_an_input_is_never_replaced_whatever_its_name(name: str, tmp_path: Path) -> None:
    source = tmp_path / "input"
    source.write_text("input")
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "soft").symlink_to("input")
    (tmp_path / "soft of hard").symlink_to("hard")
    (tmp_path / "folder").symlink_to(tmp_path)
    for inputs in (Inputs(source), Inputs(tmp_path / "soft"), Inputs(folder=tmp_path)):
        with pytest.raises(OutputError, match=f"{name}.*input"):
            write(tmp_path / name, overwrite=True, inputs=inputs)
    assert source.read_text() == "input"
    assert (tmp_path / "soft").is_symlink()
    late = Inputs()
    with pytest.raises(OutputError, match=f"{name}.*input|{name}.*symbolic link"):
        # As a list of files on standard input names it.
        write(tmp_path / name, overwrite=True, inputs=late, during=lambda _: late.add(source))
    assert source.read_text() == "input"
    assert source.stat().st_nlink == 2


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_regular_file_stays(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "file").write_text("old")
    before = sorted(tmp_path.iterdir())
    for name, reason in (
        ("folder", "a folder"),
        ("link", "symbolic link to elsewhere"),
        ("file/a", "file is not a folder"),
        ("file/a/b", "file is not a folder"),
        ("x" * 300, "too long"),
        ("nul\0", r"nul\\x00: "),
        (".", "a folder"),
    ):
        with pytest.raises(OutputError, match=reason):
            write(tmp_path / name, overwrite=overwrite)
    assert sorted(tmp_path.iterdir()) == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_block_device_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    try:
        os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(7, 200))
    except PermissionError:
        pytest.skip("making a device needs root")
    with pytest.raises(OutputError, match="not a regular file"):
        check_output(disk, overwrite=True)
    assert stat.S_ISBLK(disk.stat().st_mode)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match=f"permission.*{tmp_path}"):
        check_output(tmp_path / "a")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("moment", ["in the block", "at the end"])
def test_a_file_that_appears_meanwhile_stays(
    links: bool, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last check is passed, and another process puts a file there before the rename."""
    path, link = tmp_path / "a.txt", os.link

    def late_link(*args: str) -> None:
        if moment == "at the end":
            path.write_text("of another")
        if not links:
            raise OSError(95, "Operation not supported")
        link(*args)

    monkeypatch.setattr(os, "link", late_link)

    def in_the_block(draft: Path) -> None:
        if moment == "in the block":
            path.write_text("of another")

    with pytest.raises(OutputError, match=r"a\.txt.*exists"):
        write(path, during=in_the_block)
    assert path.read_text() == "of another"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_system_without_links_gets_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "new"
    with pytest.raises(OutputError, match=r"b\.txt: No such file"):
        write(tmp_path / "b.txt", during=Path.unlink)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_errors_name_the_file_and_not_its_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError, match=rf"^cannot write {path}: No such file"):
        write(path, during=lambda draft: (draft.unlink(), draft.read_text()))

    def fail(draft: Path) -> None:
        raise ValueError(f"{draft} is bad")

    with pytest.raises(ValueError, match=rf"^{path} is bad$"):
        write(path, during=fail)


def test_names_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in (f"{'x' * 251}.svg", "é" * 127, f"a.{'s' * 253}"):
        write(tmp_path / name)
        assert (tmp_path / name).read_text() == "new"


def test_a_pipe_gets_the_content_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.svg"
    os.mkfifo(pipe)
    received: list[str] = []
    for function in (lambda: write(pipe), lambda: write_text(str(pipe))):
        reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
        reader.start()
        function()
        reader.join()
    assert received == ["new", "text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe.svg"]


def write_text(target: str) -> None:
    with output_text(target) as stream:
        stream.write("text")


def test_devices_are_written_to(tmp_path: Path) -> None:
    write_text("/dev/null")
    write(Path("/dev/null"))
    (tmp_path / "null").symlink_to("/dev/null")
    write_text(str(tmp_path / "null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not list(Path("/dev").glob(".null*"))


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"])
def test_standard_output_is_written_to_even_if_it_is_a_file(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert name == "-" or is_stream(Path(name))
    print("before")
    write_text(name)
    print("after")
    assert capfd.readouterr().out == "before\ntextafter\n"


def test_a_closed_output_is_an_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match=r"/dev/fd/987\b"):
        write_text("/dev/fd/987")
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OutputError, match="standard output"):
        write_text("-")


def test_a_run_folder_with_files_of_something_else_is_refused(tmp_path: Path) -> None:
    marks, written = ("search/study.lock", "*/scores.json"), ("table.md", "figure.svg")
    check_run_folder(tmp_path / "new", marks, written)
    (tmp_path / "notes.txt").write_text("mine")
    check_run_folder(tmp_path, marks, written)
    (tmp_path / "table.md").symlink_to("nowhere")
    with pytest.raises(OutputError, match=r"table\.md"):
        check_run_folder(tmp_path, marks, written)
    (tmp_path / "table.md").unlink()
    (tmp_path / "table.md").write_text("mine")
    with pytest.raises(OutputError, match=r"table\.md"):
        check_run_folder(tmp_path, marks, written)
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0" / "scores.json").write_text("{}")
    check_run_folder(tmp_path, marks, written)
