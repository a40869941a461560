"""The operators that edgebuild runs. ``OPS`` maps a kind (``CONV_2D``) to its ``Operator``.

It knows those that edgebuild itself adds to a graph, too, but lists only what models have.
"""

from __future__ import annotations

from edgebuild.ops.arg_max import ArgMax
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator
from edgebuild.ops.concatenation import Concatenation, Pack
from edgebuild.ops.conv2d import Conv2D
from edgebuild.ops.depthwise_conv2d import DepthwiseConv2D
from edgebuild.ops.elementwise import Add, Maximum, Minimum, Mul, Sub
from edgebuild.ops.fully_connected import FullyConnected
from edgebuild.ops.input_rows import INPUT_ROWS, InputRows
from edgebuild.ops.lookup import HardSwish, LeakyRelu, Logistic, Relu, Relu6, Tanh
from edgebuild.ops.pad import Pad, PadV2
from edgebuild.ops.pool2d import AveragePool2D, MaxPool2D
from edgebuild.ops.quantize import Dequantize, Quantize
from edgebuild.ops.reduce import Mean, Sum
from edgebuild.ops.reshape import ExpandDims, Reshape, Squeeze
from edgebuild.ops.resize import ResizeBilinear, ResizeNearestNeighbor
from edgebuild.ops.slice import Slice, StridedSlice
from edgebuild.ops.softmax import Softmax
from edgebuild.ops.split import Split, Unpack
from edgebuild.ops.transpose import Transpose

_OPERATORS: tuple[Operator, ...] = (
    Add(),
    ArgMax(),
    AveragePool2D(),
    Concatenation(),
    Conv2D(),
    DepthwiseConv2D(),
    Dequantize(),
    ExpandDims(),
    FullyConnected(),
    HardSwish(),
    LeakyRelu(),
    Logistic(),
    MaxPool2D(),
    Maximum(),
    Mean(),
    Minimum(),
    Mul(),
    Pack(),
    Pad(),
    PadV2(),
    Quantize(),
    Relu(),
    Relu6(),
    Reshape(),
    ResizeBilinear(),
    ResizeNearestNeighbor(),
    Slice(),
    Softmax(),
    Split(),
    Squeeze(),
    StridedSlice(),
    Sub(),
    Sum(),
    Tanh(),
    Transpose(),
    Unpack(),
)


class _Operators(dict[str, Operator]):
    def __missing__(self, kind: str) -> Operator:
        if kind == INPUT_ROWS:
            return InputRows()
        raise KeyError(kind)


OPS: dict[str, Operator] = _Operators((operator.kind, operator) for operator in _OPERATORS)

__all__ = ["OPS", "Case", "Constraint", "KernelCall", "Operator"]
