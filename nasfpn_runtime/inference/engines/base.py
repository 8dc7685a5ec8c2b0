"""What every engine does, and what is said where one is missing."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import EngineError

BATCH = 8  # pictures that are run together, where nothing asks for fewer


class Engine(Protocol):
    """A detector that is loaded and runs."""

    def run(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Return boxes (N, A, 4) xyxy px of the input and scores (N, A, K), float32.

        Args:
            inputs: images (N, 3, H, W). A file whose description says ``suppressed`` also
                takes placements (N, 4) and gives (N, M, 4), (N, M) and labels (N, M), see
                ``onnx_suppression.suppress``.

        Raises:
            EngineError: the runtime refuses.
        """
        ...


def refused(engine: str, what: object, error: Exception) -> EngineError:
    """Return what to raise where a runtime refuses: its own first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return EngineError(f"{engine} cannot run {what}: {lines[0]}")
