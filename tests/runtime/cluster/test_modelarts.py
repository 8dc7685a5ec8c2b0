"""Jobs on ModelArts: copies, archives, one process of a server, kills. OBS is a folder."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from locations import ROOT
from nasfpn_runtime.cluster.modelarts import obs, uploads
from nasfpn_runtime.cluster.modelarts.jobs import job
from nasfpn_runtime.cluster.modelarts.nodes import Node, this_node
from nasfpn_runtime.cluster.modelarts.unzip import unpack
from nasfpn_runtime.errors import DataError, DeviceError, TransferError

# What ModelArts' moxing does, on a folder; the log has a line per call.
MOXING = """
import os, pathlib, shutil, time, uuid
from types import SimpleNamespace

HOME = pathlib.Path(__file__).parents[2]

def here(path):
    scheme, mark, rest = path.partition("://")
    return HOME / "bucket" / rest if mark else pathlib.Path(path)

def call(name, *paths):
    with (HOME / "calls").open("a") as log:
        log.write(" ".join([name, *paths]) + "\\n")
    failures = HOME / "failures"
    if failures.exists() and (left := int(failures.read_text())):
        failures.write_text(str(left - 1))
        raise OSError("503 Service Unavailable\\nRequestId: 0")

def put(src, dst):
    target = here(dst)
    target.parent.mkdir(parents=True, exist_ok=True)
    if "://" not in dst:
        shutil.copyfile(src, target)
        return
    # An object appears whole, and replaces another at once; a local file grows.
    draft = HOME / f"draft-{uuid.uuid4()}"
    shutil.copyfile(src, draft)
    os.replace(draft, target)

def copy(src, dst):
    call("copy", src, dst)
    put(here(src), dst)

def copy_parallel(src, dst):
    call("copy_parallel", src, dst)
    for path in sorted(here(src).rglob("*")):
        if path.is_file():
            put(path, f"{dst}/{path.relative_to(here(src))}")
            time.sleep(float(os.environ.get("SECONDS_A_FILE", 0)))

def exists(path):
    call("exists", path)
    return here(path).exists()

def remove(path):
    call("remove", path)
    here(path).unlink()

file = SimpleNamespace(copy=copy, copy_parallel=copy_parallel, exists=exists, remove=remove)
"""


class Cloud:
    """Folders that stand for OBS and for a server's disk."""

    def __init__(self, home: Path) -> None:
        self.home, self.bucket, self.cache = home, home / "bucket", home / "cache"
        self.site = home / "site"
        (self.site / "moxing").mkdir(parents=True)
        (self.site / "moxing" / "__init__.py").write_text(MOXING)
        self.write("data/annotations/a.json", "{}")
        for number in range(5):
            self.write(f"data/train2017/{number}.jpg", f"picture {number}")

    def write(self, name: str, text: str) -> None:
        path = self.bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def calls(self, name: str) -> list[str]:
        log = self.home / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.split()[0] == name]

    def fail(self, times: int) -> None:
        (self.home / "failures").write_text(str(times))

    def start(self, code: str, **environ: str) -> subprocess.Popen[str]:
        """Run code in a process that sees this storage."""
        head = "from pathlib import Path\nfrom nasfpn_runtime.cluster.modelarts.jobs import job\n"
        environ = {**os.environ, "PYTHONPATH": f"{self.site}:{ROOT}", **environ}
        command = [sys.executable, "-c", f"{head}CACHE = Path({str(self.cache)!r})\n{code}"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    cloud = Cloud(tmp_path)
    monkeypatch.syspath_prepend(cloud.site)
    monkeypatch.delitem(sys.modules, "moxing", raising=False)
    monkeypatch.setattr(obs, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(uploads, "PERIOD", 0.02)
    return cloud


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def wait_until(condition: Callable[[], bool]) -> None:
    """A minute is what a broken promise costs."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- inputs


def test_local_paths_need_no_moxing_and_no_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with job("data", "runs/x", writer=True, cache=cache) as local:
        assert (local.data, local.out, local.init) == (Path("data"), Path("runs/x"), None)
    assert not cache.exists()


def test_inputs_are_copied_once(cloud: Cloud) -> None:
    cloud.write("weights/a.ckpt", "weights")
    for _ in range(2):
        with job("s3://data/train2017", "run", "obs://weights/a.ckpt", cache=cloud.cache) as local:
            assert tree(local.data) == tree(cloud.bucket / "data" / "train2017")
            assert local.init is not None
            assert local.init.name == "a.ckpt"
            assert local.init.read_text() == "weights"
    assert len(cloud.calls("copy_parallel")) == len(cloud.calls("copy")) == 1


def test_two_addresses_of_one_name_are_two_folders(cloud: Cloud) -> None:
    cloud.write("a/data/1", "one")
    cloud.write("b/data/1", "two")
    texts = []
    for address in ("obs://a/data/", "obs://b/data/"):
        with job(address, "run", cache=cloud.cache) as local:
            texts.append((local.data / "1").read_text())
    assert texts == ["one", "two"]


def test_copying_is_tried_four_times(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.fail(3)
    with job("obs://data/train2017", "run", cache=cloud.cache) as local:
        assert len(tree(local.data)) == 5

    def broken(*paths: str) -> None:
        raise OSError("503 Service Unavailable\nRequestId: 0")

    for name, what in (("exists", "look at"), ("copy_parallel", "read")):
        message = f"cannot {what} obs://data/annotations, tried 4 times: 503 Service Unavailable"
        with monkeypatch.context() as patch:
            patch.setattr(obs.storage(), name, broken)
            with (
                pytest.raises(TransferError) as caught,
                job("obs://data/annotations", "run", cache=cloud.cache),
            ):
                pass
        assert str(caught.value) == message
    assert list(cloud.cache.rglob("annotations")) == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://b/data", r"^an address is obs://bucket/path, got 'http://b/data'$"),
        ("obs://bucket", r"^an address is obs://bucket/path, got 'obs://bucket'$"),
        ("obs://data/none", r"^there is nothing at obs://data/none$"),
    ],
)
def test_addresses_that_lead_nowhere(cloud: Cloud, address: str, message: str) -> None:
    with pytest.raises(TransferError, match=message), job(address, "run", cache=cloud.cache):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^obs:// is reached through moxing, which is not installed: .*not on PyPI"),
        ("file = None", r"^moxing is ModelArts' own, got another package without file\.copy,"),
        ("raise ImportError('libobs')", r"^obs:// is reached through moxing"),
    ],
)
def test_no_moxing_or_another_is_one_line(cloud: Cloud, content: str | None, message: str) -> None:
    module = cloud.site / "moxing" / "__init__.py"
    module.unlink() if content is None else module.write_text(content)
    if content is None:
        module.parent.rmdir()
    with (
        pytest.raises(TransferError, match=message) as caught,
        job("obs://data/train2017", "run", cache=cloud.cache),
    ):
        pass
    assert "\n" not in str(caught.value)


# --- one process of a server copies, whatever is killed

PRINT_DATA = """
import json
with job("obs://data/zip/Pictures.zip", "run", cache=CACHE) as local:
    files = [p for p in sorted(local.data.rglob("*")) if p.is_file()]
    print(json.dumps({str(p.relative_to(local.data)): p.read_text() for p in files}))
"""
PRINT_FOLDER = PRINT_DATA.replace("zip/Pictures.zip", "train2017")
SLOW_UNZIP = """
import time
from nasfpn_runtime.cluster.modelarts import unzip
write = unzip._write
def slow(*arguments):
    write(*arguments)
    print("member", flush=True)
    time.sleep(0.3)
unzip._write = slow
"""


def zipped(cloud: Cloud) -> dict[str, str]:
    """Put an archive with a folder of its own name, as the model zoo's, into the storage."""
    files = {f"train2017/{number}.jpg": f"picture {number}" for number in range(6)}
    archive = cloud.bucket / "data" / "zip" / "Pictures.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as target:
        for name, text in files.items():
            target.writestr(f"Pictures/{name}", text)
    return files


def test_processes_of_a_server_wait_for_the_one_that_copies(cloud: Cloud) -> None:
    processes = [cloud.start(PRINT_FOLDER, SECONDS_A_FILE="0.1") for _ in range(4)]
    for process in processes:
        output, error = process.communicate(timeout=60)
        assert json.loads(output) == tree(cloud.bucket / "data" / "train2017"), error
    assert len(cloud.calls("copy_parallel")) == 1


@pytest.mark.parametrize("members", [1, 4])
def test_a_killed_unzip_looks_like_none(cloud: Cloud, members: int) -> None:
    files = zipped(cloud)
    process = cloud.start(SLOW_UNZIP + PRINT_DATA)
    assert process.stdout is not None
    for _ in range(members):
        assert process.stdout.readline() == "member\n"
    waiting = [cloud.start(PRINT_DATA) for _ in range(2)]
    process.kill()
    process.communicate()
    for other in waiting:
        output, error = other.communicate(timeout=60)
        assert json.loads(output) == files, error
    assert len(cloud.calls("copy")) == 2  # by the killed one and by one of the waiting
    assert [p for p in cloud.cache.rglob(".partial-*")] == []


def test_the_lock_ends_with_its_process_even_if_its_children_live(cloud: Cloud) -> None:
    holder = cloud.start(
        "import os, time\nfrom nasfpn_runtime.cluster.modelarts.jobs import _alone\n"
        "with _alone(CACHE):\n"
        "    if child := os.fork():\n        print(child, flush=True)\n    time.sleep(100)"
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        other = cloud.start(PRINT_FOLDER)
        with pytest.raises(subprocess.TimeoutExpired):  # it is held
            other.communicate(timeout=1)
        holder.kill()
        output, _ = other.communicate(timeout=60)
        assert len(json.loads(output)) == 5
    finally:
        os.kill(child, signal.SIGKILL)
        holder.communicate()


# --- archives


def archive_of(path: Path, members: dict[str, str], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            target.writestr(info, text)
    return path


@pytest.mark.parametrize(
    ("members", "files"),
    [
        ({"a.txt": "1", "b/c.txt": "2"}, {"a.txt": "1", "b/c.txt": "2"}),
        ({"d/a.txt": "1", "d/b/c.txt": "2"}, {"a.txt": "1", "b/c.txt": "2"}),
        ({"d/": "", "d/a.txt": "1"}, {"a.txt": "1"}),
        ({"d/a.txt": "1", "d2/a.txt": "2"}, {"d/a.txt": "1", "d2/a.txt": "2"}),
        ({"d": "1"}, {"d": "1"}),
        ({"d/a": "1", "__MACOSX/d/._a": "x"}, {"a": "1"}),
        ({}, {}),
    ],
)
def test_an_archive_s_only_folder_is_left_out(
    tmp_path: Path, members: dict[str, str], files: dict[str, str]
) -> None:
    unpack(archive_of(tmp_path / "a.zip", members), tmp_path / "out")
    assert tree(tmp_path / "out") == files


LINK = {"external_attr": (stat.S_IFLNK | 0o777) << 16}
DEVICE = {"external_attr": (stat.S_IFCHR | 0o666) << 16}
PIPE = {"external_attr": (stat.S_IFIFO | 0o666) << 16}


@pytest.mark.parametrize(
    ("name", "attributes", "rule"),
    [
        ("../evil", {}, "stays in its folder"),
        ("good/../../evil", {}, "stays in its folder"),
        ("/evil", {}, "stays in its folder"),
        ("..\\evil", {}, "stays in its folder"),
        ("__MACOSX/../../evil", {}, "stays in its folder"),
        ("./", {}, "stays in its folder"),
        ("link", LINK, "is a plain file or folder"),
        ("device", DEVICE, "is a plain file or folder"),
        ("pipe", PIPE, "is a plain file or folder"),
        ("good/a.txt", {}, "is there once"),
    ],
)
def test_a_member_that_could_do_harm_stops_the_archive(
    tmp_path: Path, name: str, attributes: dict[str, int], rule: str
) -> None:
    archive = archive_of(tmp_path / "a.zip", {"good/a.txt": "1"})
    with zipfile.ZipFile(archive, "a") as target:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # ZipInfo itself would change some
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        if name == "good/a.txt":
            with pytest.warns(UserWarning, match="Duplicate name"):
                target.writestr(info, "2")
        else:
            target.writestr(info, "2")
    folder = tmp_path / "inner" / "out"
    folder.parent.mkdir()
    with pytest.raises(DataError) as caught:
        unpack(archive, folder)
    assert str(caught.value) == (f"a member of an archive {rule}, got {name!r} (at {archive})")
    assert sorted(tmp_path.rglob("*")) == [archive, folder.parent]


def test_more_than_the_disk_has_room_for_is_not_begun(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("zeros", "0" * 1000)
        target.filelist[0].file_size = 2**60  # what the central directory will say
    with pytest.raises(
        DataError,
        # 2^60 B are 2^40 MB
        match=r"has room .*, got [\d,]+ MB free of the 1,099,511,627,776 MB that a\.zip declares$",
    ):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_that_is_larger_than_it_declares_is_broken(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.zip", {"zeros": "0" * 100_000})
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        entry = content.index(mark)
        content[entry + at : entry + at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(DataError, match="an archive is a whole zip file, got Bad CRC-32"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size <= 10


@pytest.mark.parametrize(
    ("field", "value", "message"),
    # Offsets in a member's local header; the central directory's has two more bytes before them.
    [(6, 1, "encrypted"), (8, 99, "compression method is not supported")],
)
def test_a_member_that_cannot_be_unpacked_is_named(
    tmp_path: Path, field: int, value: int, message: str
) -> None:
    archive = archive_of(tmp_path / "a.zip", {"a.txt": "1"})
    content = bytearray(archive.read_bytes())
    for mark, at in ((b"PK\3\4", field), (b"PK\1\2", field + 2)):
        content[content.index(mark) + at] = value
    archive.write_bytes(content)
    with pytest.raises(DataError, match=f"an archive is a whole zip file, got .*{message}"):
        unpack(archive, tmp_path / "out")


def test_a_broken_archive_is_named_wherever_it_is_broken(tmp_path: Path) -> None:
    archive = archive_of(tmp_path / "a.zip", {f"{n}.txt": f"{n}" * 50 for n in range(3)})
    content = archive.read_bytes()
    for length in range(0, len(content), 7):
        archive.write_bytes(content[:length])
        with pytest.raises(DataError, match=rf"whole zip file, got .*\(at {archive}\)$"):
            unpack(archive, tmp_path / f"out{length}")
    messages = []
    for at in range(0, len(content), 5):
        archive.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            unpack(archive, tmp_path / f"flip{at}")
        except (DataError, OSError) as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)


# --- results


def save(run: Path, epoch: int) -> None:
    """Do what an epoch of training does: a line of the log, then the checkpoint."""
    (run / "checkpoints").mkdir(exist_ok=True)
    with (run / "metrics.jsonl").open("a") as log:
        log.write(f"{epoch}\n")
    draft = run / "checkpoints" / ".last.tmp.ckpt"
    draft.write_text(f"{epoch}")
    last = run / "checkpoints" / "last.ckpt"
    if last.exists():
        os.replace(last, run / "checkpoints" / "last.previous.ckpt")
    os.replace(draft, last)


def epoch_at(bucket: Path, name: str = "last.ckpt") -> int:
    checkpoint = bucket / "runs" / "a" / "checkpoints" / name
    return int(checkpoint.read_text()) if checkpoint.exists() else 0


def test_a_checkpoint_is_returned_while_the_run_goes_on_and_the_rest_at_its_end(
    cloud: Cloud,
) -> None:
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        assert tree(local.out) == {}
        (local.out / "config.yaml").write_text("config")
        for epoch in (1, 2):
            save(local.out, epoch)
            wait_until(lambda: epoch_at(cloud.bucket) == epoch)  # noqa: B023
        (local.out / "end.txt").write_text("end")
        (local.out / ".draft").write_text("half")
    assert tree(cloud.bucket / "runs" / "a") == {
        "metrics.jsonl": "1\n2\n",
        "checkpoints/last.ckpt": "2",
        "checkpoints/last.previous.ckpt": "1",
        "config.yaml": "config",
        "end.txt": "end",
    }
    # What did not change is copied once.
    assert len([line for line in cloud.calls("copy") if line.endswith("/config.yaml")]) == 1


def test_what_is_returned_can_go_on_whatever_happens_meanwhile(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch ends before every copy and whenever a file has been looked at."""
    storage = obs.storage()
    copy, signature = storage.copy, uploads._signature
    saved, seen = 0, []

    def train() -> None:
        nonlocal saved
        if saved < 40:
            saved += 1
            save(local.out, saved)

    def train_and_copy(src: str, dst: str) -> None:
        train()
        copy(src, dst)
        log = cloud.bucket / "runs" / "a" / "metrics.jsonl"
        lines = len(log.read_text().splitlines()) if log.exists() else 0
        epochs = [epoch_at(cloud.bucket, f"{name}.ckpt") for name in ("last", "last.previous")]
        seen.append((max(epochs), lines))

    def signature_and_train(path: Path) -> uploads.Signature:
        found = signature(path)
        train()
        return found

    monkeypatch.setattr(storage, "copy", train_and_copy)
    monkeypatch.setattr(uploads, "_signature", signature_and_train)
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        (local.out / "checkpoints").mkdir()
        (local.out / "checkpoints" / "last.ckpt").write_text("0")
        wait_until(lambda: saved == 40)
    assert len(seen) >= 10
    assert [(epoch, lines) for epoch, lines in seen if epoch > lines] == []
    assert epoch_at(cloud.bucket) == 40


def test_a_disk_without_links_returns_a_run_all_the_same(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as FAT says

    monkeypatch.setattr(os, "link", refuse)
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        save(local.out, 1)
        wait_until(lambda: epoch_at(cloud.bucket) == 1)


def test_only_the_writer_returns_the_run(cloud: Cloud) -> None:
    with job("data", "obs://runs/a", writer=False, cache=cloud.cache) as local:
        save(local.out, 1)
        time.sleep(0.1)
    assert not (cloud.bucket / "runs").exists()


def test_what_goes_away_here_goes_away_there(cloud: Cloud) -> None:
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        save(local.out, 1)
        old = local.out / "checkpoints" / "1.ckpt"
        old.write_text("old")
        wait_until((cloud.bucket / "runs" / "a" / "checkpoints" / "1.ckpt").exists)
        old.unlink()
    assert not (cloud.bucket / "runs" / "a" / "checkpoints" / "1.ckpt").exists()


def test_another_server_goes_on_from_what_was_returned(cloud: Cloud) -> None:
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        save(local.out, 1)
    with job("data", "obs://runs/a/", cache=cloud.home / "other") as local:
        assert tree(local.out) == {"metrics.jsonl": "1\n", "checkpoints/last.ckpt": "1"}
        save(local.out, 2)
    assert epoch_at(cloud.bucket) == 2


def test_a_run_that_is_on_this_server_is_the_newer(cloud: Cloud) -> None:
    with job("data", "obs://runs/a", writer=False, cache=cloud.cache) as local:
        save(local.out, 1)
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        assert epoch_at(cloud.bucket) == 0
    assert epoch_at(cloud.bucket) == 1


RUN = """
import signal, sys, time
sys.path.insert(0, {tests!r})
from nasfpn_runtime.cluster.modelarts import obs
from nasfpn_runtime.cluster.modelarts import uploads
uploads.PERIOD = 0.02
obs.PAUSES = ()
signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the nasfpn command does
with job("data", "obs://runs/a", cache=CACHE) as local:
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
    process = cloud.start(RUN.format(tests=str(ROOT), bucket=str(cloud.bucket)))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert tree(cloud.bucket / "runs" / "a") == files


def test_an_upload_that_fails_is_made_up_for(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    with job("data", "obs://runs/a", cache=cloud.cache) as local:
        cloud.fail(4)  # all attempts of the first
        save(local.out, 1)
        wait_until(lambda: epoch_at(cloud.bucket) == 1)
    error = capsys.readouterr().err
    assert "cannot write obs://runs/a/metrics.jsonl, tried 4 times: 503 Service" in error
    assert "tried again later" in error


def test_a_run_that_cannot_be_returned_is_kept_and_said(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    message = r"cannot write obs://runs/a/metrics.jsonl, .*; the run is kept at "
    uploading = job("data", "obs://runs/a", cache=cloud.cache)
    local = uploading.__enter__()
    cloud.fail(1000)
    save(local.out, 1)
    with pytest.raises(TransferError, match=message):
        uploading.__exit__(None, None, None)
    assert tree(local.out) == {"metrics.jsonl": "1\n", "checkpoints/last.ckpt": "1"}
    # What ended a run is not hidden by the upload that failed besides.
    with pytest.raises(ZeroDivisionError), job("data", "obs://runs/a", cache=cloud.cache):
        raise ZeroDivisionError
    assert f"the run is kept at {local.out}" in capsys.readouterr().err


# --- nodes


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Node(None, 0, 1, None)),
        # scripts/run_distribute_train.sh of the model zoo
        ({"RANK_ID": "3", "RANK_SIZE": "8"}, Node(3, 0, 1, None)),
        # msrun
        ({"RANK_ID": "0", "MS_WORKER_NUM": "2"}, Node(0, 0, 1, None)),
        # ModelArts: the second of two servers, and a process on it
        (
            {
                "VC_TASK_INDEX": "1",
                "MA_NUM_HOSTS": "2",
                "VC_WORKER_HOSTS": "job-worker-0.job,job-worker-1.job",
            },
            Node(None, 1, 2, "job-worker-0.job"),
        ),
        (
            {"RANK_ID": "8", "RANK_SIZE": "16", "VC_TASK_INDEX": "1", "MA_NUM_HOSTS": "2"},
            Node(8, 1, 2, None),
        ),
        # another cluster with Volcano, as whose part nobody wants to be taken
        ({"VC_TASK_INDEX": "1", "VC_WORKER_NUM": "4"}, Node(None, 0, 1, None)),
        # ModelArts: one server
        (
            {"VC_TASK_INDEX": "0", "MA_NUM_HOSTS": "1", "VC_WORKER_HOSTS": "job-worker-0.job"},
            Node(None, 0, 1, None),
        ),
    ],
)
def test_the_node_of_a_process(environ: dict[str, str], expected: Node) -> None:
    assert this_node(environ) == expected


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK_ID": "-1"}, r"^RANK_ID is a whole number from 0, got '-1'$"),
        ({"RANK_ID": "8", "RANK_SIZE": "8"}, r"^RANK_ID is below the job's 8, got 8$"),
        (
            {"VC_TASK_INDEX": "2", "MA_NUM_HOSTS": "2"},
            r"^VC_TASK_INDEX is below the job's 2, got 2$",
        ),
    ],
)
def test_a_place_that_cannot_be_is_named(environ: dict[str, str], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        this_node(environ)
