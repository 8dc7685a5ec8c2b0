"""A graph that is loaded computes what the compiled one does, and never that of another network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import wraps
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
import pytest
from mindspore import Tensor, nn
from numpy.typing import NDArray

from fresh_process import COMMON, run_script
from locations import ROOT, TWO_LEVELS
from nasfpn_runtime.cluster import compiled, graph_store
from nasfpn_runtime.cluster.compiled import compile_once, is_complete
from nasfpn_runtime.cluster.device import set_device
from nasfpn_runtime.cluster.graph_store import GraphStore
from nasfpn_runtime.data.drawn import write_shapes
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.network import checkpoint
from nasfpn_runtime.recipe.recipe import load_recipe
from nasfpn_runtime.recipe.settings import Training
from nasfpn_runtime.training.runlog import RunOptions
from nasfpn_runtime.training.step import TrainStep
from nasfpn_runtime.training.train import train
from runs import SMALL, metrics
from search_space import load_genome

pytestmark = pytest.mark.slow

# Networks that differ in their number of outputs and in the operation, for a process of its own
# and for this one. ``run`` returns the origin of the graph and the output for the input (1, -2).
NETS = """
import numpy as np
import nasfpn_runtime
from mindspore import Tensor, nn
from nasfpn_runtime.cluster import compiled
from nasfpn_runtime.cluster.device import set_device
set_device("CPU")

def net(name):
    outputs, activation = {
        "relu": (2, nn.ReLU()), "leaky": (2, nn.LeakyReLU(0.5)), "wide": (3, nn.ReLU())
    }[name]
    return nn.SequentialCell(nn.Dense(2, outputs, weight_init="ones", has_bias=False), activation)

def run(name):
    cell, x = net(name), Tensor(np.array([[1.0, -2.0]], np.float32))
    origin = compiled.compile_once(cell, x)
    return origin, cell(x).asnumpy().tolist()
"""
HERE: dict[str, Any] = {}
exec(NETS, HERE)
EXPECTED = {"relu": [[0.0, 0.0]], "leaky": [[-0.5, -0.5]], "wide": [[0.0, 0.0, 0.0]]}


def here(*order: str) -> list[Any]:
    """Compile networks in this process; return the origin of each graph. All outputs are right."""
    return _origins(order, [HERE["run"](name) for name in order])


def there(folder: Path, *order: str, each: str = "pass", before: str = "pass") -> list[Any]:
    """Compile networks as :func:`here`, in a fresh process, which leaves nothing but graphs.

    Args:
        before, each: what it does before all and before each of them.
    """
    script = f"{NETS}\n{before}\nresults = []\n"
    for name in order:
        script += f"{each}\nresults.append(run({name!r}))\n"
    done = run_script(script + "report(results=results)", NASFPN_CACHE=str(folder))
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    assert not [name for name in names if not name.endswith(".graph")]
    return _origins(order, done["results"])


def _origins(order: tuple[str, ...], results: list[Any]) -> list[Any]:
    assert [values for _, values in results] == [EXPECTED[name] for name in order]
    return [origin for origin, _ in results]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GraphStore:
    set_device("CPU")
    store = GraphStore(tmp_path / "compiled")
    monkeypatch.setenv(graph_store.VARIABLE, str(store.folder))
    return store


def graphs(store: GraphStore) -> dict[str, bytes]:
    """Return all graphs, by key, whose files have a whole name."""
    keys = [file.stem for file in store.folder.glob("[0-9a-f]*.graph")]
    return {key: store.load(key) or b"" for key in keys}


def test_networks_are_told_apart_whatever_the_order_in_which_they_are_compiled(
    store: GraphStore,
) -> None:
    assert there(store.folder, "relu", "leaky", "relu") == ["stored", "stored", "loaded"]
    assert here("leaky", "relu", "wide") == ["loaded", "loaded", "stored"]
    assert here("wide", "leaky", "wide") == ["loaded"] * 3


def test_a_loaded_graph_has_the_parameters_of_its_own_network(store: GraphStore) -> None:
    rng, x = np.random.default_rng(0), rng_input()
    origins = []
    for _ in range(3):
        net = nn.SequentialCell(nn.Dense(2, 4), nn.ReLU())
        for number in range(3):  # set before it is compiled, and again when it has run
            weight, bias = (rng.normal(size=s).astype(np.float32) for s in ((4, 2), (4,)))
            net[0].weight.set_data(Tensor(weight))
            net[0].bias.set_data(Tensor(bias))
            if number == 0:
                origins.append(compile_once(net, Tensor(x)))
            expected = np.maximum(x @ weight.T + bias, 0)
            np.testing.assert_allclose(net(Tensor(x)).asnumpy(), expected, rtol=1e-5, atol=1e-6)
    assert origins == ["stored", "loaded", "loaded"]


def rng_input() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)


def noted(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Return a list that gets the origin of each graph of trainings and detectors."""
    origins: list[str | None] = []

    @wraps(compile_once)
    def compile_and_note(*arguments: Any) -> compiled.Origin | None:
        origins.append(compile_once(*arguments))
        return origins[-1]

    for module in ("training.step", "inference.engines.mindspore"):
        monkeypatch.setattr(f"nasfpn_runtime.{module}.compile_once", compile_and_note)
    return origins


def test_a_run_with_loaded_graphs_ends_as_one_that_compiles(
    tmp_path: Path, store: GraphStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, genome, origins = tmp_path / "shapes", load_genome(TWO_LEVELS), noted(monkeypatch)
    write_shapes(data, train=4, val=2, test=1, size=64)
    settings = [*SMALL, "training.batch=2", "training.epochs=2", "training.evaluate_every=0"]
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))

    def run(name: str) -> tuple[dict[str, NDArray[Any]], Any, Any]:
        """Train, and detect by the checkpoint in a network of its own."""
        origins.clear()
        recipe, out = load_recipe("shapes", settings), tmp_path / name
        train(recipe, genome, data, out, seed=1, options=RunOptions(progress=False))
        lines = [{k: v for k, v in x.items() if "second" not in k} for x in metrics(out)]
        last = out / "checkpoints" / "last.ckpt"
        with Detector.load(last) as detector:
            found = detector.detect(pictures)
        return checkpoint.load(last)[0], lines, [x for d in found for x in (d.scores, d.boxes)]

    expected = run("stored")
    # The detector finds the graph with which the training was evaluated.
    assert origins == ["stored", "stored", "loaded"]
    arrays, lines, found = run("loaded")
    assert origins == ["loaded"] * 3
    np.testing.assert_equal(arrays, expected[0])
    assert lines == expected[1]
    np.testing.assert_equal(found, expected[2])


# Settings of a training, and the number of parts of a batch.
STEPS = {
    "plain": (Training(), 1),
    "averages": (Training(ema=0.9, clip=0.1, weight_decay=0.1), 1),
    "scaled": (Training(precision="float16"), 1),
    "parts": (Training(), 2),
    "scaled parts": (Training(precision="float16", ema=0.5), 2),
}


@pytest.mark.parametrize("kind", STEPS)
def test_updates_by_loaded_graphs_are_those_by_compiled_ones(
    kind: str, store: GraphStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (training, count), origins = STEPS[kind], noted(monkeypatch)

    def run(seed: int, rates: list[float]) -> tuple[set[str | None], Any]:
        """Return the origins of the graphs, and losses and state after a few updates."""
        origins.clear()
        rng = np.random.default_rng(seed)
        net = nn.WithLossCell(nn.Dense(3, 1), nn.MSELoss())
        for parameter in net.get_parameters():
            value = rng.normal(size=parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(value))
        step, losses = TrainStep(net, training, rates), []
        for size in (1.0, 1e30 if step.update.scaled else 1.0, 1.0, 1.0):  # the second overflows
            parts = (size * rng.normal(size=(count, 4, 4))).astype(np.float32)
            losses.append(step(*((Tensor(x[:, :3]), Tensor(x[:, 3:])) for x in parts)))
        return {*origins}, (losses, {p.name: p.asnumpy() for p in step.state.get_parameters()})

    monkeypatch.setenv(graph_store.VARIABLE, graph_store.OFF)
    expected = run(1, [0.1, 0.05, 0.02, 0.01])
    assert expected[0] == {None}
    monkeypatch.setenv(graph_store.VARIABLE, str(store.folder))
    # Other weights, data and rates, and another number of them.
    assert run(0, [0.3] * 40)[0] == {"stored"}
    loaded = run(1, [0.1, 0.05, 0.02, 0.01])
    assert loaded[0] == {"loaded"}
    np.testing.assert_equal(loaded[1], expected[1])


def test_a_graph_file_that_was_not_written_to_its_end_is_recognised(store: GraphStore) -> None:
    here("relu")
    (graph,) = graphs(store).values()
    assert is_complete(graph)
    assert not any(is_complete(graph[:length]) for length in range(len(graph)))
    assert not is_complete(bytes(len(graph)))
    assert not is_complete(graph[:-100] + bytes(100))


DAMAGE = """
def half(graph):
    return graph[: len(graph) // 2]

damages = iter([lambda graph: b"", lambda graph: b"no graph", half, lambda g: half(g) + bytes(99)])
def damage():
    from nasfpn_runtime.cluster.graph_store import GraphStore
    spoil = next(damages)
    for file in Path(os.environ["NASFPN_CACHE"]).glob("*.graph"):
        store = GraphStore(file.parent)
        store.save(file.stem, spoil(store.load(file.stem)))
"""


def test_a_graph_that_mindspore_cannot_load_is_replaced(store: GraphStore) -> None:
    here("relu")
    assert there(store.folder, *["relu"] * 4, before=DAMAGE, each="damage()") == ["stored"] * 4
    assert here("relu") == ["loaded"]


FULL = """
import resource
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
sizes = iter((1, 500, 1500))
"""
EACH = "resource.setrlimit(resource.RLIMIT_FSIZE, (next(sizes), most))"


def test_a_full_disk_costs_nothing_but_the_graph(store: GraphStore) -> None:
    assert "loaded" not in there(store.folder, "relu", "leaky", "relu", before=FULL, each=EACH)
    here("relu", "leaky")
    assert here("relu", "leaky") == ["loaded"] * 2


@pytest.mark.parametrize("place", ["off", "/proc/nasfpn"])
def test_a_folder_that_cannot_be_written_is_no_cache(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_device("CPU")
    monkeypatch.setenv(graph_store.VARIABLE, place)
    assert here("relu") == [None]


def test_another_cache_or_mode_is_left_alone(
    store: GraphStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MS_COMPILER_CACHE_ENABLE", "1"), ("MS_WORKER_NUM", "2")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert compile_once(nn.ReLU(), Tensor(1.0)) is None
    with monkeypatch.context() as patch:
        patch.setattr(mindspore, "__version__", "2.11.0")
        assert compile_once(nn.ReLU(), Tensor(1.0)) is None
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        assert here("relu") == [None]
    finally:
        mindspore.set_context(mode=mindspore.GRAPH_MODE)
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(tmp_path / "mine"))
    assert here("relu", "relu") == ["stored", "loaded"]
    assert os.environ["MS_COMPILER_CACHE_PATH"] == str(tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {store.folder.name}


# Ctrl-C comes when MindSpore has just compiled the first network.
INTERRUPTED = """
compiles = nn.Cell.compile
def interrupted(self, *inputs):
    nn.Cell.compile = compiles
    compiles(self, *inputs)
    raise KeyboardInterrupt
nn.Cell.compile = interrupted
try:
    run("wide")
    sys.exit("no interrupt")
except KeyboardInterrupt:
    pass
"""


def test_an_interrupt_leaves_nothing_and_the_process_goes_on(store: GraphStore) -> None:
    # MindSpore's number of the next file is not known any more.
    assert there(store.folder, "relu", "leaky", before=INTERRUPTED) == [None, None]
    assert graphs(store) == {}
    assert here("relu", "leaky") == ["stored"] * 2


def test_processes_at_once_and_killed_ones_leave_whole_graphs(store: GraphStore) -> None:
    script = f"{COMMON}{NETS}\nprint('ready', flush=True)\nwhile True: run(sys.argv[1])"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, name],
            cwd=ROOT,
            env={**os.environ, graph_store.VARIABLE: str(store.folder)},
            stdout=subprocess.PIPE,
        )
        for name in ("relu", "leaky")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
    time.sleep(np.random.default_rng(0).uniform(0.0, 0.3))
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    assert all(map(is_complete, graphs(store).values()))
    here("relu", "leaky", "wide")
    assert here("wide", "leaky", "relu") == ["loaded"] * 3
    for path in store.folder.glob("work-*"):  # of those that were killed
        old = time.time() - graph_store.STALE - 10
        os.utime(path, (old, old))
    store.save("0" * 64, b"")
    assert {path.suffix for path in store.folder.iterdir()} == {".graph"}
