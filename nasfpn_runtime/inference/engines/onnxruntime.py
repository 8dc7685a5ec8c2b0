"""Run ONNX files in ONNX Runtime: on CUDA if the installed package supports it, else on CPU.

A session may be run by any number of threads at once (ONNX Runtime, C API, ``OrtApi::Run``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.cluster.sharing import register
from nasfpn_runtime.extras import require
from nasfpn_runtime.inference.engines.base import engine_error

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_ERRORS_ONLY = 3  # a value of log_severity_level


class OnnxRuntime:
    """An ONNX file in ONNX Runtime; see ``base.Engine``.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        EngineError: it cannot load the file.
    """

    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime")
        register(self, "onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        available = runtime.get_available_providers()
        providers = [provider for provider in PROVIDERS if provider in available]
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's errors have no public base class
            raise engine_error("onnxruntime", path, error) from None
        self.names = [value.name for value in self.session.get_inputs()]

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        try:
            return tuple(self.session.run(None, dict(zip(self.names, inputs, strict=True))))
        except Exception as error:  # as above
            raise engine_error("onnxruntime", f"an input of {inputs[0].shape}", error) from None
