"""Atomic file writes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST_STEM, _MOST_SUFFIX = 150, 16  # bytes of a draft's name; file systems allow 255 in all

_drafts: list[Path] = []
_watch: Callable[[Iterable[Path]], None] | None = None


def watch_drafts(watch: Callable[[Iterable[Path]], None]) -> None:
    """Let a function know of all drafts whenever one is begun or ended."""
    global _watch
    _watch = watch


@contextmanager
def listed(draft: Path) -> Iterator[None]:
    """List a file or folder as a draft: it is removed if the process is killed in the block."""
    _drafts.append(draft)
    if _watch is not None:
        _watch(_drafts)
    try:
        yield
    finally:
        _drafts.remove(draft)
        if _watch is not None:
            _watch(_drafts)


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield the path of a draft beside ``path``; the draft becomes ``path`` when the block ends.

    The draft has the suffix of ``path``, because many libraries choose a format by it. If the
    block raises, the draft is removed and the file at ``path`` stays as it was.

    Args:
        overwrite: whether the draft replaces a file that is at ``path``.

    Raises:
        FileExistsError: without ``overwrite``, there is a file at ``path`` when the block ends.
    """
    draft = path.with_name(_draft_name(path))
    with listed(draft):
        try:
            yield draft
            if overwrite:
                os.replace(draft, path)
            else:
                _move_to_free(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def _draft_name(path: Path) -> str:
    stem = os.fsdecode(os.fsencode(path.stem)[:_MOST_STEM])
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _MOST_SUFFIX else ""
    return f".{stem}.{secrets.token_hex(4)}.partial{suffix}"


def _move_to_free(draft: Path, path: Path) -> None:
    """Rename a file, unless there is one at ``path``, which the system's rename would replace."""
    try:
        os.link(draft, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # a file system without links
        draft.stat()  # raises if nothing was written
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # reserves the name
        os.replace(draft, path)
