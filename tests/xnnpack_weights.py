"""The cases of XNNPACK's table for operators with weights: convolutions and FULLY_CONNECTED."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.graph import Tensor
from tests.single_ops import Spec, base, bias, c, edited, t, w

TYPES = ("float32", "int8", "uint8")
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "TANH", "SIGN_BIT")


def weighted_specs() -> Iterator[tuple[str, Spec]]:
    """Yield (what is special, operator) for every operator with weights."""
    yield from _convolutions()
    yield from _fully_connected()
    yield from _transpose_convolutions()


def _convolutions() -> Iterator[tuple[str, Spec]]:
    for kind, shape, axis in (("CONV_2D", (6, 3, 3, 4), 0), ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), 3)):
        channels = shape[axis]
        scales = tuple(0.01 * (i + 1) for i in range(channels))
        for dtype in TYPES:
            plain = base(kind, dtype)
            yield f"{dtype} no bias", edited(plain, inputs={2: None})
            yield f"{dtype} two inputs", Spec(kind, plain.inputs[:2], plain.outputs, plain.attrs)
            moving = t(shape, dtype)
            yield f"{dtype} filter moves", edited(plain, inputs={1: moving})
            yield f"{dtype} bias moves", edited(plain, inputs={2: _moving(plain.inputs[2])})
            yield f"{dtype} dilated", edited(plain, dilation_w_factor=2, dilation_h_factor=2)
            for activation in ACTIVATIONS:
                yield f"{dtype} {activation}", edited(plain, fused_activation_function=activation)
        signed = base(kind, "int8")
        yield (
            "per channel",
            edited(
                signed,
                inputs={
                    1: w(shape, "int8", scale=scales, axis=axis),
                    2: c([0] * channels, scale=scales),
                },
            ),
        )
        other = 3 - axis
        yield (
            "other axis",
            edited(signed, inputs={1: w(shape, "int8", scale=(0.1,) * shape[other], axis=other)}),
        )
        yield (
            "channel zero points",
            edited(signed, inputs={1: w(shape, "int8", scale=scales, axis=axis, zero=3)}),
        )
        yield "zero point", edited(signed, inputs={1: w(shape, "int8", zero=3)})
        yield (
            "unsigned per channel",
            edited(base(kind, "uint8"), inputs={1: w(shape, "uint8", scale=scales, axis=axis)}),
        )
        yield "bias without scale", edited(signed, inputs={2: c([0] * channels)})
        yield "bias zero point", edited(signed, inputs={2: c([0] * channels, scale=0.0025, zero=1)})
        yield "float16 bias", edited(base(kind), inputs={2: c([0] * channels, "float16")})
        yield "float16 weights", edited(base(kind), inputs={1: w(shape, "float16")})
        yield "dynamic range", edited(base(kind), inputs={1: w(shape, "int8")})
        yield (
            "dynamic range per channel",
            edited(base(kind), inputs={1: w(shape, "int8", scale=scales, axis=axis)}),
        )
        yield "int4", edited(signed, inputs={1: w(shape, "int4", scale=scales, axis=axis)})
        yield "int64 bias", edited(signed, inputs={2: c([0] * channels, "int64", scale=0.1)})
        for dtype in (*TYPES, "float16"):
            for weights in ("int4", "int8", "uint8", "float16", "float32"):
                yield (
                    f"{dtype} x {weights}",
                    edited(base(kind, dtype), inputs={1: w(shape, weights)}),
                )
        yield (
            "stride 2",
            edited(base(kind), outputs={0: t((1, 4, 4, channels))}, stride_w=2, stride_h=2),
        )
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        channels = base(kind).outputs[0].shape[-1]
        for shape in ((8, 8, channels), (1, 1, 8, 8, channels)):
            yield f"output of rank {len(shape)}", edited(base(kind), outputs={0: t(shape)})
        scaled = tuple(0.1 for _ in range(3))
        shape = base(kind).inputs[1].shape
        yield "scales of floats", edited(base(kind), inputs={1: w(shape, scale=scaled, axis=1)})
    yield "groups", edited(base("CONV_2D"), inputs={1: w((6, 3, 3, 2))})
    yield "int8 groups", edited(base("CONV_2D", "int8"), inputs={1: w((6, 3, 3, 2), "int8")})
    yield (
        "multiplier",
        edited(
            base("DEPTHWISE_CONV_2D"),
            inputs={1: w((1, 3, 3, 8)), 2: bias(8, "float32")},
            outputs={0: t((1, 8, 8, 8))},
            depth_multiplier=2,
        ),
    )


def _moving(tensor: Tensor | None) -> Tensor | None:
    assert tensor is not None
    q = tensor.quantization
    return t(tensor.shape, tensor.dtype, q.scales if q else None)


def _fully_connected() -> Iterator[tuple[str, Spec]]:
    kind, shape = "FULLY_CONNECTED", (3, 4)
    scales = (0.01, 0.02, 0.03)
    for dtype in TYPES:
        plain = base(kind, dtype)
        yield f"{dtype} no bias", edited(plain, inputs={2: None})
        yield f"{dtype} two inputs", Spec(kind, plain.inputs[:2], plain.outputs, plain.attrs)
        yield f"{dtype} weights move", edited(plain, inputs={1: t(shape, dtype)})
        yield f"{dtype} bias moves", edited(plain, inputs={2: _moving(plain.inputs[2])})
        yield (
            f"{dtype} keep dims",
            edited(
                plain,
                inputs={0: t((2, 2, 4), dtype)},
                outputs={0: t((2, 2, 3), dtype)},
                keep_num_dims=True,
            ),
        )
        yield (
            f"{dtype} flattens",
            edited(plain, inputs={0: t((2, 2, 4), dtype)}, outputs={0: t((4, 3), dtype)}),
        )
        for activation in ACTIVATIONS:
            yield f"{dtype} {activation}", edited(plain, fused_activation_function=activation)
    signed, plain = base(kind, "int8"), base(kind)
    by_channel = {1: w(shape, "int8", scale=scales), 2: c([0, 0, 0], scale=scales)}
    yield "per channel", edited(signed, inputs=by_channel)
    yield (
        "per channel zero points",
        edited(signed, inputs={1: w(shape, "int8", scale=scales, zero=2)}),
    )
    yield "other axis", edited(signed, inputs={1: w(shape, "int8", scale=(0.1,) * 4, axis=1)})
    yield (
        "unsigned per channel",
        edited(base(kind, "uint8"), inputs={1: w(shape, "uint8", scale=scales)}),
    )
    yield "bias without scale", edited(signed, inputs={2: c([0, 0, 0])})
    yield "weights without scale", edited(signed, inputs={1: w(shape, "int8", quantized=False)})
    yield "float16 weights", edited(plain, inputs={1: w(shape, "float16")})
    yield "float16 bias", edited(plain, inputs={2: c([0, 0, 0], "float16")})
    for name, spec in (("float32", plain), ("int8", signed)):
        yield f"{name} int8 weights", edited(spec, inputs={1: w(shape, "int8")})
        yield f"{name} int8 by channel", edited(spec, inputs={1: w(shape, "int8", scale=scales)})
        yield f"{name} int4 by channel", edited(spec, inputs={1: w(shape, "int4", scale=scales)})
        yield f"{name} int4 one scale", edited(spec, inputs={1: w(shape, "int4", scale=0.1)})
        yield (
            f"{name} int4 odd",
            edited(
                spec,
                inputs={0: t((2, 5), name), 1: w((3, 5), "int4", scale=scales)},
            ),
        )
    for dtype in (*TYPES, "float16"):
        for weights in ("int2", "int4", "int8", "uint8", "float16", "float32"):
            quantized = {} if weights.startswith("float") else {"scale": scales}
            yield (
                f"{dtype} x {weights}",
                edited(base(kind, dtype), inputs={1: w(shape, weights, **quantized)}),
            )
    for dtype in ("float32", "int8", "uint8"):
        for zero in (-1, 3):
            weights = w(shape, "int8" if dtype == "float32" else dtype, zero=abs(zero))
            yield f"{dtype} zero point {zero}", edited(base(kind, dtype), inputs={1: weights})
            if dtype != "uint8":
                by_row = w(shape, "int8", scale=scales, zero=zero)
                yield f"{dtype} zero points {zero}", edited(base(kind, dtype), inputs={1: by_row})
    yield "version 8", edited(plain, version=8)
    yield "version 9", edited(plain, version=9)
    yield (
        "one row int4",
        edited(
            plain,
            inputs={1: w((1, 4), "int4", scale=0.1), 2: c([0.0], "float32")},
            outputs={0: t((2, 1))},
        ),
    )


def _transpose_convolutions() -> Iterator[tuple[str, Spec]]:
    kind, shape = "TRANSPOSE_CONV", (6, 3, 3, 4)
    scales = tuple(0.01 * (i + 1) for i in range(6))
    for dtype in TYPES:
        plain = base(kind, dtype)
        yield f"{dtype} no bias", Spec(kind, plain.inputs[:3], plain.outputs, plain.attrs)
        yield f"{dtype} absent bias", edited(plain, inputs={3: None})
        yield f"{dtype} filter moves", edited(plain, inputs={1: t(shape, dtype)})
        yield f"{dtype} shape moves", edited(plain, inputs={0: t((4,), "int32")})
        yield f"{dtype} RELU", edited(plain, fused_activation_function="RELU")
        yield f"{dtype} TANH", edited(plain, fused_activation_function="TANH")
        yield (
            f"{dtype} VALID",
            edited(
                plain,
                inputs={0: c([1, 17, 17, 6])},
                outputs={0: t((1, 17, 17, 6), dtype)},
                padding="VALID",
            ),
        )
        yield (
            f"{dtype} stride over filter",
            edited(
                plain,
                inputs={0: c([1, 32, 32, 6])},
                outputs={0: t((1, 32, 32, 6), dtype)},
                stride_w=4,
                stride_h=4,
            ),
        )
    yield (
        "per channel",
        edited(
            base(kind, "int8"),
            inputs={1: w(shape, "int8", scale=scales), 3: c([0] * 6, scale=scales)},
        ),
    )
    yield "dynamic range", edited(base(kind), inputs={1: w(shape, "int8")})
    yield (
        "dynamic range per channel",
        edited(base(kind), inputs={1: w(shape, "int8", scale=scales)}),
    )
    yield (
        "other axis",
        edited(base(kind, "int8"), inputs={1: w(shape, "int8", scale=(0.1,) * 4, axis=3)}),
    )
