"""One detector in many threads and processes: right boxes or a clear error, never a hang."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shared_detectors
from locations import ROOT
from nasfpn_runtime.errors import EngineError
from nasfpn_runtime.export.compare import same
from nasfpn_runtime.inference.description import describe
from nasfpn_runtime.inference.detector import Detector
from shared_detectors import drawn, write_files, wrong_calls
from small_networks import GENOME, small_recipe

pytestmark = pytest.mark.slow
ONNX = [("a.onnx", "onnxruntime"), ("a.onnx", "openvino"), ("nms.onnx", "openvino")]
ENGINES = [*ONNX[:2], ("a.ckpt", "mindspore"), ("a.mindir", "mindspore")]
on_onnx = pytest.mark.parametrize(("file", "engine"), ONNX)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("detectors")
    write_files(made)
    return made


def run_program(*arguments: object) -> dict[str, Any]:
    """Run ``shared_detectors`` and return what it found."""
    command = [sys.executable, shared_detectors.__file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@on_onnx
def test_eight_threads_get_the_boxes_of_one(folder: Path, file: str, engine: str) -> None:
    expected = Detector.load(folder / file, engine).detect(drawn())
    assert min(map(len, expected)) > 3
    assert not same(expected[0], expected[1])
    assert wrong_calls(Detector.load(folder / file, engine), expected) == []


def test_mindspore_in_many_threads_gives_the_boxes_and_losses_of_one(folder: Path) -> None:
    found = run_program("threads", folder)
    assert found["wrong"] == {"a.ckpt": [], "a.mindir": [], "b.ckpt": []}
    assert len(found["beside"]) == 3
    for losses in found["beside"]:
        assert losses == pytest.approx(found["alone"], rel=1e-5)


@pytest.mark.parametrize("when", ["run", "running"])
@pytest.mark.parametrize(("file", "engine"), ENGINES)
def test_a_fork_works_or_is_refused(folder: Path, file: str, engine: str, when: str) -> None:
    found = run_program("fork", folder, file, engine, when)
    for answer, status in found["children"]:
        assert status == 7
        if engine == "onnxruntime":
            assert answer == found["parent"]
        else:
            assert answer.startswith(f"EngineError: cannot use {engine} ")
            assert "post_fork" in answer


def test_a_checkpoint_that_has_not_run_works_after_a_fork(folder: Path) -> None:
    found = run_program("fork", folder, "a.ckpt", "mindspore", "loaded")
    assert found["children"] == [[found["parent"], 7]] * 2


@on_onnx
def test_a_pickled_detector_works_in_a_spawned_process(
    folder: Path, file: str, engine: str
) -> None:
    detector = Detector.load(os.path.relpath(folder / file), engine)
    expected = detector.detect(drawn())
    copy = pickle.loads(pickle.dumps(detector))
    assert all(map(same, expected, copy.detect(drawn())))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(detector.detect, drawn()).result(timeout=100)
    assert all(map(same, expected, found))
    assert found[0].categories == detector.names


def test_a_detector_without_a_file_or_closed_is_not_pickled(folder: Path) -> None:
    detector = Detector.load(folder / "a.onnx")
    about = describe(small_recipe(), GENOME, ("a",))
    with pytest.raises(EngineError, match=r"not made by Detector\.load"):
        pickle.dumps(Detector(detector.engine, about))
    detector.close()
    with pytest.raises(EngineError, match="closed"):
        pickle.dumps(detector)


@pytest.mark.usefixtures("pynative")
@pytest.mark.parametrize(("file", "engine"), ENGINES)
def test_a_closed_detector_frees_its_model_and_refuses_calls(
    folder: Path, file: str, engine: str
) -> None:
    picture = drawn(1)[0]
    with Detector.load(folder / file, engine) as detector, Detector.load(folder / file) as other:
        expected = detector(picture)
        loaded = detector.engine
        model = next(vars(loaded)[n] for n in ("net", "session", "model") if n in vars(loaded))
        freed = weakref.ref(model)
        del loaded, model
        detector.close()
        assert freed() is None
        assert same(expected, other(picture))  # the other one has a model of its own
        for _ in range(2):
            detector.close()
            with pytest.raises(EngineError, match=rf"closed .*{file}"):
                detector(picture)
    with pytest.raises(EngineError, match="closed"):
        other.detect([picture])
    assert other.names == detector.names


@on_onnx
def test_opening_and_closing_does_not_fill_the_memory(folder: Path, file: str, engine: str) -> None:
    def opened(times: int) -> int:
        for _ in range(times):
            with Detector.load(folder / file, engine) as detector:
                detector(drawn(1)[0])
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    before = opened(5)
    assert opened(20) < before + 30e6


def test_closing_in_one_thread_lets_the_others_finish(folder: Path) -> None:
    detector = Detector.load(folder / "a.onnx")
    expected = detector.detect(drawn())

    class Closing:
        """Closes the detector while its engine is running."""

        def __init__(self) -> None:
            self.engine = detector.engine

        def run(self, *inputs: Any) -> Any:
            detector.close()
            return self.engine.run(*inputs)

    detector._engine = Closing()
    assert same(detector(drawn()[0]), expected[0])
    with pytest.raises(EngineError, match="closed"):
        detector(drawn()[0])


# Opens a detector, closes it in another thread, and is interrupted.
INTERRUPTED = """
import signal, sys, threading
from pathlib import Path
if sys.argv[3] == "faulthandler":
    import faulthandler
    faulthandler.enable()  # makes an alternate signal stack, too
from nasfpn_runtime.inference.detector import Detector

detector = Detector.load(Path(sys.argv[1]), sys.argv[2])
thread = threading.Thread(target=detector.close)
thread.start()
thread.join()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("stack", ["none", "faulthandler"])
@on_onnx
def test_ctrl_c_arrives_after_a_detector_was_closed_in_another_thread(
    folder: Path, file: str, engine: str, stack: str
) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(folder / file), engine, stack]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


@on_onnx
def test_a_run_that_fails_leaves_the_engine_usable(folder: Path, file: str, engine: str) -> None:
    detector = Detector.load(folder / file, engine)
    expected = detector(drawn(1)[0])
    for _ in range(3):
        inputs = [np.zeros((1, 5, 32, 32), np.float32), np.ones((1, 4), np.float32)]
        with pytest.raises(EngineError, match=r"\(1, 5, 32, 32\)"):
            detector.engine.run(*inputs[: 1 + detector.description.suppressed])
        assert same(detector(drawn(1)[0]), expected)


def test_images_may_come_from_a_generator_that_uses_the_detector(folder: Path) -> None:
    detector = Detector.load(folder / "a.onnx")
    pictures = drawn()
    expected = detector.detect(pictures)
    found = detector.detect(p for p in pictures if len(detector(p)))
    assert all(map(same, expected, found))
