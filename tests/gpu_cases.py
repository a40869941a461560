"""Single-operator models around every limit of the GPU compatibility check."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.graph import Graph
from tests.single_ops import MAKERS, S4, Spec, base, c, edited, t, w

TYPES = ("float32", "float16", "int8", "int16", "int32")
FIVE = (1, 1, 8, 8, 4)
NARROW = {0: t((8, 4))}


def cases() -> Iterator[tuple[str, Graph]]:
    """Yield (name, graph) for every case; names are unique."""
    for kind in MAKERS:
        for dtype in TYPES:
            graph = base(kind, dtype).graph()
            if graph.inputs:
                yield f"{kind} {dtype}", graph
    for number, (name, spec) in enumerate(_edits()):
        yield f"{spec.kind} {name} ({number})", spec.graph()


def _edits() -> Iterator[tuple[str, Spec]]:
    yield from _operands()
    yield from _weighted()
    yield from _shapes()
    yield from _selections()


def _operands() -> Iterator[tuple[str, Spec]]:
    for kind in ("ADD", "MUL", "SUB", "DIV", "MAXIMUM", "POW", "EQUAL", "SQUARED_DIFFERENCE"):
        plain = base(kind)
        yield "constant", edited(plain, inputs={1: w(S4)})
        yield "two constants", edited(plain, inputs={0: w(S4), 1: t(S4), 2: w((4,))})
        yield "three inputs", edited(plain, inputs={2: t(S4)})
        yield "broadcasts", edited(plain, inputs={1: t((8, 4))})
        yield "broadcasts batch and channels", edited(plain, inputs={1: t((1, 4))})
        yield "broadcasts one", edited(plain, inputs={1: t((1, 1))})
        yield "broadcasts rank 3", edited(plain, inputs={1: t((8, 8, 4))})
        yield "other batch", edited(plain, inputs={0: t((2, 8, 8, 4)), 1: t((8, 8, 4))})
        yield "does not broadcast", edited(plain, inputs={1: t((3, 4))})
        yield "rank 1", edited(plain, inputs={1: t((3,))})
        yield "equal ranks", edited(plain, inputs={1: t((1, 3, 8, 4))})
        yield "TANH", edited(plain, fused_activation_function="TANH")
        yield "SIGN_BIT", edited(plain, fused_activation_function="SIGN_BIT")
    for kind in ("ABS", "LOGISTIC", "NEG", "HARD_SWISH", "RESHAPE", "TILE", "TRANSPOSE"):
        yield "two inputs", edited(base(kind), inputs={1: t(S4)})
        yield "constant second", edited(base(kind), inputs={1: w(S4)})
    yield "three", edited(base("ADD_N"), inputs={2: t(S4)})
    yield "three", edited(base("BATCH_MATMUL"), inputs={2: t(S4)})
    for source in ("bool", "float16", "float32", "int32", "int8"):
        for result in ("bool", "float16", "float32", "int32", "int8"):
            spec = edited(base("CAST"), inputs={0: t(S4, source)}, outputs={0: t(S4, result)})
            yield f"{source} to {result}", spec


def _weighted() -> Iterator[tuple[str, Spec]]:
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"):
        plain = base(kind)
        shape = plain.inputs[1].shape
        yield "filter moves", edited(plain, inputs={1: t(shape)})
        last = len(plain.inputs) - 1
        size = plain.inputs[last].shape
        yield "all move", edited(plain, inputs={1: t(shape), last: t(size)})
        yield "no bias", Spec(kind, plain.inputs[:last], plain.outputs, plain.attrs)
        yield "absent bias", edited(plain, inputs={last: None})
        yield "stride 0", edited(plain, stride_w=0)
        yield "dilation 0", edited(plain, dilation_w_factor=0)
        yield "dilated height 0", edited(plain, dilation_h_factor=0)
        yield "SIGN_BIT", edited(plain, fused_activation_function="SIGN_BIT")
        yield "two outputs", edited(plain, outputs={1: t(S4)})
    depthwise = base("DEPTHWISE_CONV_2D")
    yield "multiplier", edited(depthwise, depth_multiplier=2)
    yield "other batch", edited(depthwise, inputs={0: t((2, 8, 8, 4))})
    yield "rank 3", edited(depthwise, inputs={0: t((8, 8, 4))})
    yield "filter of rank 3", edited(depthwise, inputs={1: w((3, 3, 4))})
    yield "output of rank 3", edited(depthwise, outputs={0: t((8, 8, 4))})
    yield "bias of 3", edited(depthwise, inputs={2: c([0.0] * 3, "float32")})
    fully = base("FULLY_CONNECTED")
    yield "keeps dims", edited(fully, keep_num_dims=True)
    yield "keeps dims of other rank", edited(fully, inputs={0: t((1, 2, 4))}, keep_num_dims=True)
    yield "shuffled", edited(fully, weights_format="SHUFFLED4x16INT8")
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        yield "filter 0", edited(base(kind), filter_width=0)
        yield "filter height 0", edited(base(kind), filter_height=0)
        yield "stride 0", edited(base(kind), stride_h=0)
        yield "SIGN_BIT", edited(base(kind), fused_activation_function="SIGN_BIT")
        yield "TANH", edited(base(kind), fused_activation_function="TANH")
    lstm = base("LSTM")
    yield "RELU", edited(lstm, fused_activation_function="RELU")
    yield "19 inputs", Spec("LSTM", lstm.inputs[:19], lstm.outputs, lstm.attrs)
    yield "24 inputs", edited(lstm, inputs={20: None, 21: None, 22: None, 23: None})
    yield "basic", basic_lstm()
    yield "basic RELU", edited(basic_lstm(), fused_activation_function="RELU")
    yield "basic clipped", edited(basic_lstm(), cell_clip=1.0)
    yield "basic clips projection", edited(basic_lstm(), proj_clip=1.0)
    yield (
        "basic of three outputs",
        Spec("LSTM", basic_lstm().inputs, basic_lstm().outputs[:3], basic_lstm().attrs),
    )
    yield "two outputs", edited(lstm, outputs={1: t((1, 4))})
    yield "basic weights move", edited(basic_lstm(), inputs={2: t((16, 8))})


def basic_lstm() -> Spec:
    """Return an LSTM of the basic kernel, five inputs and four outputs."""
    inputs = (t((1, 4)), t((1, 4)), w((16, 8)), c([0.0] * 16, "float32"), t((1, 4)))
    outputs = (t((1, 4)), t((1, 4)), t((1, 8)), t((1, 16)))
    return Spec(
        "LSTM", inputs, outputs, {"fused_activation_function": "TANH", "kernel_type": "BASIC"}
    )


def _shapes() -> Iterator[tuple[str, Spec]]:
    for kind in ("CONV_2D", "PAD", "SELECT", "CUMSUM"):
        yield "one input", Spec(kind, base(kind).inputs[:1], base(kind).outputs, base(kind).attrs)
    for kind in ("PAD", "PADV2", "MIRROR_PAD"):
        yield "2x2", edited(base(kind), inputs={**NARROW, 1: c([[0, 1], [1, 0]])})
        yield "3x2", edited(base(kind), inputs={0: t((8, 8, 4)), 1: c([[0, 1]] * 3)})
        yield "pads move", edited(base(kind), inputs={1: t((4, 2), "int32")})
    yield "SYMMETRIC", edited(base("MIRROR_PAD"), mode="SYMMETRIC")
    for kind in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"):
        for block in (0, 1, 4):
            yield f"block {block}", edited(base(kind), block_size=block)
    for kind in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"):
        yield "axes move", edited(base(kind), inputs={1: t((2,), "int32")})
        yield "int64 axes", edited(base(kind), inputs={1: c([1, 2], "int64")})
    for kind in ("SLICE", "STRIDED_SLICE"):
        yield "rank 2", edited(base(kind), inputs=NARROW)
        yield "rank 3", edited(base(kind), inputs={0: t((8, 8, 4))})
        yield "rank 5", edited(base(kind), inputs={0: t(FIVE)})
        yield "two inputs", Spec(kind, base(kind).inputs[:2], base(kind).outputs, base(kind).attrs)
    for mask in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "begin_mask"):
        yield mask, edited(base("STRIDED_SLICE"), **{mask: 1})
    yield "beta 2", edited(base("SOFTMAX"), beta=2.0)
    for kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        for corners in (False, True):
            for centers in (False, True):
                yield (
                    f"{corners} {centers}",
                    edited(base(kind), align_corners=corners, half_pixel_centers=centers),
                )
        yield "size moves", edited(base(kind), inputs={1: t((2,), "int32")})
    yield "int16", edited(base("DEQUANTIZE", "int16"))
    yield "two inputs", edited(base("DEQUANTIZE", "int8"), inputs={1: t(S4)})
    yield "moves", edited(base("DENSIFY"), inputs={0: t((4, 4))})
    yield "axis moves", edited(base("CUMSUM"), inputs={1: t((), "int32")})
    yield "int64 axis", edited(base("CUMSUM"), inputs={1: c(3, "int64")})
    yield "other type", edited(base("CUMSUM"), outputs={0: t(S4, "float16")})


def _selections() -> Iterator[tuple[str, Spec]]:
    gather = base("GATHER")
    yield "constant indices", edited(gather, inputs={1: c([1, 2, 3])})
    yield "matrix", edited(gather, inputs={1: t((3, 1), "int32")})
    yield "int64", edited(gather, inputs={1: t((3,), "int64")})
    yield "constant values", edited(gather, inputs={0: w(S4)})
    one_hot = base("ONE_HOT")
    yield "axis 0", edited(one_hot, axis=0)
    yield "axis 1", edited(one_hot, axis=1)
    yield "int64", edited(one_hot, inputs={0: t((1,), "int64")})
    yield "matrix", edited(one_hot, inputs={0: t((2, 3), "int32")})
    yield "row", edited(one_hot, inputs={0: t((1, 3), "int32")})
    yield "rank 4", edited(one_hot, inputs={0: t((2, 1, 1, 3), "int32")})
    yield "on moves", edited(one_hot, inputs={2: t(())})
    yield "on of two", edited(one_hot, inputs={2: c([1.0, 2.0], "float32")})
    yield "off of int32", edited(one_hot, inputs={3: c(0)})
    for kind in ("SELECT", "SELECT_V2"):
        plain = base(kind)
        yield "scalar branch", edited(plain, inputs={1: c(1.0, "float32")})
        yield "single branch", edited(plain, inputs={2: c([1.0], "float32")})
        yield "other shape", edited(plain, inputs={1: t((1, 1, 1, 4))})
        yield "other else", edited(plain, inputs={2: t((2,))})
        yield "int32 condition", edited(plain, inputs={0: t(S4, "int32")})
        yield "float condition", edited(plain, inputs={0: t(S4)})
        yield (
            "constant matrix",
            edited(
                plain,
                inputs={0: t((8, 4), "bool"), 1: w((8, 4)), 2: t((8, 4))},
                outputs={0: t((8, 4))},
            ),
        )
        yield (
            "constant else",
            edited(
                plain,
                inputs={0: t((8, 4), "bool"), 1: t((8, 4)), 2: w((8, 4))},
                outputs={0: t((8, 4))},
            ),
        )
