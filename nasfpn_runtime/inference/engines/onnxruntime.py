"""ONNX files in ONNX Runtime: on CUDA where its package can, else on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.extras import require
from nasfpn_runtime.inference.engines.base import refused

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_ERRORS_ONLY = 3


class OnnxRuntime:
    """See ``base.Engine``."""

    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        known = runtime.get_available_providers()
        chosen = [provider for provider in PROVIDERS if provider in known]
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=chosen)
        except Exception as error:  # its errors have no class of their own
            raise refused("onnxruntime", path, error) from None
        self.names = [value.name for value in self.session.get_inputs()]

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        try:
            return tuple(self.session.run(None, dict(zip(self.names, inputs, strict=True))))
        except Exception as error:  # as above
            raise refused("onnxruntime", f"an input of {inputs[0].shape}", error) from None
