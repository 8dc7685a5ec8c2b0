"""Files that appear whole or not at all, and places that one process at a time works in."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_HELD = (errno.EAGAIN, errno.EACCES)  # POSIX lets a system say either


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a place beside ``path`` for a file that becomes it at the end.

    On errors it is removed, and what was at ``path`` stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target``, which is not there, a link to a file that is never written to again.

    Where the file system has no links it is a copy, which appears whole or not at all.
    """
    try:
        os.link(source, target)
    except OSError:
        with whole(target) as draft:
            shutil.copy2(source, draft)


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock that no other process holds meanwhile.

    It is the process's, not the file's: it ends with the process, however that ends, and
    unlike flock's is not held on by processes that it forked. The file stays. A file system
    without locks has none here either.

    Args:
        file: made where it is not there, in a folder that is.
        waiting: called before waiting for another process; None does not wait.

    Raises:
        BlockingIOError: another process holds it, and ``waiting`` is None.
    """
    with file.open("a") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                if waiting is None:
                    raise BlockingIOError(f"another process holds {file}") from None
                waiting()
                fcntl.lockf(stream, fcntl.LOCK_EX)
        yield
