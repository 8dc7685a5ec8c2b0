"""Run ONNX files in OpenVINO, on the CPU and in float32.

By default OpenVINO computes in bfloat16 if the CPU supports it; boxes then differ by pixels.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.cluster.sharing import check_usable, register
from nasfpn_runtime.cluster.signal_stack import kept_signal_stack
from nasfpn_runtime.extras import require
from nasfpn_runtime.inference.engines.base import engine_error

_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVino:
    """An ONNX file in OpenVINO; see ``base.Engine``.

    Raises:
        MissingPackageError: openvino is not installed.
        EngineError: it cannot load the file.
    """

    def __init__(self, path: Path) -> None:
        check_usable("openvino")
        core = require("openvino").Core()
        register(self, "openvino")
        try:
            with kept_signal_stack():
                self.model = core.compile_model(core.read_model(str(path)), "CPU", _SETTINGS)
        except RuntimeError as error:
            raise engine_error("openvino", path, error) from None
        # A request runs one input at a time, and its outputs are overwritten by the next run. So
        # each run has a request of its own; there are as many as threads have run at once. A lock
        # around one request is as fast on two cores (`nasfpn bench threads`, docs/results.md).
        self.idle: deque[Any] = deque()

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        try:
            request = self.idle.pop()
        except IndexError:
            request = self.model.create_infer_request()
        try:
            request.infer(list(inputs))
        except RuntimeError as error:
            raise engine_error("openvino", f"an input of {inputs[0].shape}", error) from None
        arrays = tuple(np.array(request.get_tensor(output).data) for output in self.model.outputs)
        self.idle.append(request)  # not after an error
        return arrays
