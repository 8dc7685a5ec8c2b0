"""A stand-in for ModelArts' moxing, copied by ``obs_folder.Cloud``: object storage is a folder.

Every call is logged in ``calls``. While the number in ``failures`` is above 0, calls fail and
count it down.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import time
import uuid
from types import SimpleNamespace

HOME = pathlib.Path(__file__).parents[2]


def local(path: str) -> pathlib.Path:
    _, mark, rest = path.partition("://")
    return HOME / "bucket" / rest if mark else pathlib.Path(path)


def call(name: str, *paths: str) -> None:
    with (HOME / "calls").open("a") as log:
        log.write(" ".join([name, *paths]) + "\n")
    failures = HOME / "failures"
    if failures.exists() and (left := int(failures.read_text())):
        failures.write_text(str(left - 1))
        raise OSError("503 Service Unavailable\nRequestId: 0")


def put(source: pathlib.Path, target: str) -> None:
    local(target).parent.mkdir(parents=True, exist_ok=True)
    if "://" not in target:
        shutil.copyfile(source, local(target))
        return
    # An object appears, or replaces another one, at once. A local file grows.
    draft = HOME / f"draft-{uuid.uuid4()}"
    shutil.copyfile(source, draft)
    os.replace(draft, local(target))


def copy(source: str, target: str) -> None:
    call("copy", source, target)
    put(local(source), target)


def copy_parallel(source: str, target: str) -> None:
    call("copy_parallel", source, target)
    for path in sorted(local(source).rglob("*")):
        if path.is_file():
            put(path, f"{target}/{path.relative_to(local(source))}")
            time.sleep(float(os.environ.get("SECONDS_A_FILE", 0)))


def exists(path: str) -> bool:
    call("exists", path)
    return local(path).exists()


def remove(path: str) -> None:
    call("remove", path)
    local(path).unlink()


file = SimpleNamespace(copy=copy, copy_parallel=copy_parallel, exists=exists, remove=remove)
