"""ONNX files in OpenVINO, on the CPU and in float32.

By itself it computes in bfloat16 where the CPU can, and boxes differ by pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.extras import require
from nasfpn_runtime.inference.engines.base import refused

_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVino:
    """See ``base.Engine``."""

    def __init__(self, path: Path) -> None:
        core = require("openvino").Core()
        try:
            self.model = core.compile_model(core.read_model(str(path)), "CPU", _SETTINGS)
        except RuntimeError as error:
            raise refused("openvino", path, error) from None

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        try:
            found = self.model(list(inputs))
        except RuntimeError as error:
            raise refused("openvino", f"an input of {inputs[0].shape}", error) from None
        return tuple(np.array(found[output]) for output in self.model.outputs)
