"""Use detectors in several threads and in forked processes; a program, because faults crash it.

Arguments: ``threads FOLDER`` or ``fork FOLDER FILE ENGINE WHEN``. FOLDER is that of
``write_files``. What was found is printed as one line of JSON, the last one.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nasfpn_runtime.bench.parity import pictures as two_pictures
from nasfpn_runtime.bench.parity import write_random
from nasfpn_runtime.data.drawn import draw_picture
from nasfpn_runtime.export.compare import same
from nasfpn_runtime.export.exporter import ExportRequest, export
from nasfpn_runtime.inference.detector import Detector
from nasfpn_runtime.pictures.image import Pixels
from small_networks import GENOME, small_recipe

THREADS, CALLS, STEPS = 8, 48, 4
LIMIT = 240  # seconds after which a hanging process shows its threads and ends
FILES = {
    "a.ckpt": None,
    "a.mindir": ExportRequest("mindir"),
    "a.onnx": ExportRequest("onnx", dynamic=True),
    "fixed.onnx": ExportRequest("onnx"),
    "nms.onnx": ExportRequest("onnx", suppressed=True, dynamic=True),
    "b.ckpt": None,
    "b.onnx": ExportRequest("onnx"),
    "b-any.onnx": ExportRequest("onnx", dynamic=True),
}
SIZES = {"a": "[64, 96]", "b": "[96, 64]"}
FITS = {"a": ["data.fit=squash"], "b": ["data.fit=letterbox"]}


def write_files(folder: Path) -> None:
    """Write detectors of two sizes: the networks and inputs of ``a`` and ``b`` differ."""
    for name, channels in (("a", 8), ("b", 12)):
        settings = [f"data.image={SIZES[name]}", f"model.channels={channels}", "model.stacks=1"]
        settings += ["detection.score=0.6", *FITS[name]]
        recipe = small_recipe("bccd-128", *settings)
        write_random(folder / f"{name}.ckpt", recipe, GENOME)
    for file, request in FILES.items():
        if request is not None:
            source = folder / ("b.ckpt" if file.startswith("b") else "a.ckpt")
            export(source, folder / file, request, two_pictures()[:1])


def drawn(count: int = 8) -> list[Pixels]:
    """Return images of different shapes."""
    rng = np.random.default_rng(5)
    return [
        draw_picture(int(side), rng)[0][: int(side) - 20 * (i % 3)]
        for i, side in enumerate(rng.integers(80, 200, count))
    ]


def wrong_calls(detector: Detector, expected: list[Any]) -> list[str]:
    """Call a detector from all threads at once; return what was wrong."""
    images = drawn()
    start = threading.Barrier(THREADS)

    def call(number: int) -> str | None:
        if number < THREADS:
            start.wait()
        index = number % len(images)
        try:
            found = detector(images[index])
        except Exception as error:
            return repr(error)
        return None if same(expected[index], found) else f"other boxes in call {number}"

    with ThreadPoolExecutor(THREADS) as pool:
        return [text for text in pool.map(call, range(CALLS)) if text]


def threads(folder: Path) -> dict[str, Any]:
    """Use MindSpore in many ways at once: two checkpoints, a MINDIR file and a training.

    Expected boxes are those of ONNX Runtime, so that MindSpore compiles in all threads first.
    Detectors are also opened and freed meanwhile.
    """
    import mindspore

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    names = {"a.ckpt": "a.onnx", "a.mindir": "fixed.onnx", "b.ckpt": "b.onnx"}
    expected = {n: Detector.load(folder / onnx).detect(drawn()) for n, onnx in names.items()}
    train = training()
    result: dict[str, Any] = {"alone": train(), "beside": [], "wrong": {}}

    def train_beside() -> None:
        for _ in range(3):
            result["beside"].append(train())
            Detector.load(folder / "a.mindir")(drawn(1)[0])  # destroyed here

    def detect(name: str) -> None:
        with Detector.load(folder / name) as detector:
            result["wrong"][name] = wrong_calls(detector, expected[name])

    works = [train_beside, *(partial(detect, name) for name in names)]
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()
    return result


def training() -> Callable[[], list[float]]:
    """Return a function that does a small training and returns its losses, always the same."""
    import searched_archs
    from nasfpn_runtime.bench.step import random_batch
    from nasfpn_runtime.network import checkpoint
    from nasfpn_runtime.network.build import build_network
    from nasfpn_runtime.network.init import initialise
    from nasfpn_runtime.network.losses import DetectionLoss
    from nasfpn_runtime.recipe.recipe import load_recipe
    from nasfpn_runtime.training.step import DetectorWithLoss, TrainStep

    settings = ["model.width=2", "model.channels=2", "model.stacks=1"]
    recipe = load_recipe("shapes", settings)
    net = build_network(recipe, searched_archs.load("fpn"), 3)
    initialise(net, 0)
    network = DetectorWithLoss(net, DetectionLoss(4, recipe.loss))
    step = TrainStep(network, recipe.training, [1e-3] * STEPS)
    start = {p.name: p.asnumpy().copy() for p in step.state.get_parameters()}
    batch = random_batch(128, pictures=1)

    def run() -> list[float]:
        checkpoint.restore(step.state, start, Path("start"))
        return [step(batch).loss for _ in range(STEPS)]

    return run


def fork(folder: Path, file: str, engine: str, when: str) -> dict[str, Any]:
    """Use a detector in a forked process, which ends by ``sys.exit``.

    Args:
        when: ``run``: the detector has run in the parent. ``loaded``: it has only been loaded.
            ``running``: other threads are running it.
    """
    if engine == "mindspore":
        import mindspore

        mindspore.set_context(mode=mindspore.GRAPH_MODE)
    detector = Detector.load(folder / file, engine)
    images = drawn()
    expected = detector.detect(images) if when != "loaded" else None
    stop = threading.Event()

    def keep_running() -> None:
        while not stop.is_set():
            detector(images[0])

    others = [threading.Thread(target=keep_running) for _ in range(2 * (when == "running"))]
    for other in others:
        other.start()
    time.sleep(0.3 * len(others))
    results = []
    for way in ("inherited", "own"):
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                used = detector if way == "inherited" else Detector.load(folder / file, engine)
                found = used.detect(images)
                answer = [len(f) for f in found]
                if expected is not None and not all(map(same, expected, found)):
                    answer = []
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(write, json.dumps(answer).encode())
            sys.exit(7)
        os.close(write)
        with os.fdopen(read) as pipe:
            status = end_of(child)
            results.append((json.loads(pipe.read() or "null"), status))
    stop.set()
    for other in others:
        other.join()
    again = detector.detect(images)
    return {"children": results, "parent": [len(f) for f in again]}


def end_of(child: int, seconds: float = 30) -> int | str:
    """Return the exit code of a process; ``hangs`` if it had to be killed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


if __name__ == "__main__":
    what, folder, *arguments = sys.argv[1:]
    if what == "threads":  # a forked process would wait for faulthandler's thread when it ends
        faulthandler.dump_traceback_later(LIMIT, exit=True)
    outcome = threads(Path(folder)) if what == "threads" else fork(Path(folder), *arguments)
    print(json.dumps(outcome), flush=True)
