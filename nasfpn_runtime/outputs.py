"""Files that commands write: never over an input, nor over what the command did not write itself.

Functions for Python replace files, as libraries do; the rule here is that of the commands.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TextIO

from nasfpn_runtime.errors import OutputError
from nasfpn_runtime.files import atomic_write
from search_space.names import printable

STDOUT = "-"
# Names of open files of this process. What they lead to is written to, even if it is a file.
_DESCRIPTOR = re.compile(r"/dev/std(out|err)|/(?:dev|proc/self)/fd/(\d+)")
_STANDARD = {"out": 1, "err": 2}


class Inputs:
    """The files that a command reads; it never replaces them, whatever name it knows them by.

    Args:
        files: paths of the files; missing ones are ignored.
        folder: a folder of which every file counts as an input.
    """

    def __init__(self, *files: Path, folder: Path | None = None) -> None:
        self._files = list(files)
        self._folder = folder
        self._ids: set[tuple[int, int]] = set()

    def add(self, file: Path) -> None:
        """Add a file that the command reads."""
        self._files.append(file)

    def __contains__(self, path: Path) -> bool:
        """Return whether a path leads to one of the files, also by a hard or symbolic link."""
        if self._folder is not None:
            self._files += (
                Path(at, name) for at, _, names in os.walk(self._folder) for name in names
            )
            self._folder = None
        while self._files:
            self._ids |= _ids(self._files.pop())
        return not self._ids.isdisjoint(_ids(path))


NOTHING = Inputs()


def check_output(path: Path, *, overwrite: bool = False, inputs: Inputs = NOTHING) -> None:
    """Refuse a path to which a command must not write a file.

    Commands call it before they begin, and :func:`output_file` calls it again.

    Args:
        path: where the file will be.
        overwrite: whether the user allows a file to be replaced.
        inputs: files that the command reads.

    Raises:
        OutputError: at ``path`` is an input, a folder, a symbolic link, a device or, without
            ``overwrite``, any file; or no file can be made there.
    """
    if is_stream(path):
        return
    reason = _fault(path, overwrite, inputs)
    if reason:
        raise OutputError(f"cannot write {printable(str(path))}: {reason}")


@contextmanager
def output_file(path: Path, *, overwrite: bool = False, inputs: Inputs = NOTHING) -> Iterator[Path]:
    """Yield a draft with the suffix of ``path`` that becomes ``path`` at the end, atomically.

    Missing folders are made. On errors the draft is removed. Without ``overwrite`` a file that
    another process puts at ``path`` meanwhile stays. What :func:`is_stream` is written to at the
    end, and stays what it is.

    Raises:
        OutputError: see :func:`check_output`.
    """
    check_output(path, overwrite=overwrite, inputs=inputs)
    if is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder, path.name)
            yield draft
            with draft.open("rb") as content, _open_stream(path) as stream:
                shutil.copyfileobj(content, stream)
        return
    missing = [parent for parent in path.parents if not parent.exists()]
    draft = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, overwrite=overwrite) as draft:
            yield draft
            check_output(path, overwrite=overwrite, inputs=inputs)
    except BaseException as error:
        for parent in missing:
            with suppress(OSError):  # it is not empty
                parent.rmdir()
        if isinstance(error, FileExistsError):  # in the moment since the last check
            check_output(path, overwrite=overwrite, inputs=inputs)
        if isinstance(error, OSError) and error.filename in (str(draft), draft):
            raise OutputError(f"cannot write {printable(str(path))}: {error.strerror}") from None
        error.args = tuple(
            part.replace(str(draft), str(path)) if isinstance(part, str) else part
            for part in error.args
        )
        raise


@contextmanager
def output_text(
    target: str, *, overwrite: bool = False, inputs: Inputs = NOTHING
) -> Iterator[TextIO]:
    """Yield a text stream to a new file, to a pipe or device, or to standard output (``-``).

    Raises:
        OutputError: see :func:`check_output`; or standard output is closed.
    """
    path = Path(target)
    if target == STDOUT:
        if sys.stdout is None:
            raise OutputError("cannot write to standard output: it is closed")
        yield sys.stdout
        sys.stdout.flush()
    elif is_stream(path):
        with TextIOWrapper(_open_stream(path), encoding="utf-8") as stream:
            yield stream
    else:
        with (
            output_file(path, overwrite=overwrite, inputs=inputs) as draft,
            draft.open("w", encoding="utf-8") as stream,
        ):
            yield stream


def check_text(target: str, *, overwrite: bool = False, inputs: Inputs = NOTHING) -> None:
    """Refuse a target that :func:`output_text` would refuse.

    Raises:
        OutputError: see :func:`check_output`.
    """
    if target != STDOUT:
        check_output(Path(target), overwrite=overwrite, inputs=inputs)


def check_run_folder(out: Path, marks: Sequence[str], written: Sequence[str]) -> None:
    """Refuse a run folder with files that are not those of an earlier run of the same command.

    Args:
        out: the run folder; it may be missing.
        marks: patterns of files in ``out`` of which every run there leaves one.
        written: files that the command writes into ``out``.

    Raises:
        OutputError: one of ``written`` is there, and none of ``marks``.
    """
    if any(next(out.glob(mark), None) for mark in marks):
        return
    for name in written:
        if os.path.lexists(out / name):
            raise OutputError(
                f"cannot write {out / name}: it exists, and no run of this command wrote it; "
                "choose another --out"
            )


def is_stream(path: Path) -> bool:
    """Return whether a path leads to what is written to rather than replaced.

    These are pipes, terminals and other character devices such as ``/dev/null``, and names of
    open files such as ``/dev/stdout``.
    """
    if _DESCRIPTOR.fullmatch(str(path)):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _open_stream(path: Path) -> IO[bytes]:
    match = _DESCRIPTOR.fullmatch(str(path))
    try:
        if match is None:
            return path.open("wb")
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        return os.fdopen(os.dup(int(match[2] or _STANDARD[match[1]])), "wb")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def _ids(path: Path) -> set[tuple[int, int]]:
    """Return device and inode of a file; nothing if it is missing or a folder."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return set()
    return set() if stat.S_ISDIR(status.st_mode) else {(status.st_dev, status.st_ino)}


def _fault(path: Path, overwrite: bool, inputs: Inputs) -> str:
    """Return why a command must not write a file, and what to do; or an empty string."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        folder = next(folder for folder in path.parents if os.path.lexists(folder))
        if not folder.is_dir():
            return f"{folder} is not a folder"
        return "" if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"
    except OSError as error:
        return str(error.strerror)
    except ValueError as error:
        return str(error)
    if path in inputs:
        return "it is an input of this command; choose another name"
    if path.is_dir():
        return "it is a folder; give the name of a file"
    if stat.S_ISLNK(mode):
        return f"it is a symbolic link to {os.readlink(path)}; choose another name"
    if not stat.S_ISREG(mode):
        return "it is not a regular file; choose another name"
    if not overwrite:
        return "it exists; choose another name, or add --overwrite"
    return ""
