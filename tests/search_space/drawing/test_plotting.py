"""Figures are drawn whatever MPLBACKEND names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from locations import ROOT

PACKAGES = ("search_space", "searched_archs", "nasfpn_runtime", "controllers", "tools")
# Packages that are, or import, matplotlib.
PLOTTING = {"matplotlib", "pycocotools"}


def plotting_modules() -> dict[str, Path]:
    """Return the modules that import matplotlib when they are imported, but for the first one."""
    modules = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            names = imports(path)
            if path.stem != "plotting" and any(name.split(".")[0] in PLOTTING for name in names):
                modules[".".join(path.relative_to(ROOT).with_suffix("").parts)] = path
    return modules


def imports(path: Path) -> list[str]:
    """Return the names of the modules that a file imports at its top level, in order."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(str(node.module))
    return names


def test_plotting_is_imported_before_matplotlib() -> None:
    modules = plotting_modules()
    assert len(modules) >= 7
    for module, path in modules.items():
        names = imports(path)
        first = min(i for i, name in enumerate(names) if name.split(".")[0] in PLOTTING)
        assert "search_space.plotting" in names[:first], module


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["foo", "module://matplotlib_inline.backend_inline", ""])
def test_a_backend_that_is_missing_is_no_error(backend: str, tmp_path: Path) -> None:
    code = (
        "import importlib, os, sys\n"
        "for module in sys.argv[1:]: importlib.import_module(module)\n"
        "from search_space import draw_genome\n"
        "from searched_archs import load\n"
        "draw_genome(load('fpn'), 'a.svg')\n"
        "print(os.environ['MPLBACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *plotting_modules()],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{backend}\n"  # other programs and libraries may read it
    assert (tmp_path / "a.svg").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.parametrize("variables", [("MPLCONFIGDIR",), ("HOME", "XDG_CACHE_HOME")])
def test_nothing_is_said_of_a_folder_that_cannot_be_written(
    variables: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    usual = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG"))}
    environment = {**usual, **dict.fromkeys(variables, str(tmp_path / "file" / "in"))}
    code = (
        "import logging\n"
        "from search_space import draw_genome\n"
        "from searched_archs import load\n"
        "draw_genome(load('fpn'), 'a.svg')\n"
        "logging.getLogger('matplotlib').warning('shown')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "shown\n")
    assert (tmp_path / "a.svg").stat().st_size > 0


def test_a_backend_that_exists_is_kept() -> None:
    code = "import search_space.plotting, matplotlib; print(matplotlib.get_backend())"
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "svg\n"
