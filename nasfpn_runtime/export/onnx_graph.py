"""An ONNX graph, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Opset 13 (2020) is the first in which all operators used here have their present form. IR version
# 7 is of the same release (onnx 1.8). Older runtimes cannot read newer versions.
OPSET, IR_VERSION = 13, 7
FLOAT32 = np.dtype(np.float32)


class OnnxGraph:
    """Nodes and constants. A value is represented by its name.

    Args:
        dtype: type of the network's constants and arithmetic, float32 or float16.

    Attributes:
        nodes: ``onnx.NodeProto`` in the order in which they were added.
        constants: by name.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; both are called ``name``. Return it."""
        return self.add_many(op, (name,), *inputs, **attributes)[0]

    def add_many(
        self, op: str, names: tuple[str, ...], *inputs: str, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node with several outputs and return their names; ``""`` is an unused output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, names, names[-1], **attributes))
        return names

    def constant(self, name: str, value: object, dtype: np.dtype[Any] | type | None = None) -> str:
        """Add a constant, unless there is one of this name; the default dtype is the network's."""
        if name not in self.constants:
            self.constants[name] = np.asarray(value, dtype or self.dtype)
        return name

    def integers(self, *values: int) -> str:
        """Add a constant vector of int64."""
        return self.constant(f"int64.{'.'.join(map(str, values))}", values, np.int64)

    def model(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, tuple[type, Sequence[int | str]]],
        metadata: Mapping[str, str],
        producer_version: str,
    ) -> Any:
        """Return the graph as an ``onnx.ModelProto`` that has passed onnx's checker.

        Args:
            inputs: shapes of the float32 inputs, by name. A dimension that is not fixed is a
                string.
            outputs: types and shapes by name.
            metadata: texts to store in the file, by key.
        """
        import onnx
        from onnx import helper, numpy_helper

        def value_info(name: str, kind: type, shape: Sequence[int | str]) -> Any:
            code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
            return helper.make_tensor_value_info(name, code, shape)

        graph = helper.make_graph(
            self.nodes,
            "detector",
            [value_info(name, np.float32, shape) for name, shape in inputs.items()],
            [value_info(name, *rest) for name, rest in outputs.items()],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nasfpn",
            producer_version=producer_version,
        )
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return model
