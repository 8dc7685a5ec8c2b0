"""An ONNX graph, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Opset 13, of 2020, is the first in which all that is used here has its present form; IR 7 is
# of the same release (onnx 1.8). Older runtimes read no newer ones.
OPSET, IR_VERSION = 13, 7
FLOAT32 = np.dtype(np.float32)


class OnnxGraph:
    """Nodes and constants; a value is its name.

    Args:
        dtype: of the network's constants and arithmetic, float32 or float16.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, called ``name`` as the node is; return that name."""
        return self.add_many(op, (name,), *inputs, **attributes)[0]

    def add_many(
        self, op: str, names: tuple[str, ...], *inputs: str, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node with several outputs, an unused one named ``""``."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, names, names[-1], **attributes))
        return names

    def constant(self, name: str, value: object, dtype: np.dtype[Any] | type | None = None) -> str:
        """Add a constant, by default of the network's type; one with the same name is the same."""
        if name not in self.constants:
            self.constants[name] = np.asarray(value, dtype or self.dtype)
        return name

    def integers(self, *values: int) -> str:
        """Add a vector of int64."""
        return self.constant(f"int64.{'.'.join(map(str, values))}", values, np.int64)

    def model(
        self,
        inputs: Mapping[str, Sequence[int | str]],
        outputs: Mapping[str, tuple[type, Sequence[int | str]]],
        metadata: Mapping[str, str],
        producer_version: str,
    ) -> Any:
        """Return the ``onnx.ModelProto``, checked.

        Args:
            inputs: shapes by name, float32; a side that is not fixed has a name.
            outputs: types and shapes by name.
        """
        import onnx
        from onnx import helper, numpy_helper

        def described(name: str, kind: type, shape: Sequence[int | str]) -> Any:
            code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
            return helper.make_tensor_value_info(name, code, shape)

        graph = helper.make_graph(
            self.nodes,
            "detector",
            [described(name, np.float32, shape) for name, shape in inputs.items()],
            [described(name, *rest) for name, rest in outputs.items()],
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
