"""Models of one operator, for each kind that a delegate's table names, and edits that break them.

``base(kind, dtype)`` is a valid form of the operator; ``edited`` changes one thing of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgebuild.graph import DType, Graph, Quantization, Tensor
from edgebuild.ops.cases import one_op

S4 = (1, 8, 8, 4)
QUANTIZED = {"int8": 0, "uint8": 128, "int16": 0}
"""Types that get a scale by themselves, with their zero points."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """One operator before it becomes a graph."""

    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attrs: Mapping[str, Any]
    version: int = 1

    def graph(self, name: str = "model") -> Graph:
        """Return the graph; its activations are the model's inputs."""
        graph = one_op(name, self.kind, self.inputs, self.outputs, self.attrs).graph
        (op,) = graph.ops
        return graph.replace(
            ops=(dataclasses.replace(op, version=self.version),),
            inputs=tuple(i for i in graph.inputs if not graph.tensors[i].is_variable),
        )


def t(
    shape: tuple[int, ...] = S4,
    dtype: str = "float32",
    scale: float | tuple[float, ...] | None = None,
    zero: int | None = None,
    axis: int = 0,
    quantized: bool = True,
) -> Tensor:
    """Return an activation; 8- and 16-bit ones get scale 0.05 unless ``quantized`` is False."""
    kind = DType(dtype)
    if scale is None and quantized and dtype in QUANTIZED:
        scale = 0.05
    quantization = None
    if scale is not None:
        scales = scale if isinstance(scale, tuple) else (scale,)
        zero = QUANTIZED.get(dtype, 0) if zero is None else zero
        quantization = Quantization(scales, (zero,) * len(scales), axis)
    return Tensor(0, "", tuple(shape), kind, quantization)


def c(values: Any, dtype: str = "int32", **quantization: Any) -> Tensor:
    """Return a constant with these values."""
    array = np.array(values).astype(DType(dtype).numpy)
    array.setflags(write=False)
    return dataclasses.replace(t(array.shape, dtype, **quantization), data=array)


def w(shape: tuple[int, ...], dtype: str = "float32", **quantization: Any) -> Tensor:
    """Return constant weights of this shape."""
    low, high = {"uint8": (0, 256), "int4": (-7, 8), "int2": (-1, 2)}.get(dtype, (-127, 128))
    values = np.random.default_rng(0).integers(low, high, shape)
    return c(
        values if dtype in (*QUANTIZED, "int4", "int2") else values / 100, dtype, **quantization
    )


def bias(size: int, dtype: str) -> Tensor:
    """Return the bias that goes with activations of ``dtype``."""
    return (
        c(np.zeros(size), "int32", scale=0.0025) if dtype in QUANTIZED else c(np.zeros(size), dtype)
    )


def edited(
    spec: Spec,
    *,
    inputs: Mapping[int, Tensor | None] | None = None,
    outputs: Mapping[int, Tensor] | None = None,
    version: int | None = None,
    **attrs: Any,
) -> Spec:
    """Return ``spec`` with some inputs, outputs or attributes changed."""
    new_inputs, new_outputs = list(spec.inputs), list(spec.outputs)
    for values, changes in ((new_inputs, inputs), (new_outputs, outputs)):
        for position, tensor in (changes or {}).items():
            values[position : position + 1] = [tensor]
    return Spec(
        spec.kind,
        tuple(new_inputs),
        tuple(new_outputs),
        {**spec.attrs, **attrs},
        spec.version if version is None else version,
    )


Maker = Callable[[str], tuple[list[Tensor | None], list[Tensor], dict[str, Any]]]
_ACT = "fused_activation_function"
_CONV = {"padding": "SAME", "stride_w": 1, "stride_h": 1, _ACT: "NONE"}
_DILATED = {**_CONV, "dilation_w_factor": 1, "dilation_h_factor": 1}
_POOL = {
    "padding": "VALID",
    "stride_w": 2,
    "stride_h": 2,
    "filter_width": 2,
    "filter_height": 2,
    _ACT: "NONE",
}


def _unary(d: str) -> Any:
    return [t(S4, d)], [t(S4, d)], {}


def _binary(d: str) -> Any:
    return [t(S4, d), t(S4, d)], [t(S4, d)], {}


def _binary_act(d: str) -> Any:
    return [t(S4, d), t(S4, d)], [t(S4, d)], {_ACT: "NONE"}


def _compare(d: str) -> Any:
    return [t(S4, d), t(S4, d)], [t(S4, "bool")], {}


def _reduce(d: str) -> Any:
    return [t(S4, d), c([1, 2])], [t((1, 1, 1, 4), d)], {"keep_dims": True}


def _arg(d: str) -> Any:
    return [t(S4, d), c(3)], [t((1, 8, 8), "int32")], {"output_type": "INT32"}


def _pad(d: str) -> Any:
    pads = c([[0, 0], [1, 1], [2, 0], [0, 0]])
    return [t(S4, d), pads], [t((1, 10, 10, 4), d)], {}


def _padv2(d: str) -> Any:
    inputs, outputs, attrs = _pad(d)
    value = c(0.0, d) if d not in QUANTIZED else c(QUANTIZED[d], d)
    return [*inputs, value], outputs, attrs


def _lstm(d: str) -> Any:
    n, cells = 4, 4
    x, state = t((1, n), d), t((1, cells), d)
    weights: list[Tensor | None] = [w((cells, n), d) for _ in range(4)]
    recurrent: list[Tensor | None] = [w((cells, cells), d) for _ in range(4)]
    biases: list[Tensor | None] = [bias(cells, d) for _ in range(4)]
    none: list[Tensor | None] = [None] * 3
    states: list[Tensor | None] = [
        dataclasses.replace(state, is_variable=True),
        dataclasses.replace(state, is_variable=True),
    ]
    inputs = [x, *weights, *recurrent, *none, *biases, None, None, *states]
    return inputs, [t((1, cells), d)], {_ACT: "TANH", "kernel_type": "FULL"}


def _sequence_lstm(d: str) -> Any:
    inputs, _, _ = _lstm(d)
    return [t((1, 5, 4), d), *inputs[1:]], [t((1, 5, 4), d)], {_ACT: "TANH", "time_major": False}


def _rnn(d: str) -> Any:
    state = dataclasses.replace(t((1, 4), d), is_variable=True)
    inputs = [t((1, 4), d), w((4, 4), d), w((4, 4), d), bias(4, d), state]
    return inputs, [t((1, 4), d)], {_ACT: "RELU"}


def _sequence_rnn(d: str) -> Any:
    inputs, _, _ = _rnn(d)
    return [t((1, 5, 4), d), *inputs[1:]], [t((1, 5, 4), d)], {_ACT: "RELU"}


def _svdf(d: str) -> Any:
    state = dataclasses.replace(t((1, 16), d), is_variable=True)
    inputs = [t((1, 4), d), w((4, 4), d), w((4, 4), d), bias(4, d), state]
    return inputs, [t((1, 4), d)], {"rank": 1, _ACT: "RELU"}


def _conv(d: str) -> Any:
    return [t(S4, d), w((6, 3, 3, 4), d), bias(6, d)], [t((1, 8, 8, 6), d)], _DILATED


def _depthwise(d: str) -> Any:
    inputs = [t(S4, d), w((1, 3, 3, 4), d), bias(4, d)]
    return inputs, [t(S4, d)], {**_DILATED, "depth_multiplier": 1}


def _transpose_conv(d: str) -> Any:
    inputs = [c([1, 16, 16, 6]), w((6, 3, 3, 4), d), t(S4, d), bias(6, d)]
    return inputs, [t((1, 16, 16, 6), d)], {**_CONV, "stride_w": 2, "stride_h": 2}


def _fully(d: str) -> Any:
    attrs = {_ACT: "NONE", "weights_format": "DEFAULT", "keep_num_dims": False}
    return [t((2, 4), d), w((3, 4), d), bias(3, d)], [t((2, 3), d)], attrs


def _strided(d: str) -> Any:
    inputs = [t(S4, d), c([0, 1, 1, 0]), c([1, 7, 8, 4]), c([1, 1, 1, 1])]
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    return inputs, [t((1, 6, 7, 4), d)], dict.fromkeys(masks, 0)


def _one_hot(d: str) -> Any:
    inputs = [t((1,), "int32"), c(4), c(1.0, d), c(0.0, d)]
    return inputs, [t((1, 4), d)], {"axis": -1}


def _update_slice(d: str) -> Any:
    return [t((4, 8), d), t((2, 8), d), t((2,), "int32")], [t((4, 8), d)], {}


def _grow(shape: tuple[int, ...], **attrs: Any) -> Maker:
    return lambda d: ([t(S4, d)], [t(shape, d)], dict(attrs))


def _with_constants(shape: tuple[int, ...], *constants: Any, **attrs: Any) -> Maker:
    return lambda d: ([t(S4, d), *(c(v) for v in constants)], [t(shape, d)], dict(attrs))


_UNARY = (
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LOG", "LOGISTIC"),
    *("NEG", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN"),
    *("SQRT", "SQUARE", "TANH", "LOG_SOFTMAX", "STABLEHLO_CBRT", "BITCAST"),
)
_BINARY = (
    *("MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD", "ATAN2"),
    *("RIGHT_SHIFT", "STABLEHLO_REMAINDER", "STABLEHLO_SHIFT_LEFT"),
)
_REDUCTIONS = ("MEAN", "SUM", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
_COMPARISONS = ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")

MAKERS: dict[str, Maker] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), _binary_act),
    **dict.fromkeys(_COMPARISONS, _compare),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "LOGICAL_AND": lambda d: _compare("bool"),
    "LOGICAL_OR": lambda d: _compare("bool"),
    "LOGICAL_NOT": lambda d: _unary("bool"),
    "ADD_N": _binary,
    "ARG_MAX": _arg,
    "ARG_MIN": _arg,
    "AVERAGE_POOL_2D": _grow((1, 4, 4, 4), **_POOL),
    "MAX_POOL_2D": _grow((1, 4, 4, 4), **_POOL),
    "L2_POOL_2D": _grow((1, 4, 4, 4), **_POOL),
    "BATCH_MATMUL": lambda d: (
        [t((2, 3, 4), d), t((2, 4, 5), d)],
        [t((2, 3, 5), d)],
        {"adj_x": False, "adj_y": False},
    ),
    "BATCH_TO_SPACE_ND": lambda d: (
        [t((4, 4, 4, 4), d), c([2, 2]), c([[0, 0], [0, 0]])],
        [t(S4, d)],
        {},
    ),
    "SPACE_TO_BATCH_ND": _with_constants((4, 4, 4, 4), [2, 2], [[0, 0], [0, 0]]),
    "BIDIRECTIONAL_SEQUENCE_LSTM": lambda d: (
        [*_sequence_lstm(d)[0], *[None] * 28],
        [t((1, 5, 4), d), t((1, 5, 4), d)],
        {_ACT: "TANH"},
    ),
    "CAST": lambda d: ([t(S4, d)], [t(S4, "int32" if d != "int32" else "float32")], {}),
    "CONCATENATION": lambda d: (
        [t(S4, d), t(S4, d)],
        [t((1, 8, 8, 8), d)],
        {"axis": 3, _ACT: "NONE"},
    ),
    "CONV_2D": _conv,
    "CUMSUM": _with_constants(S4, 3),
    "DENSIFY": lambda d: ([w((4, 4), d)], [t((4, 4), d)], {}),
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEPTH_TO_SPACE": _grow((1, 16, 16, 1), block_size=2),
    "SPACE_TO_DEPTH": _grow((1, 4, 4, 16), block_size=2),
    "DEQUANTIZE": lambda d: ([t(S4, d)], [t(S4)], {}),
    "DYNAMIC_UPDATE_SLICE": _update_slice,
    "EMBEDDING_LOOKUP": lambda d: ([t((3,), "int32"), w((10, 4), d)], [t((3, 4), d)], {}),
    "EXPAND_DIMS": _with_constants((1, 1, 8, 8, 4), 0),
    "FILL": lambda d: ([c([2, 3]), t((), d)], [t((2, 3), d)], {}),
    "FULLY_CONNECTED": _fully,
    "GATHER": lambda d: ([t(S4, d), t((3,), "int32")], [t((1, 3, 8, 4), d)], {"axis": 1}),
    "HASHTABLE_LOOKUP": lambda d: (
        [t((3,), "int32"), c([1, 2, 3]), w((3, 4), d)],
        [t((3, 4), d), t((3,), "uint8")],
        {},
    ),
    "L2_NORMALIZATION": _grow(S4, **{_ACT: "NONE"}),
    "LEAKY_RELU": _grow(S4, alpha=0.25),
    "LOCAL_RESPONSE_NORMALIZATION": _grow(S4, radius=2, bias=1.0, alpha=1.0, beta=0.5),
    "LSH_PROJECTION": lambda d: (
        [w((2, 4)), t((4,), "int32"), t((4,))],
        [t((2,), "int32")],
        {"type": 2},
    ),
    "LSTM": _lstm,
    "MIRROR_PAD": lambda d: (*_pad(d)[:2], {"mode": "REFLECT"}),
    "ONE_HOT": _one_hot,
    "PACK": lambda d: ([t(S4, d), t(S4, d)], [t((2, *S4), d)], {"axis": 0, "values_count": 2}),
    "UNPACK": lambda d: ([t((2, 8, 4), d)], [t((8, 4), d), t((8, 4), d)], {"num": 2, "axis": 0}),
    "PAD": _pad,
    "PADV2": _padv2,
    "PRELU": lambda d: ([t(S4, d), w((1, 1, 4), d)], [t(S4, d)], {}),
    "QUANTIZE": lambda d: ([t(S4)], [t(S4, d)], {}),
    "RESHAPE": _with_constants((1, 64, 4), [1, 64, 4], new_shape=(1, 64, 4)),
    "RESIZE_BILINEAR": _with_constants(
        (1, 16, 16, 4), [16, 16], align_corners=False, half_pixel_centers=False
    ),
    "RESIZE_NEAREST_NEIGHBOR": _with_constants(
        (1, 16, 16, 4), [16, 16], align_corners=False, half_pixel_centers=False
    ),
    "REVERSE_V2": _with_constants(S4, [1]),
    "RNN": _rnn,
    "SELECT": lambda d: ([t(S4, "bool"), t(S4, d), t(S4, d)], [t(S4, d)], {}),
    "SELECT_V2": lambda d: ([t(S4, "bool"), t(S4, d), t(S4, d)], [t(S4, d)], {}),
    "SLICE": _with_constants((1, 4, 8, 4), [0, 1, 0, 0], [1, 4, 8, 4]),
    "SOFTMAX": lambda d: ([t((2, 8), d)], [t((2, 8), d, *_softmax_output(d))], {"beta": 1.0}),
    "SPLIT": lambda d: (
        [c(3), t(S4, d)],
        [t((1, 8, 8, 2), d), t((1, 8, 8, 2), d)],
        {"num_splits": 2},
    ),
    "SPLIT_V": lambda d: (
        [t(S4, d), c([1, 3]), c(3)],
        [t((1, 8, 8, 1), d), t((1, 8, 8, 3), d)],
        {"num_splits": 2},
    ),
    "SQUEEZE": _grow((8, 8, 4), squeeze_dims=(0,)),
    "STABLEHLO_BROADCAST_IN_DIM": lambda d: ([t((4,), d), c([3])], [t(S4, d)], {}),
    "STABLEHLO_CLAMP": lambda d: ([t(S4, d), t(S4, d), t(S4, d)], [t(S4, d)], {}),
    "STRIDED_SLICE": _strided,
    "SVDF": _svdf,
    "TILE": _with_constants((1, 8, 16, 4), [1, 1, 2, 1]),
    "TOPK_V2": lambda d: ([t((2, 8), d), c(3)], [t((2, 3), d), t((2, 3), "int32")], {}),
    "TRANSPOSE": _with_constants((1, 4, 8, 8), [0, 3, 1, 2]),
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _sequence_lstm,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _sequence_rnn,
}
"""A valid form of each kind, by element type: (inputs, outputs, attributes)."""


def _softmax_output(dtype: str) -> tuple[Any, ...]:
    """TFLite fixes a quantized softmax's output to 1/256."""
    return {"int8": (1 / 256, -128), "uint8": (1 / 256, 0)}.get(dtype, ())


def base(kind: str, dtype: str = "float32") -> Spec:
    """Return a valid form of ``kind``."""
    inputs, outputs, attrs = MAKERS[kind](dtype)
    return Spec(kind, tuple(inputs), tuple(outputs), attrs)
