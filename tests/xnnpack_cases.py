"""Single-operator models around every limit of XNNPACK's table: each limit kept, and broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from edgebuild.graph import ABSENT, Graph, Op, Tensor
from tests.single_ops import S4, Spec, base, c, edited, t, w
from tests.xnnpack_weights import ACTIVATIONS, TYPES, weighted_specs

_UNARY = (
    *("ABS", "CEIL", "COS", "EXP", "FLOOR", "GELU", "HARD_SWISH", "NEG", "RELU", "RELU6"),
    *("RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "ELU", "LOGISTIC", "TANH"),
    *("LEAKY_RELU", "LOG", "RELU_0_TO_1", "SIGN"),
)
_BINARY = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU")
_REDUCE = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")
_OTHERS = (
    *("POW", "ADD_N", "EQUAL", "LESS", "LOGICAL_AND", "ARG_MAX", "BATCH_TO_SPACE_ND", "CAST"),
    *("SPACE_TO_BATCH_ND", "CUMSUM", "EXPAND_DIMS", "FILL", "GATHER", "L2_NORMALIZATION"),
    *("L2_POOL_2D", "LOG_SOFTMAX", "LSTM", "MIRROR_PAD", "ONE_HOT", "PACK", "UNPACK", "PADV2"),
    *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SPLIT_V", "SQUEEZE", "TILE"),
    *("TOPK_V2", "UNIDIRECTIONAL_SEQUENCE_LSTM", "DYNAMIC_UPDATE_SLICE", "EMBEDDING_LOOKUP"),
)
BAD_SHAPES = {"rank 7": (1, 1, 1, 2, 2, 2, 2), "rank 6": (1, 1, 2, 2, 2, 2), "scalar": ()}


def cases() -> Iterator[tuple[str, Graph]]:
    """Yield (name, graph) for every case."""
    for name, spec in specs():
        yield f"{spec.kind} {name}", spec.graph()
    yield from chains()


def specs() -> Iterator[tuple[str, Spec]]:
    """Yield (what is special, operator) for every single operator."""
    yield from _plain()
    yield from _elementwise()
    yield from _pools()
    yield from weighted_specs()
    yield from _reductions()
    yield from _movements()
    yield from _slices()


def _plain() -> Iterator[tuple[str, Spec]]:
    named = (
        *(*_UNARY, *_BINARY, *_REDUCE),
        *("AVERAGE_POOL_2D", "MAX_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "CONV_2D"),
        *("DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "DEQUANTIZE", "QUANTIZE"),
        *("FULLY_CONNECTED", "PAD", "RESHAPE", "RESIZE_BILINEAR", "SLICE", "STRIDED_SLICE"),
        *("SOFTMAX", "SPLIT", "TRANSPOSE", "TRANSPOSE_CONV", *_OTHERS),
    )
    for kind in named:
        for dtype in (*TYPES, "int16", "int32", "float16"):
            yield dtype, base(kind, dtype)


def _elementwise() -> Iterator[tuple[str, Spec]]:
    for kind in _UNARY:
        for name, shape in BAD_SHAPES.items():
            if name == "rank 7" or kind in ("ABS", "LOGISTIC"):
                plain = base(kind)
                yield name, edited(plain, inputs={0: t(shape)}, outputs={0: t(shape)})
        quantized = base(kind, "int8")
        yield (
            "two scales",
            edited(quantized, inputs={0: t(S4, "int8", (0.1, 0.2, 0.1, 0.3), axis=3)}),
        )
        yield "no scale", edited(quantized, inputs={0: t(S4, "int8", quantized=False)})
    for kind in _BINARY:
        for name, shape in BAD_SHAPES.items():
            wide, narrow = t(shape), w(shape) if kind == "PRELU" else t(shape)
            yield name, edited(base(kind), inputs={0: wide, 1: narrow}, outputs={0: wide})
        second = w((1, 1, 1, 4)) if kind == "PRELU" else t((1, 1, 1, 4))
        yield "broadcast", edited(base(kind), inputs={1: second})
        yield "constant", edited(base(kind), inputs={1: w((4,))})
        if kind in ("ADD", "SUB", "MUL", "DIV"):
            for activation in ACTIVATIONS:
                yield activation, edited(base(kind), fused_activation_function=activation)
    yield "slope moves", edited(base("PRELU"), inputs={1: t((1, 1, 4))})
    yield "slope per pixel", edited(base("PRELU"), inputs={1: w((8, 8, 4))})
    yield from _scales()


def _scales() -> Iterator[tuple[str, Spec]]:
    ratios = (1 / 2048, 1 / 1024, 1 / 1000, 100.0, 255.0, 256.0, 300.0)
    for dtype in ("int8", "uint8"):
        for ratio in ratios:
            for kind in ("ADD", "SUB", "MUL"):
                x = t(S4, dtype, 0.5 * ratio)
                both = {0: x, 1: t(S4, dtype, 0.5)}
                yield (
                    f"{dtype} ratio {ratio:g}",
                    edited(base(kind, dtype), inputs=both, outputs={0: t(S4, dtype, 0.5)}),
                )
        for ratio in (1 / 512, 1 / 256, 1 / 4, 100.0, 128.0, 129.0):
            x = t(S4, dtype, 0.5 * ratio)
            yield (
                f"{dtype} ratio {ratio:g}",
                edited(base("QUANTIZE", dtype), inputs={0: x}, outputs={0: t(S4, dtype, 0.5)}),
            )
            for alpha in (0.5, 1e-3, -0.5):
                yield (
                    f"{dtype} ratio {ratio:g} alpha {alpha}",
                    edited(
                        base("LEAKY_RELU", dtype),
                        inputs={0: x},
                        outputs={0: t(S4, dtype, 0.5)},
                        alpha=alpha,
                    ),
                )
        yield (
            f"{dtype} tiny product",
            edited(
                base("MUL", dtype),
                inputs={0: t(S4, dtype, 1e-4), 1: t(S4, dtype, 1e-4)},
                outputs={0: t(S4, dtype, 1.0)},
            ),
        )
    for alpha in (0.0, 1e-40, -1.0, 2.0, float("inf")):
        yield f"alpha {alpha}", edited(base("LEAKY_RELU"), alpha=alpha)
    yield "int8 to uint8", edited(base("QUANTIZE", "uint8"), inputs={0: t(S4, "int8")})
    yield (
        "per channel",
        edited(base("QUANTIZE", "int8"), outputs={0: t(S4, "int8", (0.1, 0.2, 0.3, 0.4), axis=3)}),
    )
    yield (
        "per channel",
        edited(base("DEQUANTIZE", "int8"), inputs={0: t(S4, "int8", (0.1, 0.2, 0.3, 0.4), axis=3)}),
    )
    yield "approximate", edited(base("GELU"), approximate=True)


def _pools() -> Iterator[tuple[str, Spec]]:
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for dtype in TYPES:
            one = {"filter_width": 1, "filter_height": 1}
            plain = base(kind, dtype)
            yield (
                f"{dtype} 1x1",
                edited(plain, outputs={0: t(S4, dtype)}, stride_w=1, stride_h=1, **one),
            )
            yield f"{dtype} 1x1 stride 2", edited(plain, **one)
            yield f"{dtype} stride over filter", edited(plain, filter_width=1)
            yield f"{dtype} SAME", edited(plain, padding="SAME")
            for activation in ACTIVATIONS:
                yield f"{dtype} {activation}", edited(plain, fused_activation_function=activation)
        yield (
            "two scales",
            edited(base(kind, "int8"), inputs={0: t(S4, "int8", (0.1, 0.2, 0.3, 0.4), axis=3)}),
        )
    yield "other scale", edited(base("MAX_POOL_2D", "int8"), inputs={0: t(S4, "int8", 0.1)})


def _reductions() -> Iterator[tuple[str, Spec]]:
    for kind in _REDUCE:
        for dtype in TYPES:
            plain = base(kind, dtype)
            yield (
                f"{dtype} drops dims",
                edited(plain, outputs={0: t((1, 4), dtype)}, keep_dims=False),
            )
            yield (
                f"{dtype} axis 3",
                edited(plain, inputs={1: c([3])}, outputs={0: t((1, 8, 8, 1), dtype)}),
            )
            yield (
                f"{dtype} axis -1",
                edited(plain, inputs={1: c([-1])}, outputs={0: t((1, 8, 8, 1), dtype)}),
            )
            yield (
                f"{dtype} scalar axis",
                edited(plain, inputs={1: c(2)}, outputs={0: t((1, 8, 1, 4), dtype)}),
            )
            yield (
                f"{dtype} all axes",
                edited(plain, inputs={1: c([0, 1, 2, 3])}, outputs={0: t((1, 1, 1, 1), dtype)}),
            )
            yield (
                f"{dtype} rank 3",
                edited(
                    plain,
                    inputs={0: t((8, 8, 4), dtype), 1: c([1])},
                    outputs={0: t((8, 1, 4), dtype)},
                ),
            )
            yield f"{dtype} axis moves", edited(plain, inputs={1: t((2,), "int32")})
        yield "other scale", edited(base(kind, "int8"), inputs={0: t(S4, "int8", 0.1)})
        yield (
            "rank 7",
            edited(
                base(kind),
                inputs={0: t((1, 1, 1, 2, 2, 2, 2)), 1: c([6])},
                outputs={0: t((1, 1, 1, 2, 2, 2, 1))},
            ),
        )


def _movements() -> Iterator[tuple[str, Spec]]:
    for dtype in TYPES:
        for count in (1, 3, 4, 5, 6):
            yield (
                f"{dtype} {count} inputs",
                Spec(
                    "CONCATENATION",
                    tuple(t(S4, dtype) for _ in range(count)),
                    (t((1, 8, 8, 4 * count), dtype),),
                    {"axis": 3, "fused_activation_function": "NONE"},
                ),
            )
        for count in (1, 4):
            yield (
                f"{dtype} {count} outputs",
                Spec(
                    "SPLIT",
                    (c(3), t(S4, dtype)),
                    tuple(t((1, 8, 8, 4 // count), dtype) for _ in range(count)),
                    {"num_splits": count},
                ),
            )
        for count in (3, 8):
            yield (
                f"{dtype} {count} outputs",
                Spec(
                    "SPLIT",
                    (c(0), t((24, 2), dtype)),
                    tuple(t((24 // count, 2), dtype) for _ in range(count)),
                    {"num_splits": count},
                ),
            )
        yield f"{dtype} negative axis", edited(base("SPLIT", dtype), inputs={0: c(-1)})
        yield f"{dtype} axis moves", edited(base("SPLIT", dtype), inputs={0: t((), "int32")})
        for block in (1, 2, 4):
            yield (
                f"{dtype} block {block}",
                edited(
                    base("SPACE_TO_DEPTH", dtype),
                    outputs={0: t((1, 8 // block, 8 // block, 4 * block * block), dtype)},
                    block_size=block,
                ),
            )
            if block < 4:
                yield (
                    f"{dtype} block {block}",
                    edited(
                        base("DEPTH_TO_SPACE", dtype),
                        outputs={0: t((1, 8 * block, 8 * block, 4 // block**2), dtype)},
                        block_size=block,
                    ),
                )
        yield from _pads_and_shapes(dtype)
    for dtype in ("int8", "uint8"):
        yield (
            f"{dtype} other scale",
            edited(base("CONCATENATION", dtype), inputs={0: t(S4, dtype, 0.1)}),
        )
        yield f"{dtype} other scale", edited(base("RESHAPE", dtype), inputs={0: t(S4, dtype, 0.1)})
        yield (
            f"{dtype} other scale",
            edited(base("TRANSPOSE", dtype), inputs={0: t(S4, dtype, 0.1)}),
        )
        yield (
            f"{dtype} other zero point",
            edited(base("PAD", dtype), inputs={0: t(S4, dtype, 0.05, 5)}),
        )
    yield "RELU", edited(base("CONCATENATION"), fused_activation_function="RELU")


def _pads_and_shapes(dtype: str) -> Iterator[tuple[str, Spec]]:
    pad = base("PAD", dtype)
    yield (
        f"{dtype} negative",
        edited(
            pad,
            inputs={1: c([[0, 0], [-1, 1], [0, 0], [0, 0]])},
            outputs={0: t(S4, dtype)},
        ),
    )
    yield (
        f"{dtype} negative in the last rows",
        edited(
            pad,
            inputs={1: c([[0, 0], [0, 0], [0, 0], [1, -1]])},
            outputs={0: t(S4, dtype)},
        ),
    )
    yield f"{dtype} pads move", edited(pad, inputs={1: t((4, 2), "int32")})
    yield (
        f"{dtype} int64 pads",
        edited(pad, inputs={1: c([[0, 0], [1, 1], [2, 0], [0, 0]], "int64")}),
    )
    yield (
        f"{dtype} rank 2",
        edited(
            pad, inputs={0: t((3, 4), dtype), 1: c([[0, 1], [1, 0]])}, outputs={0: t((4, 5), dtype)}
        ),
    )
    reshape = base("RESHAPE", dtype)
    yield f"{dtype} shape moves", edited(reshape, inputs={1: t((3,), "int32")})
    yield f"{dtype} one input", Spec("RESHAPE", reshape.inputs[:1], reshape.outputs, reshape.attrs)
    yield f"{dtype} -1", edited(reshape, inputs={1: c([1, -1, 4])}, new_shape=(1, -1, 4))
    yield (
        f"{dtype} rank 7",
        edited(
            reshape,
            inputs={1: c([1, 1, 1, 2, 4, 8, 4])},
            outputs={0: t((1, 1, 1, 2, 4, 8, 4), dtype)},
        ),
    )
    yield (
        f"{dtype} scalar",
        edited(
            reshape, inputs={0: t((1, 1), dtype), 1: c([])}, outputs={0: t((), dtype)}, new_shape=()
        ),
    )
    yield (
        f"{dtype} scalar by option",
        Spec("RESHAPE", (t((1, 1), dtype),), (t((), dtype),), {"new_shape": ()}),
    )
    yield f"{dtype} from float", edited(reshape, inputs={0: t(S4)})
    resize = base("RESIZE_BILINEAR", dtype)
    yield f"{dtype} output of rank 3", edited(resize, outputs={0: t((16, 16, 4), dtype)})
    yield f"{dtype} size moves", edited(resize, inputs={1: t((2,), "int32")})
    yield f"{dtype} align corners", edited(resize, align_corners=True)
    yield f"{dtype} half pixel", edited(resize, half_pixel_centers=True)
    transpose = base("TRANSPOSE", dtype)
    yield f"{dtype} perm moves", edited(transpose, inputs={1: t((4,), "int32")})
    yield f"{dtype} negative perm", edited(transpose, inputs={1: c([0, -1, 1, 2])})
    yield (
        f"{dtype} rank 6",
        edited(
            transpose,
            inputs={0: t((1, 2, 3, 1, 2, 3), dtype), 1: c([5, 4, 3, 2, 1, 0])},
            outputs={0: t((3, 2, 1, 3, 2, 1), dtype)},
        ),
    )
    yield (
        f"{dtype} scale other",
        edited(resize, inputs={0: t(S4, dtype, 0.1 if dtype != "float32" else None)}),
    )


def _slices() -> Iterator[tuple[str, Spec]]:
    for dtype in TYPES:
        plain = base("SLICE", dtype)
        yield f"{dtype} size -1", edited(plain, inputs={2: c([1, 4, -1, 4])})
        yield f"{dtype} begin moves", edited(plain, inputs={1: t((4,), "int32")})
        yield f"{dtype} size moves", edited(plain, inputs={2: t((4,), "int32")})
        yield (
            f"{dtype} int64",
            edited(plain, inputs={1: c([0, 1, 0, 0], "int64"), 2: c([1, 4, 8, 4], "int64")}),
        )
        strided = base("STRIDED_SLICE", dtype)
        yield (
            f"{dtype} stride 2",
            edited(strided, inputs={3: c([1, 2, 1, 1])}, outputs={0: t((1, 3, 7, 4), dtype)}),
        )
        yield (
            f"{dtype} stride -1",
            edited(strided, inputs={1: c([0, 6, 1, 0]), 2: c([1, 0, 8, 4]), 3: c([1, -1, 1, 1])}),
        )
        yield (
            f"{dtype} shrinks",
            edited(
                strided,
                inputs={2: c([1, 7, 8, 4])},
                outputs={0: t((6, 7, 4), dtype)},
                shrink_axis_mask=1,
            ),
        )
        yield (
            f"{dtype} new axis",
            edited(strided, outputs={0: t((1, 1, 7, 8, 4), dtype)}, new_axis_mask=1),
        )
        yield f"{dtype} ellipsis", edited(strided, outputs={0: t(S4, dtype)}, ellipsis_mask=2)
        yield (
            f"{dtype} masks",
            edited(strided, outputs={0: t(S4, dtype)}, begin_mask=15, end_mask=15),
        )
        yield f"{dtype} end too far", edited(strided, inputs={2: c([1, 9, 8, 4])})
        yield f"{dtype} negative begin", edited(strided, inputs={1: c([0, -7, -7, 0])})
        yield f"{dtype} negative end", edited(strided, inputs={2: c([1, -1, 8, 4])})
        yield f"{dtype} begin moves", edited(strided, inputs={1: t((4,), "int32")})
        yield f"{dtype} end moves", edited(strided, inputs={2: t((4,), "int32")})
        yield f"{dtype} strides move", edited(strided, inputs={3: t((4,), "int32")})
    softmax = base("SOFTMAX")
    yield "beta 2", edited(softmax, beta=2.0)
    yield "rank 4", edited(softmax, inputs={0: t(S4)}, outputs={0: t(S4)})
    matmul = base("BATCH_MATMUL")
    yield "adj_x", edited(matmul, inputs={0: t((2, 4, 3))}, adj_x=True)
    yield "adj_y", edited(matmul, inputs={1: t((2, 5, 4))}, adj_y=True)
    yield "broadcast", edited(matmul, inputs={1: t((4, 5))})
    yield "constant", edited(matmul, inputs={1: w((2, 4, 5))})
    yield "dynamic range", edited(matmul, inputs={1: w((2, 4, 5), "int8")})
    yield "dynamic range adj_y", edited(matmul, inputs={1: w((2, 5, 4), "int8")}, adj_y=True)
    yield "dynamic range moves", edited(matmul, inputs={1: t((2, 4, 5), "int8")})
    yield "per channel", edited(matmul, inputs={1: w((4, 5), "int8", scale=(0.1,) * 5, axis=1)})
    yield (
        "per channel other axis",
        edited(matmul, inputs={1: w((4, 5), "int8", scale=(0.1,) * 4, axis=0)}),
    )
    for axis in (0, 1):
        for adjoint in (False, True):
            second = (5, 4) if adjoint else (4, 5)
            for dtype in ("float32", "int8"):
                yield (
                    f"{dtype} axis {axis} adjoint {adjoint}",
                    edited(
                        base("BATCH_MATMUL", dtype),
                        inputs={1: w(second, "int8", scale=(0.1,) * second[axis], axis=axis)},
                        adj_y=adjoint,
                    ),
                )
    yield "no scale", edited(matmul, inputs={1: w((2, 4, 5), "int8", quantized=False)})
    yield (
        "channel zero point",
        edited(matmul, inputs={1: w((4, 5), "int8", scale=(0.1,) * 5, axis=1, zero=2)}),
    )
    yield (
        "int8 adj_x",
        edited(base("BATCH_MATMUL", "int8"), inputs={0: t((2, 4, 3), "int8")}, adj_x=True),
    )
    yield "int8 constant", edited(base("BATCH_MATMUL", "int8"), inputs={1: w((2, 4, 5), "int8")})
    yield (
        "int8 zero point",
        edited(base("BATCH_MATMUL", "int8"), inputs={1: t((2, 4, 5), "int8", 0.05, 3)}),
    )


def chains() -> Iterator[tuple[str, Graph]]:
    """Yield (name, graph) of a DEQUANTIZE of a constant in front of another operator."""
    for packed in ("float16", "int8", "uint8"):
        for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "PRELU", "ADD", "POW"):
            yield f"DEQUANTIZE {packed} {kind}", unpacked(base(kind), packed)


def unpacked(spec: Spec, packed: str) -> Graph:
    """Return ``spec`` with input 1 as a constant of another type behind a DEQUANTIZE."""
    graph = spec.graph()
    (op,) = graph.ops
    old = graph.tensors[op.inputs[1]]
    stored, middle = len(graph.tensors), len(graph.tensors) + 1
    weights = w(old.shape, packed)
    tensors = {
        **graph.tensors,
        stored: _placed(weights, stored),
        middle: _placed(t(old.shape), middle),
    }
    if old.index not in graph.inputs:
        del tensors[old.index]
    inputs = tuple(i for i in graph.inputs if i != old.index)
    tensors.pop(old.index, None)
    second = Op(
        op.kind,
        tuple(middle if i == old.index else i for i in op.inputs if i != ABSENT),
        op.outputs,
        op.attrs,
        1,
        op.version,
    )
    first = Op("DEQUANTIZE", (stored,), (middle,), {}, 0, 3)
    return Graph(f"unpack {spec.kind}", inputs, graph.outputs, (first, second), tensors)


def _placed(tensor: Tensor, index: int) -> Tensor:
    return dataclasses.replace(tensor, index=index, name=f"t{index}")
