"""Writing MindRecord: killed writers, full disks, images that cannot be decoded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasfpn_runtime.data.dataset import form_of, load_split
from nasfpn_runtime.data.mindrecord_writer import decoded, pack
from nasfpn_runtime.data.samples import Fault
from nasfpn_runtime.errors import DataError
from records import encoded, packed, write

# In a separate process without threads, since a process with threads cannot safely fork.
KILLED = """
from multiprocessing import resource_tracker
import os, resource, signal, sys
from pathlib import Path
from nasfpn_runtime.data import mindrecord_writer as module
from nasfpn_runtime.data.dataset import load_split
from nasfpn_runtime.data.samples import Sample
from nasfpn_runtime.errors import DataError

source, out = map(Path, sys.argv[1:])
split = load_split(source, "train")
calls = []

def dies(function, call):
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped

# It removes the semaphores of killed processes when this one ends.
resource_tracker.ensure_running()
points = [
    (Sample, "read", 1),
    (Sample, "read", 4),
    (module.json, "dumps", 1),
    (os, "rename", 1),
]
for owner, name, call in points:
    child = os.fork()
    if not child:
        setattr(owner, name, dies(getattr(owner, name), call))
        module.pack({"train": split}, out, shards=2, progress=False)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(name, os.WTERMSIG(status), out.exists(), len(list(out.parent.glob(".*.partial"))))
child = os.fork()
if not child:
    # Enough for a header but not for a page.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
    try:
        module.pack({"train": split}, out, shards=1, progress=False)
    except DataError as error:
        print(type(error).__name__, str(error).partition("(at")[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("full", out.exists(), len(list(out.parent.glob(".*.partial"))))
module.pack({"train": split}, out, shards=2, progress=False)
print("done", out.exists(), len(list(out.parent.glob(".*.partial"))))
"""


@pytest.mark.slow
def test_a_killed_or_full_writer_leaves_nothing_that_looks_complete(shapes: Path) -> None:
    out = shapes.with_name("out")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, shapes, out],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    # Each killed writer leaves its draft, which the next one removes.
    lines = done.stdout.splitlines()
    error = lines.pop(4)
    assert re.fullmatch(r"DataError cannot write shards: Failed to .* MB are free ", error), error
    assert lines == [
        "read 9 False 1",
        "read 9 False 1",
        "dumps 9 False 1",
        "rename 9 False 1",
        "full False 0",
        "done True 0",
    ], done.stderr
    assert len(load_split(out).samples) == 5


def test_a_picture_that_ends_early_is_left_out_and_reported(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(tmp_path, "jpg", noise)
    pictures = {"a.jpg": whole, "b.jpg": whole[: len(whole) // 2], "c.jpg": whole}
    split = write(tmp_path / "data", pictures, size=(64, 64))
    assert split.faults == ()
    faults = pack({"train": split}, tmp_path / "out", progress=False)
    (fault,) = faults["train"]
    assert (fault.kind, fault.action) == ("image file unreadable", "dropped")
    assert fault.where.endswith("b.jpg")
    assert "b.jpg: dropped" in (tmp_path / "out" / "faults.txt").read_text()
    loaded = load_split(tmp_path / "out")
    assert [sample.path.name for sample in loaded.samples] == ["a.jpg", "c.jpg"]
    assert loaded.truth.sample.tolist() == [0, 1]


def test_decoding_reports_each_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = encoded(tmp_path, "jpg", pixels)
    split = write(tmp_path / "data", {"a.jpg": content, "b.jpg": content[:2000]}, size=(64, 64))
    first, second = decoded(split, "train")
    assert first == content
    where = str(tmp_path / "data" / "train" / "b.jpg")
    assert second == Fault("image file unreadable", where, "dropped")
    assert "train: 2/2 images" in capsys.readouterr().err
    assert len(list(decoded(split, "train", progress=False))) == 2
    assert capsys.readouterr().err == ""


def test_no_picture_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    half = encoded(tmp_path, "jpg", noise)[:2000]
    split = write(tmp_path / "data", {"a.jpg": half}, size=(64, 64))
    with pytest.raises(DataError, match=r"'train' .* got none"):
        pack({"train": split}, tmp_path / "out", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "encoded.jpg"]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_number_of_shards_out_of_range_is_named(shapes: Path, count: int) -> None:
    with pytest.raises(DataError, match=f"shards .* 1 .* 1000, got {count}"):
        pack({"val": load_split(shapes, "val")}, shapes.with_name("out"), shards=count)


def test_a_split_name_cannot_leave_the_folder(shapes: Path) -> None:
    with pytest.raises(DataError, match=r"split .* got '\.\./val'"):
        pack({"../val": load_split(shapes, "val")}, shapes.with_name("out"), progress=False)


def test_a_disk_without_room_is_named_first(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = shutil.disk_usage(shapes)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: room)
    with pytest.raises(DataError, match=r"disk .* got 0 MB \(at "):
        packed(shapes, shapes.with_name("out"), "val")
    assert [path.name for path in shapes.parent.iterdir()] == ["shapes"]


def test_an_existing_folder_is_left_alone(shapes: Path) -> None:
    with pytest.raises(DataError, match=r"new, got .*shapes, which exists"):
        packed(shapes, shapes, "val")
    assert form_of(shapes) == "coco"
