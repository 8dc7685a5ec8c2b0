"""Read checkpoint files of any framework into numpy arrays; no file can run code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import CheckpointError
from nasfpn_runtime.extras import require
from nasfpn_runtime.importers.safetensors import read_safetensors
from search_space.errors import UserError

Arrays = dict[str, NDArray[Any]]
WRAPPERS = ("state_dict", "model", "model_state_dict")  # keys that training programs wrap with


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of a file by name.

    ``.pth``, ``.pt`` (torch, from the extra ``[torch]``; in its weights-only mode),
    ``.safetensors``, ``.npz``, ``.ckpt`` (MindSpore), or the prefix or ``.index`` file of a
    TensorFlow checkpoint (from the extra ``[tf]``). bfloat16 becomes float32.

    Raises:
        CheckpointError: no such file, or not a whole file of its kind, or it holds more than
            arrays; told in one line.
    """
    if path.suffix == ".index" or path.with_name(f"{path.name}.index").is_file():
        return _reading(_read_tensorflow, path)
    if path.is_dir():
        raise CheckpointError(f"a checkpoint is a file, got the folder {path}")
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty")
    if path.suffix not in READERS:
        raise CheckpointError(
            f"a checkpoint ends in {', '.join(READERS)} or is a TensorFlow one (NAME with "
            f"NAME.index beside it), got {path}"
        )
    return _reading(READERS[path.suffix], path)


def _reading(read: Callable[[Path], Arrays], path: Path) -> Arrays:
    try:
        arrays = read(path)
    except UserError:
        raise
    # A parser of foreign bytes: whatever it stumbles over, the file is at fault.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} is not a whole checkpoint: {reason}") from None
    if not arrays:
        raise CheckpointError(f"{path} holds no arrays")
    return arrays


def _read_torch(path: Path) -> Arrays:
    torch = require("torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the format, besides the error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise CheckpointError(
            f"{path} holds more than tensors, or is no torch file, and was not run: {reason}"
        ) from None
    tensors = {name: v for name, v in _unwrap(content, path).items() if torch.is_tensor(v)}
    return {
        name: (v.float() if v.dtype == torch.bfloat16 else v).detach().numpy()
        for name, v in tensors.items()
    }


def _unwrap(content: Any, path: Path) -> Mapping[str, Any]:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} is a mapping of names to tensors, got {type(content)}")
    return content


def _read_npz(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is not a whole checkpoint: no .npz archive")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_mindspore(path: Path) -> Arrays:
    import mindspore

    entries: dict[str, Any] = mindspore.load_checkpoint(str(path))
    tensors = {name: value for name, value in entries.items() if hasattr(value, "asnumpy")}
    return {
        name: (v.float() if v.dtype == mindspore.bfloat16 else v).asnumpy()
        for name, v in tensors.items()
    }


def _read_tensorflow(path: Path) -> Arrays:
    tf = require("tensorflow")
    reader = tf.train.load_checkpoint(str(path).removesuffix(".index"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


READERS: dict[str, Callable[[Path], Arrays]] = {
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": read_safetensors,
    ".npz": _read_npz,
    ".ckpt": _read_mindspore,
}
