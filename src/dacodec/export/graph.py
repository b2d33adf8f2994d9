"""An ONNX graph under construction: nodes one after the other, weights and constants by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET = 18
IR_VERSION = 9  # of the first releases with this opset, so that older runtimes read the file
END = 2**63 - 1  # as the end of a slice

TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


class Graph:
    """Calling it adds a node and gives the name of its output.

    Args:
        half: store convolution weights in half precision, with a cast that runtimes compute once, when they load
            the file. All else stays float32: the quantizer, whose search must be exact, biases and Snake alphas.
    """

    def __init__(self, half: bool = False) -> None:
        self._half = half
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._casts: dict[str, str] = {}

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        output = f"{operator.lower()}_{len(self._nodes)}"
        return self.named(output, operator, *inputs, **attributes)

    def named(self, output: str, operator: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """``x`` [B, sum of sizes] in parts."""
        outputs = [f"{x}_{i}" for i in range(len(sizes))]
        self._nodes.append(helper.make_node("Split", [x, self.ints(*sizes)], outputs, f"{x}_split", axis=1))
        return outputs

    def ints(self, *values: int) -> str:
        return self._constant(f"ints_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def integer(self, value: int) -> str:
        """A scalar."""
        return self._constant(f"int_{value}", np.array(value, np.int64))

    def real(self, value: float) -> str:
        return self._constant(f"float_{value:g}", np.array(value, np.float32))

    def weight(self, name: str, tensor: Tensor) -> str:
        return self._constant(name, tensor.detach().float().cpu().numpy())

    def table(self, name: str, values: NDArray[np.int64]) -> str:
        return self._constant(name, values)

    def kernel(self, name: str, tensor: Tensor) -> str:
        """The weight of a convolution."""
        if not self._half:
            return self.weight(name, tensor)
        if name not in self._casts:
            stored = self._constant(name, tensor.detach().half().cpu().numpy())
            self._casts[name] = self("Cast", stored, to=TensorProto.FLOAT)
        return self._casts[name]

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        graph = helper.make_graph(self._nodes, name, inputs, outputs, list(self._weights.values()))
        return helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="dacodec",
        )


def described(name: str, dtype: str, shape: Sequence[int | str], meaning: str) -> onnx.ValueInfoProto:
    """An input or an output; names in ``shape`` are dynamic axes."""
    return helper.make_tensor_value_info(name, TYPES[dtype], shape, meaning)
