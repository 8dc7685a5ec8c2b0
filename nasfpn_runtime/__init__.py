"""The MindSpore side: build, train, score any genome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasfpn_runtime.device import guard_isa

if TYPE_CHECKING:
    from nasfpn_runtime.detector import Detector
    from nasfpn_runtime.networks import build_detector, build_pyramid

__all__ = ["Detector", "build_detector", "build_pyramid"]

# The one thing done at import: it must come before the process's first convolution.
guard_isa()


def __getattr__(name: str) -> Any:
    # Not imported above, so that reading a recipe does not load MindSpore.
    if name == "Detector":
        from nasfpn_runtime import detector

        return detector.Detector
    if name in __all__:
        from nasfpn_runtime import networks

        return getattr(networks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
