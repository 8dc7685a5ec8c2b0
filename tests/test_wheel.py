"""The wheel: what it holds, and that its commands work in a folder with decoys of our packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from locations import ROOT, TWO_LEVELS
from runs import LIMIT, SMALL

pytestmark = pytest.mark.slow
PACKAGES = ("search_space", "searched_archs", "nasfpn_runtime", "controllers", "tools")
# Modules that a spawned process imports before it gets its path; Python 3.10 cannot protect it.
EARLY = ("random", "pickle", "multiprocessing") if sys.version_info >= (3, 11) else ()
OTHERS = ("yaml", "numpy", "mindspore", "json", "runpy")
SETTINGS = [*SMALL, "training.epochs=1", "training.batch=2", "data.image=[64, 64]"]


def run(command: Sequence[str | Path], folder: Path, **variables: str) -> str:
    """Run a command in a folder as a user would, without this process's ``PYTHONPATH``."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, since building writes beside the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        unused = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=unused)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "-q", "wheel", "--no-index", "--no-deps"]
    run([*pip, "--no-build-isolation", "-w", folder / "built", source], folder)
    (built,) = (folder / "built").glob("nasfpn-*.whl")
    return built


@pytest.fixture(scope="module")
def nasfpn(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in an environment that shares only other packages with this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-index"]
    run([*pip, "--no-deps", wheel], folder)
    # The .pth files there, such as the one of an editable install of this project, have no effect.
    (site,) = folder.glob("lib/python*/site-packages")
    shared = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "shared.pth").write_text("\n".join(sorted(shared)) + "\n")
    where = run([python, "-c", "import tools, controllers; print(tools.__file__)"], folder)
    assert Path(where.strip()).is_relative_to(site)
    return folder / "bin" / "nasfpn"


@pytest.fixture(scope="module")
def decoys(nasfpn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a dataset and modules that fail when they are imported."""
    folder = tmp_path_factory.mktemp("decoys")
    run([nasfpn, "data", "synth", "shapes", "--train", "4", "--val", "2", "--test", "1"], folder)
    for name in (*PACKAGES, *EARLY, *OTHERS):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise ImportError('decoy {name}')\n")
        (folder / name / "__main__.py").write_text(f"raise ImportError('decoy {name}')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "tools"], cwd=folder, capture_output=True, text=True
    )
    assert "decoy tools" in ended.stderr
    return folder


def test_the_wheel_holds_every_file_that_the_packages_use(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    suffixes = {".py", ".json", ".yaml"}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    expected = {path.relative_to(ROOT).as_posix() for path in files if path.suffix in suffixes}
    assert held == expected


def overrides() -> list[str]:
    return [part for setting in SETTINGS for part in ("--set", setting)]


def test_a_search_finds_its_worker(nasfpn: Path, decoys: Path) -> None:
    space = ["--levels", "3-4", "--intermediate-cells", "1", "--trials", "1"]
    space += ["--final", "0"]
    search = ["search", "--data", "shapes", "--recipe", "shapes-proxy", "-o", "found"]
    run([nasfpn, *search, *space, "--controller", "random", *overrides()], decoys)
    assert (decoys / "found" / "best.json").exists()


@pytest.mark.parametrize(
    "options", [("--workers", "2"), ("--devices", "2")], ids=["processes", "cards"]
)
def test_a_training_finds_its_processes(
    nasfpn: Path, decoys: Path, options: tuple[str, str]
) -> None:
    haste = {"MS_RETRY_INTERVAL_LOWER": "1", "MS_RETRY_INTERVAL_UPPER": "1"}
    train = ["train", "--arch", TWO_LEVELS, "--data", "shapes", "--recipe", "shapes"]
    out = f"run{options[0]}"
    run([nasfpn, *train, f"--out={out}", *options, *overrides()], decoys, **haste)
    assert (decoys / out / "checkpoints" / "last.ckpt").exists()


def test_bench_finds_its_pipelines(nasfpn: Path, decoys: Path) -> None:
    printed = run([nasfpn, "bench", "data", "--rounds", "1", "--data", "shapes"], decoys)
    assert "project" in printed


def test_bench_genome_runs(nasfpn: Path, decoys: Path) -> None:
    assert run([nasfpn, "bench", "genome"], decoys)
