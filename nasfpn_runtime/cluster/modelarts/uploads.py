"""Upload of a run folder to object storage during the run."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from nasfpn_runtime.cluster.modelarts import obs
from nasfpn_runtime.errors import TransferError
from nasfpn_runtime.files import link_or_copy
from nasfpn_runtime.progress import say

PERIOD = 5.0  # seconds between two checks for a new checkpoint
CHECKPOINTS = "checkpoints"  # folder of a run; its files are replaced, never modified in place

_DRAFT = ".upload-"

Signature = tuple[int, int, int]  # size, modification time in ns, inode


class Uploads(threading.Thread):
    """A thread that uploads what is new in ``folder`` to ``address`` after each new checkpoint.

    Object storage always holds a run that can be resumed: the log lines of a checkpoint are
    uploaded before the checkpoint, and each object is either the old or the new one, never part
    of it. Files that are deleted here are deleted there. An upload that fails is reported and
    repeated later. Training never waits for an upload.
    """

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(name="uploads", daemon=True)
        self._folder, self._address = folder, address.rstrip("/")
        self._storage = obs.storage()
        self._uploaded: dict[str, Signature] = {}
        self._finished = threading.Event()
        for draft in folder.parent.glob(f"{_DRAFT}*"):  # left by a process that was killed
            shutil.rmtree(draft, ignore_errors=True)

    def run(self) -> None:
        """Check for new checkpoints until :meth:`finish` is called."""
        while not self._finished.wait(PERIOD):
            try:
                checkpoints = _files(self._folder, checkpoints=True)
                present = {name: file_signature(path) for name, path in checkpoints}
                if not present.items() <= self._uploaded.items():
                    self._upload(self._finished.wait)
            except OSError as error:
                say(f"nasfpn: {error}; the upload will be repeated")

    def finish(self) -> None:
        """End the thread, and upload what is new since the last upload.

        Raises:
            TransferError: the upload failed.
        """
        self._finished.set()
        self.join()
        try:
            self._upload(time.sleep)
        except OSError as error:
            raise TransferError(f"{error}; the run is kept at {self._folder}") from None

    def _upload(self, pause: obs.Pause) -> None:
        with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=self._folder.parent) as name:
            draft = Path(name)
            present = self._snapshot(draft)
            # Checkpoints last, so that their log lines are there before them.
            for name in sorted(present, key=lambda name: (_is_checkpoint(name), name)):
                if (draft / name).exists():
                    self._copy(draft / name, name, pause)
                    self._uploaded[name] = present[name]
        for name in self._uploaded.keys() - present.keys():
            target = f"{self._address}/{name}"
            obs.attempt(partial(self._storage.remove, target), f"remove {target}", pause)
            del self._uploaded[name]

    def _snapshot(self, draft: Path) -> dict[str, Signature]:
        """Copy all new files to ``draft`` and return the signatures of all files.

        Checkpoints are copied first. The log is written before a checkpoint, so the copy of the
        log then reaches at least as far as the copied checkpoints. Checkpoints are linked if
        possible, because they are large and never modified in place.
        """
        present = {}
        for checkpoints in (True, False):
            for name, path in _files(self._folder, checkpoints=checkpoints):
                with suppress(FileNotFoundError):  # replaced in the meantime
                    present[name] = file_signature(path)
                    if self._uploaded.get(name) != present[name]:
                        (draft / name).parent.mkdir(parents=True, exist_ok=True)
                        (link_or_copy if checkpoints else shutil.copyfile)(path, draft / name)
        return present

    def _copy(self, file: Path, name: str, pause: obs.Pause) -> None:
        target = f"{self._address}/{name}"
        obs.attempt(partial(self._storage.copy, str(file), target), f"write {target}", pause)


def file_signature(path: Path) -> Signature:
    """Return a value that changes when the file is replaced or modified."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _files(folder: Path, *, checkpoints: bool) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of a run's checkpoints, or of its other files, without hidden drafts."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and path.is_file() and _is_checkpoint(str(name)) == checkpoints:
            yield name.as_posix(), path


def _is_checkpoint(name: str) -> bool:
    return name.startswith(f"{CHECKPOINTS}/")
