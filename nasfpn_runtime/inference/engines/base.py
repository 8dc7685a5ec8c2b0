"""The interface of all engines, and the error they raise."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import EngineError

BATCH = 8  # images in a batch, unless a file or recipe requires fewer


class Engine(Protocol):
    """A detector that is loaded and ready to run."""

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Return boxes (N, A, 4) xyxy px of the input and scores (N, A, K), float32.

        Args:
            inputs: images (N, 3, H, W). A file whose description says ``suppressed`` also
                takes placements (N, 4) and returns boxes (N, M, 4), scores (N, M) and labels
                (N, M), see ``onnx_suppression.suppress``.

        Raises:
            EngineError: the runtime cannot run these inputs.
        """
        ...


def engine_error(engine: str, what: object, error: Exception) -> EngineError:
    """Return the error to raise if a runtime fails, with the first line of its message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return EngineError(f"{engine} cannot run {what}: {lines[0]}")
