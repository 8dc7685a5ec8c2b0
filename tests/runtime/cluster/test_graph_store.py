"""The store of compiled graphs: every read is a whole graph or nothing, whatever happens."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from locations import ROOT
from nasfpn_runtime.cluster import graph_store
from nasfpn_runtime.cluster.graph_store import GraphStore, default_folder, open_store

# Saves a graph of 300 kB again and again: a byte that differs in each, repeated and compressible.
WRITER = """
import sys
from pathlib import Path
from nasfpn_runtime.cluster.graph_store import GraphStore
store, number = GraphStore(Path(sys.argv[1])), 0
store.make_folder()
print("ready", flush=True)
while True:
    number += 1
    store.save(sys.argv[2], bytes([number % 256]) * 300_000)
"""


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def random_graph(rng: np.random.Generator, size: int) -> bytes:
    return rng.bytes(size)


@pytest.fixture
def store(tmp_path: Path) -> GraphStore:
    store = GraphStore(tmp_path / "compiled")
    assert store.make_folder()
    return store


def files(store: GraphStore) -> list[Path]:
    return sorted(store.folder.iterdir())


def test_graphs_come_back_as_they_were_saved(store: GraphStore) -> None:
    rng = np.random.default_rng(0)
    graphs = {key(n): random_graph(rng, int(rng.integers(0, 5000))) for n in range(20)}
    for name, graph in graphs.items():
        store.save(name, graph)
    assert {name: store.load(name) for name in graphs} == graphs
    assert store.load(key("another")) is None


@pytest.mark.parametrize("fault", ["cut", "bit", "zeroed", "longer", "empty", "folder"])
def test_a_damaged_graph_is_not_used_and_makes_room_for_a_new_one(
    fault: str, store: GraphStore
) -> None:
    rng = np.random.default_rng(1)
    for number in range(30):
        graph = random_graph(rng, 2000)
        store.save(key(number), graph)
        (file,) = [f for f in files(store) if f.name.startswith(key(number))]
        content = bytearray(file.read_bytes())
        place = int(rng.integers(0, len(content)))
        if fault == "cut":
            content = content[:place]
        elif fault == "bit":
            content[place] ^= 1 << int(rng.integers(0, 8))
        elif fault == "zeroed":
            content[:] = bytes(len(content))
        elif fault == "longer":
            content += b"x"
        elif fault == "empty":
            content.clear()
        if fault == "folder":
            file.unlink()
            file.mkdir()
        else:
            file.write_bytes(content)
        assert store.load(key(number)) is None
        if fault == "folder":
            file.rmdir()
        assert not file.exists()
        store.save(key(number), graph)
        assert store.load(key(number)) == graph


def test_the_graphs_used_least_recently_go_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    one = 1000  # bytes; random ones cannot be compressed
    store = GraphStore(tmp_path, most=10 * (one + 100))
    graphs = {key(n): random_graph(rng, one) for n in range(10)}
    for age, (name, graph) in enumerate(graphs.items()):
        store.save(name, graph)
        moment = time.time() - 1000 + age
        os.utime(tmp_path / f"{name}.graph", (moment, moment))
    assert len(files(store)) == 10
    oldest, second, *rest = graphs
    assert store.load(oldest) == graphs[oldest]  # and so the latest used
    store.save(key("new"), random_graph(rng, one))
    assert store.load(second) is None
    assert all(store.load(name) == graphs[name] for name in [oldest, *rest])
    for number in range(30):
        store.save(key(f"more {number}"), random_graph(rng, one))
        assert sum(file.stat().st_size for file in files(store)) <= store.most


def test_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    store = GraphStore(tmp_path, most=0)
    kept = ["notes.txt", "my.graph", "work-mine", f"x{key(0)}.graph", ".hidden.graph"]
    for name in kept:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (1, 1))
    store.save(key(1), b"graph")
    assert sorted(file.name for file in files(store)) == sorted(kept)


def test_what_killed_processes_left_is_removed_after_a_day(store: GraphStore) -> None:
    rng = np.random.default_rng(3)
    store.save(key(0), bytes(300_000))
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store.folder), key(0)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.01, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        graph = store.load(key(0))
        assert graph is not None
        assert graph == graph[:1] * 300_000
    work, old = store.new_working_folder(), time.time() - graph_store.STALE - 10
    (work / "rank_0").mkdir(parents=True)
    draft = store.folder / f".{key(1)}.0a1b2c3d.partial.graph"
    draft.write_bytes(b"half")
    store.save(key(2), b"")
    assert work.exists()  # they may belong to a process that is at work
    assert draft.exists()
    for path in files(store):
        os.utime(path, (old, old))
    store.save(key(2), b"")
    assert {file.name for file in files(store)} == {f"{key(n)}.graph" for n in (0, 2)}


def test_processes_that_write_one_graph_at_once_leave_whole_ones(store: GraphStore) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.folder), key(0)], cwd=ROOT)
        for _ in range(2)
    ]
    try:
        seen, end = set(), time.monotonic() + 60
        while len(seen) < 20:
            assert time.monotonic() < end
            graph = store.load(key(0))
            if graph is not None:
                assert graph == graph[:1] * 300_000
                seen.add(graph[:1])
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def test_a_full_disk_costs_nothing_but_the_graph(
    store: GraphStore, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    with full_disk():
        store.save(key(0), b"graph" * 100)
    assert files(store) == []
    assert store.load(key(0)) is None
    store.save(key(0), b"graph")
    assert store.load(key(0)) == b"graph"


@pytest.mark.parametrize("place", ["", " ", "off", "OFF", "/proc/nasfpn", "FILE", "FILE/inside"])
def test_no_folder_is_no_store(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setenv(graph_store.VARIABLE, place.replace("FILE", str(file)))
    assert open_store() is None
    monkeypatch.delenv(graph_store.VARIABLE)
    assert open_store() is None
    assert file.read_text() == "mine"
    assert files(GraphStore(tmp_path)) == [file]


@pytest.mark.parametrize(
    ("cache", "expected"),
    [
        ("/x/cache", "/x/cache/nasfpn/compiled"),
        ("relative", "/h/.cache/nasfpn/compiled"),
        ("", "/h/.cache/nasfpn/compiled"),
    ],
)
def test_the_default_folder_is_in_the_cache_of_the_user(
    cache: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    assert default_folder() == expected
    monkeypatch.setenv("HOME", "h")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_folder() == "off"
