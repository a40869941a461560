"""The operators of a float ``.tflite`` as plain values, to be trained with integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebuild.compress.ptq.network import Network, Operator
from edgebuild.compress.qat_ops import ACTIVATIONS, COMPUTE, Spec
from edgebuild.errors import InputError
from edgebuild.models.float_tflite import unpack
from edgebuild.tflite import schema
from edgebuild.units import listed

SAME_SCALE = {
    *("RESHAPE", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "CONCATENATION", "TRANSPOSE"),
    *("SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "SLICE", "MAXIMUM", "MINIMUM"),
    *("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", "SPLIT", "UNPACK", "PACK"),
    *("REDUCE_MAX", "REDUCE_MIN", "TILE", "PADV2", "MIRROR_PAD", "DEPTH_TO_SPACE"),
    *("SPACE_TO_DEPTH", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"),
}
"""Operators that only move values (or choose among them): int8 in and out have one scale."""

FIXED = {
    "SOFTMAX": (0.0, 255.0 / 256.0),
    "LOGISTIC": (0.0, 255.0 / 256.0),
    "TANH": (-1.0, 127.0 / 128.0),
    "LOG_SOFTMAX": (-255.0 / 16.0, 0.0),
}
"""Operators whose int8 output has a scale that the format prescribes, with its range."""

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators whose second input is a kernel, with a scale for each output channel."""


def spec_of(network: Network) -> list[Spec]:
    """Return the network's operators; InputError for one that cannot be trained with."""
    model = unpack(network.content())
    found, unknown = [], []
    computed = set(network.computed())
    for op in network.operators:
        if op.kind not in COMPUTE:
            unknown.append(network.label(op))
            continue
        found.append(
            {
                "number": op.number,
                "kind": op.kind,
                "inputs": list(op.inputs),
                "outputs": list(op.outputs),
                "computed": [tensor in computed for tensor in op.inputs],
                "options": _options(op),
                "integers": _integers(network, model, op),
            }
        )
    if unknown:
        raise InputError(
            f"quantize: cannot be trained with integers: {listed(unknown, 4)}",
            hint="leave out epochs: the calibrated form needs no training",
        )
    return found


def biases_of(spec: Spec) -> list[int]:
    """Return the bias of a weighted operator, in a list that is empty where it has none."""
    place = 3 if spec["kind"] == "TRANSPOSE_CONV" else 2
    return [t for t in spec["inputs"][place : place + 1] if t >= 0]


def compute(spec: Spec, inputs: Sequence[Any]) -> list[Any]:
    """Return the operator's outputs, its activation included, for a batch of any size."""
    value = COMPUTE[spec["kind"]](spec, inputs)
    if isinstance(value, (list, tuple)):
        return list(value)
    return [ACTIVATIONS[spec["options"].get("activation", "NONE")](value)]


def _options(op: Operator) -> dict[str, Any]:
    """Return an operator's options as plain values, enumerations by name."""
    found: dict[str, Any] = {}
    for name, value in vars(op.options).items() if op.options is not None else ():
        if name == "fusedActivationFunction":
            found["activation"] = schema.enum_names("ActivationFunctionType")[value]
        elif name == "padding":
            found["padding"] = schema.enum_names("Padding")[value]
        elif isinstance(value, (int, float, bool)):
            found[name] = value
    return found


def _integers(network: Network, model: Any, op: Operator) -> dict[str, list[int]]:
    """Return an operator's integer constants by their position among the inputs."""
    graph, types = model.subgraphs[0], schema.module().TensorType
    found = {}
    for position, tensor in enumerate(op.inputs):
        if tensor < 0 or network.is_float(tensor):
            continue
        raw = model.buffers[graph.tensors[tensor].buffer].data
        known = raw is not None and graph.tensors[tensor].type == types.INT32
        if not known and op.kind == "RESHAPE":
            continue  # the output's shape says it
        if not known:
            raise InputError(
                f"quantize: {network.label(op)} has a shape that is computed",
                hint="leave out epochs",
            )
        values = np.frombuffer(bytes(raw), "<i4").reshape(network.shape(tensor))
        found[str(position)] = values.tolist()
    if op.kind in ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"):
        found["shape"] = list(network.shape(op.output))
    if op.kind in ("SLICE", "STRIDED_SLICE"):
        found["shape"] = list(network.shape(op.inputs[0]))
    return found
