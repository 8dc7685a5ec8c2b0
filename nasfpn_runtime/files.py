"""Links, digests and locks of files; atomic writes of ``search_space.files``."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from search_space.files import atomic_write as atomic_write

_HELD = (errno.EAGAIN, errno.EACCES)  # POSIX allows either when another process holds the lock


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target``, which must not exist, a hard link to ``source``.

    Use it only for files that are never modified in place. Where the file system cannot link,
    ``target`` is a copy, written atomically.
    """
    try:
        os.link(source, target)
    except OSError:
        with atomic_write(target) as draft:
            shutil.copy2(source, draft)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    content = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            content.update(part)
    return content.hexdigest()


@contextmanager
def locked(file: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on ``file`` for the length of the block.

    The lock belongs to this process and ends with it, even if the process is killed. Unlike a
    ``flock``, it is not inherited by forked children, which may outlive the process; but it does
    not exclude other threads of the process, which is why ``controllers/study.py`` uses ``flock``.
    The file is not removed. On a file system without locks nothing is locked.

    Args:
        file: the lock file, created if missing; its folder must exist.
        waiting: called before waiting for another process that holds the lock. None means do
            not wait.

    Raises:
        BlockingIOError: another process holds the lock, and ``waiting`` is None.
    """
    with file.open("a", encoding="utf-8") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                if waiting is None:
                    raise BlockingIOError(f"another process holds {file}") from None
                waiting()
                fcntl.lockf(stream, fcntl.LOCK_EX)
        yield
