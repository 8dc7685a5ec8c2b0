"""Matplotlib, imported whatever its environment is.

Matplotlib reads the variable MPLBACKEND when it is imported, and raises an error if the backend it
names is not installed. That happens where a notebook has set it and the command runs in another
environment. Figures are made without pyplot here, so no backend is needed.

It also logs warnings if its folder for settings and fonts cannot be written (MPLCONFIGDIR, HOME),
as in many containers, and if it takes long to list the fonts. It then uses a temporary folder,
which is all that is needed here, so these warnings are not shown.

Import this module before matplotlib.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys


def _import_matplotlib() -> None:
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import matplotlib
        import matplotlib.font_manager  # finds the folder and lists the fonts
    finally:
        logger.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):  # for pyplot in a notebook that has the backend
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
