"""The Python code of docs/export.md, executed as it is written there."""

from __future__ import annotations

import http.server
import io
import itertools
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from locations import ROOT
from nasfpn_runtime.data.drawn import draw_picture
from nasfpn_runtime.inference.detector import Detector
from shared_detectors import write_files

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "export.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def code_with(text: str) -> str:
    """Return the only Python code of the page in which a text occurs."""
    (code,) = (code for code in CODE if text in code)
    return code


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_files(folder)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["b.onnx", "b-any.onnx", "fixed.onnx"])
@pytest.mark.parametrize("shape", [(100, 150), (150, 100), (31, 200), (96, 64)])
def test_plain_onnxruntime_gives_the_boxes_of_a_detector(
    files: Path, here: Path, file: str, shape: tuple[int, int]
) -> None:
    (here / "best.onnx").write_bytes((files / file).read_bytes())
    picture = draw_picture(200, np.random.default_rng(shape[0]))[0][: shape[0], : shape[1]]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a viewer
    Image.fromarray(picture).save("image.jpg", quality=95, exif=exif)
    values: dict[str, Any] = {}
    exec(code_with("session.run"), values)
    (boxes,), (scores,), scale = (values[name] for name in ("boxes", "scores", "scale"))
    width, height = shape  # turned: the rows of the file are the columns that are shown
    boxes = (boxes / [*scale, *scale]).clip(0, np.array([width, height, width, height]))
    found = Detector.load("best.onnx")("image.jpg")
    assert len(found) > 3
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        distance = np.abs(boxes - box).max(axis=1) + 100 * np.abs(scores[:, label] - score)
        assert distance.min() < 0.02
    assert int(values["metadata"]["stride"]) == 32


def test_any_multiples_of_the_stride_are_sides_of_an_input(files: Path) -> None:
    session = onnxruntime.InferenceSession(files / "b-any.onnx")
    stride = int(session.get_modelmeta().custom_metadata_map["stride"])
    for height, width in itertools.product((stride, 2 * stride, 5 * stride), repeat=2):
        images = np.zeros((2, 3, height, width), np.float32)
        boxes, scores = session.run(None, {"images": images})
        count = 9 * sum((height >> level) * (width >> level) for level in (3, 4, 5))
        assert boxes.shape == (2, count, 4)
        assert scores.shape == (2, count, 3)


@pytest.fixture
def service(files: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the service on the page, which is running in a thread."""
    servers: list[http.server.ThreadingHTTPServer] = []
    ready = threading.Event()

    class Server(http.server.ThreadingHTTPServer):
        def service_actions(self) -> None:
            servers[:] = [self]
            ready.set()

    monkeypatch.setattr(http.server, "ThreadingHTTPServer", Server)
    monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "log_message", lambda *_: None)
    (here / "best.onnx").write_bytes((files / "a.onnx").read_bytes())
    code = code_with("serve_forever").replace("8000", "0")  # any free port
    thread = threading.Thread(target=exec, args=(code, {"__name__": "service"}))
    thread.start()
    assert ready.wait(60)
    yield f"http://127.0.0.1:{servers[0].server_port}"
    servers[0].shutdown()
    thread.join()
    servers[0].server_close()


def test_the_service_answers_many_callers_at_once(service: str) -> None:
    rng = np.random.default_rng(0)
    pictures = [draw_picture(int(side), rng)[0] for side in rng.integers(80, 200, 8)]

    def ask(number: int) -> Any:
        file = io.BytesIO()
        Image.fromarray(pictures[number % 8]).save(file, "png")
        with urllib.request.urlopen(service, file.getvalue()) as answer:
            return json.load(answer)

    expected = Detector.load("best.onnx").detect(pictures)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    for number, answer in enumerate(answers):
        found = expected[number % 8]
        assert [row["name"] for row in answer] == list(found.names)
        np.testing.assert_allclose([row["box"] for row in answer], found.boxes, atol=1e-3)
        np.testing.assert_allclose([row["score"] for row in answer], found.scores, atol=1e-5)
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(service, b"not an image")
