"""The flatbuffer schema's names as edgebuild spells them: kinds, snake_case fields, enums."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_OPTIONS_OF_KIND = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "BIDIRECTIONAL_SEQUENCE_RNN": "BidirectionalSequenceRNNOptions",
    "RANDOM_UNIFORM": "RandomOptions",
    "RANDOM_STANDARD_NORMAL": "RandomOptions",
    "MULTINOMIAL": "RandomOptions",
}
"""Builtin options of the kinds whose options are not simply named after them."""

_ENUM_OF_FIELD = {
    "padding": "Padding",
    "fused_activation_function": "ActivationFunctionType",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "output_type": "TensorType",
    "quantized_bias_type": "TensorType",
    "mode": "MirrorPadMode",
    "kernel_type": "LSTMKernelType",
}


def module() -> Any:
    """Return the generated schema module that ai-edge-litert ships."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def snake(name: str) -> str:
    """Return a schema field's camelCase name in snake_case: ``strideW`` -> ``stride_w``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def options_of_kind(kind: str) -> str | None:
    """Return the builtin options type of an operator kind, or None when it has none."""
    plain = f"{kind.replace('_', '')}Options".lower()
    return _OPTIONS_OF_KIND.get(kind) or _options_by_lower_case().get(plain)


def has_second_options(kind: str) -> bool:
    """Return whether an operator kind has its options in the schema's second union, which the
    reader does not read: those of StableHLO and a few newer ones."""
    plain = f"{kind.replace('_', '')}Options".lower()
    return plain in {name.lower() for name in enum_values("BuiltinOptions2")}


@cache
def _options_by_lower_case() -> dict[str, str]:
    """The schema writes ``BatchMatMulOptions`` and ``LSTMOptions``: kinds do not tell capitals."""
    return {name.lower(): name for name in enum_values("BuiltinOptions")}


@cache
def enum_names(enum: str) -> dict[int, str]:
    """Return value -> name of a schema enumeration, e.g. ``Padding``."""
    members = vars(getattr(module(), enum)).items()
    return {value: name for name, value in members if not name.startswith("_")}


@cache
def enum_values(enum: str) -> dict[str, int]:
    """Return name -> value of a schema enumeration."""
    return {name: value for value, name in enum_names(enum).items()}


def enum_of_field(field: str) -> str | None:
    """Return the enumeration that a snake_case options field holds, or None."""
    return _ENUM_OF_FIELD.get(field)
