"""Choose the engine for a file, and load the file in it."""

from __future__ import annotations

from pathlib import Path

from nasfpn_runtime.errors import CheckpointError, EngineError
from nasfpn_runtime.inference.checksum import check_checksum
from nasfpn_runtime.inference.description import ENTRY, Description, from_json
from nasfpn_runtime.inference.engines.base import Engine
from nasfpn_runtime.inference.metadata import read_entries

# File suffix -> engines that run such files, the default first.
ENGINES: dict[str, tuple[str, ...]] = {
    ".ckpt": ("mindspore",),
    ".mindir": ("mindspore", "mindspore_lite"),
    ".onnx": ("onnxruntime", "openvino"),
}


def open_model(
    path: Path, engine: str | None = None, stacks: int | None = None, *, progress: bool = False
) -> tuple[Engine, Description]:
    """Load a checkpoint or exported file; return it and its description.

    Args:
        engine: one of ``ENGINES`` for the file's suffix; None for the first.
        stacks: number of stacks to keep of a checkpoint's pyramid; None for all.
        progress: report on standard error while MindSpore compiles the network.

    Raises:
        EngineError: the engine does not run such files or cannot load this one, or ``stacks``
            is given for an exported file.
        MissingPackageError: the engine is not installed.
        CheckpointError: the file is missing, broken, or not written by this program.
        RecipeError: the pyramid has fewer stacks.
    """
    engine = engine_of(path, engine)
    if path.suffix == ".ckpt":
        from nasfpn_runtime.inference.engines.mindspore import open_checkpoint

        return open_checkpoint(path, stacks, progress=progress)
    if stacks is not None:
        raise EngineError(
            f"stacks must be chosen when a file is exported, got {stacks} for an exported file "
            f"(at {path})"
        )
    description = read_description(path)
    return _open(path, engine), description


def engine_of(path: Path, engine: str | None = None) -> str:
    """Return the name of the engine for a file: ``engine`` if given, else the default.

    Raises:
        EngineError: no engine runs such files, or ``engine`` does not.
    """
    known = ENGINES.get(path.suffix)
    if known is None:
        raise EngineError(f"a detector's file must end in {', '.join(ENGINES)}, got {path}")
    if engine is not None and engine not in known:
        raise EngineError(
            f"the engine of a {path.suffix} file must be {' or '.join(known)}, got {engine} "
            f"(at {path})"
        )
    return engine or known[0]


def read_description(path: Path) -> Description:
    """Return the description inside an exported file, checked to be as written; needs no engine.

    Raises:
        CheckpointError: the file is missing, damaged, or not written by this program.
    """
    entries = read_entries(path)
    if ENTRY not in entries:
        raise CheckpointError(
            f"{path} has no description of its detector: it was not written by nasfpn export"
        )
    description, checksum = from_json(entries[ENTRY].text, str(path))
    if checksum is not None:  # files of earlier versions have none
        check_checksum(path, entries[ENTRY], checksum)
    return description


def _open(path: Path, engine: str) -> Engine:
    if engine == "onnxruntime":
        from nasfpn_runtime.inference.engines.onnxruntime import OnnxRuntime

        return OnnxRuntime(path)
    if engine == "openvino":
        from nasfpn_runtime.inference.engines.openvino import OpenVino

        return OpenVino(path)
    if engine == "mindspore_lite":
        from nasfpn_runtime.inference.engines.mindspore_lite import MindSporeLite

        return MindSporeLite(path)
    from nasfpn_runtime.inference.engines.mindspore import MindirEngine

    return MindirEngine(path)
