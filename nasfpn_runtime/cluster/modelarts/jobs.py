"""Staging of a job whose data, weights and results are in object storage."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nasfpn_runtime import interrupts
from nasfpn_runtime.cluster.modelarts import obs
from nasfpn_runtime.cluster.modelarts.unzip import unpack
from nasfpn_runtime.cluster.modelarts.uploads import Uploads
from nasfpn_runtime.errors import TransferError
from nasfpn_runtime.files import locked
from nasfpn_runtime.progress import say, waiting

UPLOADING = 600.0  # seconds that the last upload may take after SIGINT or SIGTERM


@dataclass(frozen=True)
class StagedPaths:
    """Local paths of a job's inputs and of its run folder."""

    data: Path
    out: Path
    init: Path | None


@contextmanager
def staged(
    data: str, out: str, init: str | None = None, *, writer: bool = True, cache: Path
) -> Iterator[StagedPaths]:
    """Copy a job's inputs from object storage to this server, and its run folder back.

    Each of ``data``, ``out`` and ``init`` is a local path, used as it is, or an address
    ``obs://bucket/path``. One process of a server copies while the others wait for it. Nothing
    is copied again if it is complete; a process that is killed leaves nothing that looks
    complete. ``data`` is unpacked if its address ends in ``.zip``.

    The run folder of an earlier job at ``out`` is copied, too, so that training resumes from it.
    If this server has a copy already, that is taken to be the newer one. The run folder is
    uploaded to ``out`` after every checkpoint and at the end of the block, unless the process is
    killed (see ``uploads.Uploads``).

    Args:
        writer: whether this process uploads the run folder. One process of the whole job does.
        cache: folder for the copies, each in a subfolder.

    Raises:
        MissingPackageError: moxing is not installed.
        TransferError: there is no object at an address, or copying failed several times. A run
            folder that could not be uploaded is kept.
        DataError: an archive cannot be unpacked (see ``unzip.unpack``).
    """

    def local(text: str, fetch: Callable[[str, Path], None]) -> Path:
        return _cached(text, cache, fetch) if obs.is_address(text) else Path(text)

    # A list, not a generator: all addresses are checked before anything is copied.
    remote = any([obs.is_address(text) for text in (data, out, init or "")])
    with _cache_lock(cache) if remote else nullcontext():
        paths = StagedPaths(
            local(data, _fetch_archive if data.endswith(".zip") else _fetch_folder),
            local(out, _fetch_run_folder),
            local(init, _fetch_file) if init else None,
        )
    with _uploaded(paths.out, out) if writer and obs.is_address(out) else nullcontext():
        yield paths


@contextmanager
def _cache_lock(cache: Path) -> Iterator[None]:
    """Make sure that only one process of this server is inside the block."""
    cache.mkdir(parents=True, exist_ok=True)
    notice = "waiting for another process of this server, which copies"
    with locked(cache / ".lock", waiting=partial(_report, notice)):
        yield


def _cached(address: str, cache: Path, fetch: Callable[[str, Path], None]) -> Path:
    """Return the local copy of an address, made by ``fetch`` if there is none."""
    address = address.rstrip("/")
    folder = cache / hashlib.sha256(address.encode()).hexdigest()[:12]
    target = folder / address.rsplit("/", 1)[1].removesuffix(".zip")
    if target.exists():
        _report(f"{address} is at {target} already; to copy it again, remove that first")
        return target
    shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
        draft = Path(name) / target.name
        with waiting(f"nasfpn: copying {address}"):
            fetch(address, draft)
        os.replace(draft, target)
    _report(f"{address} copied to {target}")
    return target


def _fetch_file(address: str, target: Path) -> None:
    storage = _storage_with(address)
    obs.attempt(lambda: storage.copy(address, str(target)), f"read {address}")


def _fetch_folder(address: str, target: Path) -> None:
    storage = _storage_with(address)
    target.mkdir()
    obs.attempt(lambda: storage.copy_parallel(address, str(target)), f"read {address}")


def _fetch_archive(address: str, target: Path) -> None:
    archive = target.with_name("archive.zip")
    _fetch_file(address, archive)
    unpack(archive, target)


def _fetch_run_folder(address: str, target: Path) -> None:
    if _exists(address):
        _fetch_folder(address, target)
    else:
        target.mkdir()


def _storage_with(address: str) -> Any:
    """Return the storage, after checking that there is an object at the address."""
    if not _exists(address):
        raise TransferError(f"there is nothing at {address}")
    return obs.storage()


def _exists(address: str) -> bool:
    exists: bool = obs.attempt(partial(obs.storage().exists, address), f"look at {address}")
    return exists


@contextmanager
def _uploaded(folder: Path, address: str) -> Iterator[None]:
    """Upload ``folder`` to ``address`` during the block and at its end."""
    uploads = Uploads(folder, address)
    uploads.start()
    try:
        yield
    except BaseException:
        try:
            with interrupts.allowing(UPLOADING):
                uploads.finish()
        except TransferError as error:  # reported only: the other exception is more important
            _report(str(error))
        raise
    uploads.finish()
    _report(f"{folder} copied to {address}")


def _report(text: str) -> None:
    say(f"nasfpn: {text}")
