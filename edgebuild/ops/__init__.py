"""The operators that edgebuild runs. ``OPS`` maps a kind (``CONV_2D``) to its ``Operator``."""

from __future__ import annotations

from edgebuild.ops.base import Case, Constraint, KernelCall, Operator
from edgebuild.ops.conv2d import Conv2D
from edgebuild.ops.depthwise_conv2d import DepthwiseConv2D
from edgebuild.ops.elementwise import Add, Maximum, Minimum, Mul, Sub
from edgebuild.ops.fully_connected import FullyConnected
from edgebuild.ops.lookup import HardSwish, LeakyRelu, Logistic, Relu, Relu6, Tanh
from edgebuild.ops.pool2d import AveragePool2D, MaxPool2D
from edgebuild.ops.quantize import Dequantize, Quantize
from edgebuild.ops.reshape import ExpandDims, Reshape, Squeeze
from edgebuild.ops.softmax import Softmax

_OPERATORS: tuple[Operator, ...] = (
    Add(),
    AveragePool2D(),
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
    Minimum(),
    Mul(),
    Quantize(),
    Relu(),
    Relu6(),
    Reshape(),
    Softmax(),
    Squeeze(),
    Sub(),
    Tanh(),
)

OPS: dict[str, Operator] = {operator.kind: operator for operator in _OPERATORS}

__all__ = ["OPS", "Case", "Constraint", "KernelCall", "Operator"]
