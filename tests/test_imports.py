"""The arrows between packages, and what a bare import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from locations import ROOT

PACKAGES = ("search_space", "searched_archs", "nasfpn_runtime", "controllers", "tools")

# package -> what its files may import of ours, and which third parties they may not
ALLOWED = {
    "search_space": {"search_space"},
    "searched_archs": {"searched_archs", "search_space"},
    "nasfpn_runtime": {"nasfpn_runtime", "searched_archs", "search_space"},
    "controllers": {"controllers", "search_space"},
    "tools": set(PACKAGES),
}
FORBIDDEN = {
    "search_space": {"mindspore", "optuna"},
    "searched_archs": {"mindspore", "optuna", "matplotlib"},
    "nasfpn_runtime": {"optuna"},
    "controllers": set(),
    "tools": {"mindspore"},
}
# Candidates are where controllers meet the runtime.
CANDIDATE = "controllers/candidate.py"
EXTRA = {CANDIDATE: {"nasfpn_runtime"}}

# The folders of nasfpn_runtime from the bottom up: each imports only from those before it.
FOLDERS = (
    "pictures",
    "recipe",
    "data",
    "cluster",
    "network",
    "batches",
    "inference",
    "scoring",
    "training",
    "export",
    "importers",
    "predict",
    "bench",
)
# Modules beside the folders, which any of them may import; __init__ is the public face.
BESIDE = {
    "__init__",
    "documents",
    "errors",
    "extras",
    "files",
    "interrupts",
    "outputs",
    "processes",
    "progress",
}
# Those of them that all controllers may import; only candidates may import from the folders.
FOR_CONTROLLERS = BESIDE - {"__init__"}


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_files_import_along_the_arrows(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        relative = path.relative_to(ROOT).as_posix()
        found = imported(path)
        allowed = ALLOWED[package] | EXTRA.get(relative, set())
        if package == "controllers" and runtime_modules(path) <= FOR_CONTROLLERS:
            allowed = allowed | {"nasfpn_runtime"}
        assert found & set(PACKAGES) <= allowed, relative
        assert not found & FORBIDDEN[package], relative


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("search_space", ("mindspore", "optuna", "matplotlib")),
        ("searched_archs", ("mindspore", "optuna", "matplotlib")),
        ("controllers", ("mindspore", "matplotlib")),
        ("nasfpn_runtime", ("mindspore", "optuna", "matplotlib")),
        ("search_space.wiring", ("mindspore",)),
        *(
            (f"nasfpn_runtime.{name}", ("mindspore", "optuna", "matplotlib"))
            for name in sorted(FOR_CONTROLLERS)
        ),
        ("tools.cli", ("mindspore", "optuna", "matplotlib", "numpy", "networkx")),
    ],
)
def test_importing_loads_no_more_than_it_needs(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def runtime_modules(path: Path) -> set[str]:
    """Return the second words of what a file imports from the runtime: folders and modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "nasfpn_runtime":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("nasfpn_runtime."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] for name in names if name[0] == "nasfpn_runtime" and name[1:]}
    return found


def test_the_runtime_is_these_folders_and_no_other_module() -> None:
    runtime = ROOT / "nasfpn_runtime"
    folders = {path.parent.name for path in runtime.glob("*/__init__.py")}
    assert folders == set(FOLDERS)
    assert {path.stem for path in runtime.glob("*.py")} == BESIDE


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_those_below_it(folder: str) -> None:
    below = {*FOLDERS[: FOLDERS.index(folder) + 1], *BESIDE}
    files = sorted((ROOT / "nasfpn_runtime" / folder).rglob("*.py"))
    assert files
    for path in files:
        assert runtime_modules(path) <= below, path.relative_to(ROOT).as_posix()


def test_modules_beside_the_folders_import_none_of_them() -> None:
    for name in BESIDE - {"__init__"}:
        assert runtime_modules(ROOT / "nasfpn_runtime" / f"{name}.py") <= BESIDE, name
