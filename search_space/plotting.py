"""Matplotlib, imported without regard to the environment variable MPLBACKEND.

Matplotlib reads the variable when it is imported, and raises an error if the backend it names is
not installed. That happens where a notebook has set it and the command runs in another
environment. Figures are made without pyplot here, so no backend is needed.

Import this module before matplotlib.
"""

from __future__ import annotations

import contextlib
import os
import sys


def _import_matplotlib() -> None:
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):  # for pyplot in a notebook that has the backend
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
