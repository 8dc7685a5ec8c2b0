"""Run MINDIR files in MindSpore Lite on Ascend 310, 310P and 910.

Written from the documentation of its Python API (mindspore.cn/lite/api, r2.7.1: ``Context``,
``Model``, ``Tensor``) and never run: the package is not on PyPI, and no Ascend device was
available. MindSpore Lite computes in float16 unless its own configuration says otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.extras import require
from nasfpn_runtime.inference.engines.base import engine_error


class MindSporeLite:
    """A MINDIR file in MindSpore Lite; see ``base.Engine``.

    Args:
        device: number of the Ascend device.

    Raises:
        MissingPackageError: mindspore_lite is not installed.
        EngineError: it cannot load the file.
    """

    def __init__(self, path: Path, device: int = 0) -> None:
        lite = require("mindspore_lite")
        context = lite.Context()
        context.target = ["ascend"]
        context.ascend.device_id = device
        self.model = lite.Model()
        try:
            self.model.build_from_file(str(path), lite.ModelType.MINDIR, context)
        except RuntimeError as error:
            raise engine_error("mindspore_lite", path, error) from None

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """See ``base.Engine``."""
        slots = self.model.get_inputs()
        shapes = [list(x.shape) for x in inputs]
        try:
            if [list(slot.shape) for slot in slots] != shapes:
                self.model.resize(slots, shapes)
                slots = self.model.get_inputs()
            for slot, x in zip(slots, inputs, strict=True):
                slot.set_data_from_numpy(np.ascontiguousarray(x))
            outputs = self.model.predict(slots)
        except RuntimeError as error:
            raise engine_error("mindspore_lite", f"an input of {inputs[0].shape}", error) from None
        return tuple(output.get_data_to_numpy().copy() for output in outputs)
