"""Read checkpoint files of any framework as numpy arrays, without running code from them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasfpn_runtime.errors import CheckpointError, MissingPackageError
from nasfpn_runtime.extras import require
from nasfpn_runtime.importers.safetensors import read_safetensors
from nasfpn_runtime.network.integrity import has_checksum
from search_space.errors import UserError

Arrays = dict[str, NDArray[Any]]
# Keys under which training programs store the weights, beside other state.
WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_arrays(path: Path) -> Arrays:
    """Return the arrays of a file by name; bfloat16 becomes float32.

    The format is known from the suffix: ``.pth`` and ``.pt`` (torch, in its weights-only mode;
    needs the extra ``[torch]``), ``.safetensors``, ``.npz``, ``.ckpt`` (MindSpore). The prefix
    or the ``.index`` file of a TensorFlow checkpoint is read, too (needs the extra ``[tf]``).

    Raises:
        CheckpointError: there is no such file, it is not a complete file of its format, or
            it holds more than arrays. The message is one line.
        MissingPackageError: the framework is not installed.
    """
    if path.suffix == ".index" or path.with_name(f"{path.name}.index").is_file():
        return _read_with(_read_tensorflow, path)
    if path.is_dir():
        raise CheckpointError(f"a checkpoint must be a file, got a folder (at {path})")
    if not path.is_file():
        raise CheckpointError(f"a checkpoint must be a file, got none (at {path})")
    if path.stat().st_size == 0:
        raise CheckpointError(f"a checkpoint must have content, got an empty file (at {path})")
    if path.suffix not in READERS:
        raise CheckpointError(
            f"a checkpoint must end in {', '.join(READERS)}, or have a file NAME.index beside it "
            f"(TensorFlow), got {path}"
        )
    return _read_with(READERS[path.suffix], path)


def _read_with(read: Callable[[Path], Arrays], path: Path) -> Arrays:
    try:
        arrays = read(path)
    except MissingPackageError as error:
        raise MissingPackageError(f"cannot read {path}: {error}") from None
    except UserError:
        raise
    # The parsers of other packages read foreign bytes: any error of theirs is the file's fault.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _incomplete(path, reason) from None
    if not arrays:
        raise CheckpointError(f"a checkpoint must have arrays, got none (at {path})")
    return arrays


def _incomplete(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"cannot read {path} as a complete checkpoint: {reason}")


def _read_torch(path: Path) -> Arrays:
    torch = require("torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they repeat what the error says
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise CheckpointError(
            f"cannot read {path}: it is not a torch file, or has more than tensors in it, which "
            f"could run code: {reason}"
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
        raise CheckpointError(
            f"a checkpoint must be a mapping of names to tensors, got {type(content)} (at {path})"
        )
    return content


def _read_npz(path: Path) -> Arrays:
    if not zipfile.is_zipfile(path):
        raise _incomplete(path, "no .npz archive")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_mindspore(path: Path) -> Arrays:
    import mindspore

    # MindSpore warns of a file without a checksum, which most files of others are.
    entries: dict[str, Any] = mindspore.load_checkpoint(str(path), crc_check=has_checksum(path))
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
