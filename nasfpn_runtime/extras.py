"""Optional packages: what each is needed for, and how to install it."""

from __future__ import annotations

import importlib
from typing import Any

from nasfpn_runtime.errors import MissingPackageError

# Package -> what needs it, and where it comes from.
PACKAGES = {
    "onnx": ("writing ONNX files", "pip install 'nasfpn[onnx]'"),
    "onnxruntime": ("running ONNX files", "pip install 'nasfpn[onnx]'"),
    "openvino": ("the engine openvino", "pip install 'nasfpn[openvino]'"),
    "mindspore_lite": (
        "the engine mindspore_lite",
        "it is not on PyPI; www.mindspore.cn/lite has its wheels",
    ),
    "torch": (
        "reading .pth and .pt files",
        "pip install 'nasfpn[torch]', or save the arrays by name as .npz where it is installed",
    ),
    "tensorflow": (
        "reading TensorFlow checkpoints",
        "pip install 'nasfpn[tf]', or save the arrays by name as .npz where it is installed",
    ),
    "tensorboardX": ("--tensorboard", "pip install 'nasfpn[tensorboard]'"),
    "imageio_ffmpeg": (
        "reading videos without ffmpeg on the PATH",
        "pip install 'nasfpn[video]', or install FFmpeg",
    ),
    "moxing": (
        "obs:// addresses",
        "it is part of ModelArts' own images and not on PyPI; give local folders elsewhere",
    ),
}


def require(package: str) -> Any:
    """Import an optional package and return it.

    Args:
        package: a key of ``PACKAGES``.

    Raises:
        MissingPackageError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    # All errors, because a package that does not fit the others raises any of them when imported.
    except Exception as error:
        purpose, remedy = PACKAGES[package]
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MissingPackageError(
            f"{purpose} needs the package {package}, which cannot be imported ({reason}): {remedy}"
        ) from None
