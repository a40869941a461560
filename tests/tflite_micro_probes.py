"""Models of one operator that ask TFLite Micro which number formats it runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from edgebuild.graph import Graph
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from tests.single_ops import MAKERS, Spec, base, c, t

FORMS = ("float32", "int8", "uint8", "int16", "int32", "int64", "uint32", "bool")
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def probes() -> Iterator[Graph]:
    """Yield a valid model of each operator of TFLite Micro in each format that has one."""
    for kind in RESOLVER_METHODS:
        for form in FORMS if kind in MAKERS else ():
            with contextlib.suppress(KeyError, TypeError, ValueError):  # no such form
                yield base(kind, form).graph()
    yield from (spec.graph() for spec in _others())


def _others() -> Iterator[Spec]:
    for kind in CONVOLUTIONS:  # 16-bit activations with 8-bit weights
        made = base(kind, "int8")
        x, weights, bias = made.inputs
        assert x is not None and bias is not None and bias.quantization is not None
        wide = dataclasses.replace(t(x.shape, "int16"), name=x.name)
        sums = c([0] * bias.elements, "int64", scale=bias.quantization.scales)
        outputs = (t(made.outputs[0].shape, "int16"),)
        yield dataclasses.replace(made, inputs=(wide, weights, sums), outputs=outputs)
    for kind in ("LOGISTIC", "TANH"):
        scale, zero = (1 / 256, -128) if kind == "LOGISTIC" else (1 / 128, 0)
        yield Spec(kind, (t((1, 8), "int8"),), (t((1, 8), "int8", scale, zero),), {})
        wide = t((1, 8), "int16", 1 / 4096)
        yield Spec(kind, (wide,), (t((1, 8), "int16", 1 / 32768),), {})
    narrow = t((1, 8), "int8", 1 / 256, -128)
    likely = t((1, 8), "int16", 1 / 32768)
    yield Spec("SOFTMAX", (t((1, 8), "int16"),), (likely,), {"beta": 1.0})
    for given, made in (("int8", "int8"), ("int8", "int16"), ("int16", "int8"), ("int16", "int16")):
        yield Spec("QUANTIZE", (t((1, 8), given),), (t((1, 8), made, 0.1),), {})
    yield Spec("QUANTIZE", (t((1, 8), "uint8"),), (narrow,), {})
    for form in ("float32", "int8", "int16", "int32"):
        yield Spec("BROADCAST_TO", (t((1, 4), form), c([3, 4])), (t((3, 4), form),), {})
        yield Spec("GATHER_ND", (t((3, 4), form), c([[2], [0]])), (t((2, 4), form),), {})
        yield Spec("ZEROS_LIKE", (t((1, 4), form),), (t((1, 4), form),), {})
        yield Spec("SHAPE", (t((1, 4), form),), (t((2,), "int32"),), {"out_type": 2})
