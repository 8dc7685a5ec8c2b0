"""Staging: what is copied, by which process of a server, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from nasfpn_runtime.cluster.modelarts.jobs import staged
from obs_folder import Cloud, save, tree, uploaded_epoch

PRINT_DATA = """
import json
with staged("obs://data/zip/Pictures.zip", "run", cache=CACHE) as local:
    files = [p for p in sorted(local.data.rglob("*")) if p.is_file()]
    print(json.dumps({str(p.relative_to(local.data)): p.read_text() for p in files}))
"""
PRINT_FOLDER = PRINT_DATA.replace("zip/Pictures.zip", "train2017")

# Prints a line when the members before have been unpacked.
SLOW_UNZIP = """
import time, zipfile
real = zipfile.ZipFile.open
def slow(archive, *arguments):
    print("member", flush=True)
    time.sleep(0.3)
    return real(archive, *arguments)
zipfile.ZipFile.open = slow
"""

# Forks while it copies, that is, while it holds the lock.
FORK = """
import os, time, moxing
def fork(*paths):
    if child := os.fork():
        print(child, flush=True)
    time.sleep(100)
moxing.file.copy_parallel = fork
with staged("obs://data/train2017", "run", cache=CACHE):
    pass
"""


def zipped(cloud: Cloud) -> dict[str, str]:
    """Put an archive into the storage, with a folder of its own name, as the model zoo's has."""
    files = {f"train2017/{number}.jpg": f"picture {number}" for number in range(6)}
    archive = cloud.bucket / "data" / "zip" / "Pictures.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as target:
        for name, text in files.items():
            target.writestr(f"Pictures/{name}", text)
    return files


def test_local_paths_need_no_moxing_and_no_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with staged("data", "runs/x", writer=True, cache=cache) as local:
        assert (local.data, local.out, local.init) == (Path("data"), Path("runs/x"), None)
    assert not cache.exists()


def test_inputs_are_copied_once(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.write("weights/a.ckpt", "weights")
    data, init = "s3://data/train2017", "obs://weights/a.ckpt"
    for _ in range(2):
        with staged(data, "run", init, cache=cloud.cache) as local:
            assert tree(local.data) == tree(cloud.bucket / "data" / "train2017")
            assert local.init is not None
            assert local.init.name == "a.ckpt"
            assert local.init.read_text() == "weights"
    assert len(cloud.calls("copy_parallel")) == len(cloud.calls("copy")) == 1
    error = capsys.readouterr().err
    assert error.count(f"copying {data}") == 1  # reported before it starts
    assert "\r" not in error


def test_two_addresses_with_the_same_name_are_two_folders(cloud: Cloud) -> None:
    cloud.write("a/data/1", "one")
    cloud.write("b/data/1", "two")
    texts = []
    for address in ("obs://a/data/", "obs://b/data/"):
        with staged(address, "run", cache=cloud.cache) as local:
            texts.append((local.data / "1").read_text())
    assert texts == ["one", "two"]


@pytest.mark.slow
def test_processes_of_a_server_wait_for_the_one_that_copies(cloud: Cloud) -> None:
    processes = [cloud.start(PRINT_FOLDER, SECONDS_A_FILE="0.1") for _ in range(4)]
    for process in processes:
        output, error = process.communicate(timeout=60)
        assert json.loads(output) == tree(cloud.bucket / "data" / "train2017"), error
    assert len(cloud.calls("copy_parallel")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 4])
def test_a_killed_unzip_leaves_nothing_that_looks_complete(cloud: Cloud, members: int) -> None:
    files = zipped(cloud)
    process = cloud.start(SLOW_UNZIP + PRINT_DATA)
    assert process.stdout is not None
    for _ in range(members + 1):
        assert process.stdout.readline() == "member\n"
    waiting = [cloud.start(PRINT_DATA) for _ in range(2)]
    process.kill()
    process.communicate()
    for other in waiting:
        output, error = other.communicate(timeout=60)
        assert json.loads(output) == files, error
    assert len(cloud.calls("copy")) == 2  # by the killed process and by one of the waiting ones
    assert list(cloud.cache.rglob(".partial-*")) == []


def test_the_lock_ends_with_its_process_even_if_its_children_live(cloud: Cloud) -> None:
    holder = cloud.start(FORK)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        other = cloud.start(PRINT_FOLDER)
        with pytest.raises(subprocess.TimeoutExpired):  # the lock is held
            other.communicate(timeout=1)
        holder.kill()
        output, _ = other.communicate(timeout=60)
        assert len(json.loads(output)) == 5
    finally:
        os.kill(child, signal.SIGKILL)
        holder.communicate()


def test_only_the_writer_uploads_the_run(cloud: Cloud) -> None:
    with staged("data", "obs://runs/a", writer=False, cache=cloud.cache) as local:
        save(local.out, 1)
        time.sleep(0.1)
    assert not (cloud.bucket / "runs").exists()


def test_another_server_resumes_from_what_was_uploaded(cloud: Cloud) -> None:
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        save(local.out, 1)
    with staged("data", "obs://runs/a/", cache=cloud.home / "other") as local:
        assert tree(local.out) == {"metrics.jsonl": "1\n", "checkpoints/last.ckpt": "1"}
        save(local.out, 2)
    assert uploaded_epoch(cloud.bucket) == 2


def test_a_run_on_this_server_is_the_newer_one(cloud: Cloud) -> None:
    with staged("data", "obs://runs/a", writer=False, cache=cloud.cache) as local:
        save(local.out, 1)
    with staged("data", "obs://runs/a", cache=cloud.cache) as local:
        assert uploaded_epoch(cloud.bucket) == 0
    assert uploaded_epoch(cloud.bucket) == 1


RUN = """
import signal, time
from nasfpn_runtime.cluster.modelarts import obs, uploads
uploads.PERIOD = 0.02
obs.PAUSES = ()
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the nasfpn command does
with staged("data", "obs://runs/a", cache=CACHE) as local:
    (local.out / "checkpoints").mkdir()
    (local.out / "checkpoints" / "last.ckpt").write_text("1")
    while not Path({bucket!r}, "runs", "a", "checkpoints", "last.ckpt").exists():
        time.sleep(0.02)
    (local.out / "late.txt").write_text("late")
    print("ready", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize(
    ("number", "files"),
    [
        (signal.SIGTERM, {"checkpoints/last.ckpt": "1", "late.txt": "late"}),
        (signal.SIGKILL, {"checkpoints/last.ckpt": "1"}),
    ],
)
def test_a_run_that_is_ended_from_outside(
    cloud: Cloud, number: signal.Signals, files: dict[str, str]
) -> None:
    process = cloud.start(RUN.format(bucket=str(cloud.bucket)))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert tree(cloud.bucket / "runs" / "a") == files
