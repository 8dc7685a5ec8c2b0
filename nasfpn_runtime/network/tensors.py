"""Conversion of numpy arrays to MindSpore tensors."""

from __future__ import annotations

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray


def as_tensor(array: NDArray[np.generic]) -> Tensor:
    """Return a tensor with the values and dtype of an array; it may share the array's memory."""
    return Tensor.from_numpy(np.ascontiguousarray(array))
