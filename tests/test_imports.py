"""The arrows between packages, and what a bare import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
# The proxy is where controllers meet the runtime.
EXTRA = {"controllers/proxy.py": {"nasfpn_runtime"}}


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
        assert found & set(PACKAGES) <= allowed, relative
        assert not found & FORBIDDEN[package], relative


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("search_space", ("mindspore", "optuna", "matplotlib")),
        ("searched_archs", ("mindspore", "optuna", "matplotlib")),
        ("controllers", ("mindspore", "matplotlib")),
        ("nasfpn_runtime", ("mindspore", "optuna", "matplotlib")),
        ("nasfpn_runtime.plan", ("mindspore",)),
        ("tools.cli", ("mindspore", "optuna", "matplotlib", "numpy", "networkx")),
    ],
)
def test_importing_loads_no_more_than_it_needs(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
