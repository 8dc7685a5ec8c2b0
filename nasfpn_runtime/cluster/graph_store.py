"""Compiled graphs on disk: a folder of checked files, for any number of processes.

A graph is found by its key, which ``graph_key.py`` derives from all that it depends on. Each is one
file, written as a draft and renamed, so a reader sees all of it or nothing. The file begins with
the SHA-256 of the rest, and is read and checked as a whole before any of it is used: a file that is
damaged or removed at any moment costs one compilation.

The commands import this module when they start, so it imports nothing large.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import time
import zlib
from pathlib import Path

VARIABLE = "NASFPN_CACHE"  # a folder, or OFF
OFF = "off"
MOST_BYTES = 1_000_000_000  # of all graphs together; one has about 100 kB
STALE = 24 * 3600.0  # seconds after which a draft or working folder belongs to no living process
_SUFFIX, _WORK = ".graph", "work-"
# Names of a graph, and of what a killed process leaves. Other files in the folder are not ours.
_GRAPH = re.compile(r"[0-9a-f]{64}\.graph")
_LEFT_OVER = re.compile(r"work-[0-9a-f]{16}|\.[0-9a-f]{64}\.[0-9a-f]{8}\.partial\.graph")
_DIGEST = hashlib.sha256().digest_size


def default_folder() -> str:
    """Return the folder for graphs in the user's cache (XDG), or ``OFF`` if there is none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the specification says to ignore relative paths
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "nasfpn", "compiled") if os.path.isabs(base) else OFF


def open_store() -> GraphStore | None:
    """Return the store that ``NASFPN_CACHE`` names.

    Returns:
        None if the variable is not set, empty or ``off``, or if the folder cannot be written.
    """
    place = os.environ.get(VARIABLE, "").strip()
    if place.lower() in ("", OFF):
        return None
    store = GraphStore(Path(place).absolute())
    return store if store.make_folder() else None


class GraphStore:
    """A folder of compiled graphs. No method raises an ``OSError``.

    Keys are 64 hexadecimal digits. Other files in the folder are left as they are.

    Args:
        folder: absolute path; created on demand.
        most: bytes of all files together. Beyond it, those used least recently are removed.
    """

    def __init__(self, folder: Path, most: int = MOST_BYTES) -> None:
        self.folder, self.most = folder, most

    def make_folder(self) -> bool:
        """Create the folder; return whether files can be written in it."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.access(self.folder, os.R_OK | os.W_OK | os.X_OK)
        return False

    def load(self, key: str) -> bytes | None:
        """Return the graph with this key, whole and undamaged, and count it as used.

        Returns:
            None if there is none. A damaged file is removed.
        """
        file = self._file(key)
        try:
            content = file.read_bytes()
        except OSError:
            return None
        digest, packed = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(packed).digest() != digest:
            self.discard(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(file)
        return zlib.decompress(packed)

    def save(self, key: str, graph: bytes) -> None:
        """Keep a graph under a key, and remove others if all of them are too large."""
        from nasfpn_runtime.files import atomic_write  # loads more than the commands need to start

        packed = zlib.compress(graph, 1)
        with contextlib.suppress(OSError), atomic_write(self._file(key)) as draft:
            draft.write_bytes(hashlib.sha256(packed).digest() + packed)
        self._prune()

    def discard(self, key: str) -> None:
        """Remove the graph with this key, if there is one."""
        with contextlib.suppress(OSError):
            self._file(key).unlink(missing_ok=True)

    def new_working_folder(self) -> Path:
        """Return the path of a folder for one process, which does not exist yet.

        The process removes it after each use. If it is killed before, :meth:`save` of another
        process does so when a day has passed.
        """
        return self.folder / f"{_WORK}{secrets.token_hex(8)}"

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _prune(self) -> None:
        """Remove what killed processes left, and the graphs used least recently if too large."""
        now, total = time.time(), 0
        found: list[tuple[float, int, Path]] = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # removed by another process meanwhile
                    about = entry.stat(follow_symlinks=False)
                    if _GRAPH.fullmatch(entry.name):
                        found.append((about.st_mtime, about.st_size, Path(entry.path)))
                    elif now - about.st_mtime > STALE and _LEFT_OVER.fullmatch(entry.name):
                        _remove(Path(entry.path))
        for _, size, file in sorted(found, reverse=True):  # the latest first
            total += size
            if total > self.most:
                _remove(file)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
