"""Run a job whose data, weights and results are in object storage."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nasfpn_runtime.cluster.modelarts import obs
from nasfpn_runtime.cluster.modelarts.unzip import unpack
from nasfpn_runtime.cluster.modelarts.uploads import Uploads
from nasfpn_runtime.errors import TransferError
from nasfpn_runtime.files import locked


@dataclass(frozen=True)
class Local:
    """Where a job's inputs are on this server's disk, and its run folder."""

    data: Path
    out: Path
    init: Path | None


@contextmanager
def job(
    data: str, out: str, init: str | None = None, *, writer: bool = True, cache: Path
) -> Iterator[Local]:
    """Bring a job's inputs to this server, and its run folder back.

    Each of the three is a local path, taken as it is, or an address ``obs://bucket/path``.
    One process of a server copies and the others wait for it; what is there already is not
    copied again, and a process that is killed leaves nothing that looks complete. ``data``
    that ends in ``.zip`` is unpacked. The run folder of an earlier job at ``out`` is copied
    too, so that training goes on from it, unless this server has one already, which is
    taken for the newer. It returns to ``out`` after every checkpoint and at the end,
    whatever ends the job but a kill (see ``uploads.Uploads``).

    Args:
        writer: this process returns the run folder; one of the whole job's does.
        cache: folder of the copies, each in a folder of its own.

    Raises:
        TransferError: there is no moxing or no such object, or copying failed several
            times; a run folder that could not be returned is kept.
        DataError: an archive cannot be unpacked (see ``unzip.unpack``).
    """

    def local(text: str, fetch: Callable[[str, Path], None]) -> Path:
        return _fetched(text, cache, fetch) if obs.is_address(text) else Path(text)

    # A list, so that a wrong address is told before anything is copied.
    remote = any([obs.is_address(text) for text in (data, out, init or "")])
    with _alone(cache) if remote else nullcontext():
        here = Local(
            local(data, _archive if data.endswith(".zip") else _folder),
            local(out, _run_folder),
            local(init, _file) if init else None,
        )
    with _returned(here.out, out) if writer and obs.is_address(out) else nullcontext():
        yield here


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Wait until no other process of this server is in here."""
    cache.mkdir(parents=True, exist_ok=True)
    waiting = "waiting for another process of this server, which copies"
    with locked(cache / ".lock", waiting=partial(_say, waiting)):
        yield


def _fetched(address: str, cache: Path, fetch: Callable[[str, Path], None]) -> Path:
    """Return the local copy of an address, made by ``fetch`` where there is none."""
    address = address.rstrip("/")
    folder = cache / hashlib.sha256(address.encode()).hexdigest()[:12]
    target = folder / address.rsplit("/", 1)[1].removesuffix(".zip")
    if target.exists():
        _say(f"{address} is at {target} already")
        return target
    shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
    folder.mkdir()
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
        draft = Path(name) / target.name
        fetch(address, draft)
        os.replace(draft, target)
    _say(f"{address} copied to {target}")
    return target


def _file(address: str, target: Path) -> None:
    storage = _holding(address)
    obs.attempt(lambda: storage.copy(address, str(target)), f"read {address}")


def _folder(address: str, target: Path) -> None:
    storage = _holding(address)
    target.mkdir()
    obs.attempt(lambda: storage.copy_parallel(address, str(target)), f"read {address}")


def _holding(address: str) -> Any:
    """Return the storage if it has something at the address."""
    if not _is_there(address):
        raise TransferError(f"there is nothing at {address}")
    return obs.storage()


def _is_there(address: str) -> bool:
    there: bool = obs.attempt(partial(obs.storage().exists, address), f"look at {address}")
    return there


def _archive(address: str, target: Path) -> None:
    archive = target.with_name("archive.zip")
    _file(address, archive)
    unpack(archive, target)


def _run_folder(address: str, target: Path) -> None:
    if _is_there(address):
        _folder(address, target)
    else:
        target.mkdir()


@contextmanager
def _returned(folder: Path, address: str) -> Iterator[None]:
    """Bring ``folder`` to ``address`` during what is inside and at its end."""
    uploads = Uploads(folder, address)
    uploads.start()
    try:
        yield
    except BaseException:
        try:
            uploads.finish()
        except TransferError as error:  # said, but not instead of what ended the run
            _say(str(error))
        raise
    uploads.finish()
    _say(f"{folder} copied to {address}")


def _say(text: str) -> None:
    tqdm.write(f"nasfpn: {text}", file=sys.stderr)
