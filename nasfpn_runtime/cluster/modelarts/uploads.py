"""Bring a run folder to object storage while its run goes on."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from tqdm import tqdm

from nasfpn_runtime.cluster.modelarts import obs
from nasfpn_runtime.errors import TransferError
from nasfpn_runtime.files import link_or_copy

PERIOD = 5.0  # seconds between two looks for a new checkpoint
CHECKPOINTS = "checkpoints"  # folder of a run whose files are replaced, never written into

_DRAFT = ".upload-"

Signature = tuple[int, int, int]  # size, time in ns, inode


class Uploads(threading.Thread):
    """Copies what is new in ``folder`` to ``address`` whenever there is a new checkpoint.

    What object storage holds is always a run that can go on: the log of a checkpoint is
    there before the checkpoint, and an object is the old or the new one, never half of it.
    Files that go away here go away there. An upload that fails is told and tried again with
    the next checkpoint; training does not wait for any.
    """

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(name="uploads", daemon=True)
        self._folder, self._address = folder, address.rstrip("/")
        self._storage = obs.storage()
        self._there: dict[str, Signature] = {}
        self._finished = threading.Event()
        for left in folder.parent.glob(f"{_DRAFT}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def run(self) -> None:
        """Look for new checkpoints until :meth:`finish`."""
        while not self._finished.wait(PERIOD):
            try:
                found = {name: _signature(path) for name, path in _files(self._folder, True)}
                if not found.items() <= self._there.items():
                    self._upload(self._finished.wait)
            except OSError as error:
                tqdm.write(f"nasfpn: {error}; tried again later", file=sys.stderr)

    def finish(self) -> None:
        """Stop looking, and bring what is new since the last upload.

        Raises:
            TransferError: it cannot be brought there.
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
            here = self._snapshot(draft)
            # Checkpoints last: their log is there before them.
            for name in sorted(here, key=lambda name: (_is_checkpoint(name), name)):
                if (draft / name).exists():
                    self._copy(draft / name, name, pause)
                    self._there[name] = here[name]
        for name in self._there.keys() - here.keys():
            target = f"{self._address}/{name}"
            obs.attempt(partial(self._storage.remove, target), f"remove {target}", pause)
            del self._there[name]

    def _snapshot(self, draft: Path) -> dict[str, Signature]:
        """Put what is new into ``draft``; return the signatures of all files.

        Checkpoints first, so that the log, which is written before them, reaches at least as
        far; linked where that can be, because they are large and nobody writes into them.
        """
        here = {}
        for wanted in (True, False):
            for name, path in _files(self._folder, wanted):
                with suppress(FileNotFoundError):  # it was replaced meanwhile
                    here[name] = _signature(path)
                    if self._there.get(name) != here[name]:
                        (draft / name).parent.mkdir(parents=True, exist_ok=True)
                        (link_or_copy if wanted else shutil.copyfile)(path, draft / name)
        return here

    def _copy(self, file: Path, name: str, pause: obs.Pause) -> None:
        target = f"{self._address}/{name}"
        obs.attempt(partial(self._storage.copy, str(file), target), f"write {target}", pause)


def _files(folder: Path, checkpoints: bool) -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of a run's checkpoints or other files, but for hidden drafts."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if not hidden and path.is_file() and _is_checkpoint(str(name)) == checkpoints:
            yield name.as_posix(), path


def _is_checkpoint(name: str) -> bool:
    return name.startswith(f"{CHECKPOINTS}/")


def _signature(path: Path) -> Signature:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
