"""Which engine runs which file."""

from __future__ import annotations

from pathlib import Path

from nasfpn_runtime.errors import CheckpointError, EngineError
from nasfpn_runtime.inference.description import ENTRY, Description, from_json
from nasfpn_runtime.inference.engines.base import Engine
from nasfpn_runtime.inference.metadata import read_entries

# Engines of each kind of file, the usual one first.
ENGINES: dict[str, tuple[str, ...]] = {
    ".ckpt": ("mindspore",),
    ".mindir": ("mindspore", "mindspore_lite"),
    ".onnx": ("onnxruntime", "openvino"),
}


def open_model(
    path: Path, engine: str | None = None, stacks: int | None = None
) -> tuple[Engine, Description]:
    """Return a checkpoint or exported file, loaded, and what it says about itself.

    Args:
        engine: one of ``ENGINES`` of the file's kind; None for the first.
        stacks: of a checkpoint, cut after so many.

    Raises:
        EngineError: the engine does not read such files, is not installed, or refuses the
            file; or an exported file is to be cut.
        CheckpointError: the file is missing, broken, or not of this program.
        RecipeError: there are fewer stacks.
    """
    engine = engine_of(path, engine)
    if path.suffix == ".ckpt":
        from nasfpn_runtime.inference.engines.mindspore import open_checkpoint

        return open_checkpoint(path, stacks)
    if stacks is not None:
        raise EngineError(f"stacks are cut when a file is exported, got one already (at {path})")
    description = read_description(path)
    return _open(path, engine), description


def engine_of(path: Path, engine: str | None = None) -> str:
    """Return the engine that runs a file.

    Raises:
        EngineError: none does, or not this one.
    """
    known = ENGINES.get(path.suffix)
    if known is None:
        raise EngineError(f"a detector's file ends in {', '.join(ENGINES)}, got {path}")
    if engine is not None and engine not in known:
        raise EngineError(
            f"a {path.suffix} file runs in {' or '.join(known)}, got {engine} (at {path})"
        )
    return engine or known[0]


def read_description(path: Path) -> Description:
    """Return what an exported file says about itself; no engine is needed.

    Raises:
        CheckpointError: the file is missing, broken, or not of this program.
    """
    entries = read_entries(path)
    if ENTRY not in entries:
        raise CheckpointError(
            f"{path} was not written by nasfpn export: it does not describe itself"
        )
    return from_json(entries[ENTRY], str(path))


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
    from nasfpn_runtime.inference.engines.mindspore import Mindir

    return Mindir(path)
