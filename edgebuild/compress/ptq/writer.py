"""Write a network whose weights and ranges are decided in the number format of each operator.

int8 throughout is written by the TFLite converter's quantizer, as a plain build does; every other
format by ``litert-quantizer``, operator by operator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgebuild.compress.ptq.calibration import Range
from edgebuild.compress.ptq.network import Network, Operator
from edgebuild.errors import EdgebuildError, ModelError, ToolError
from edgebuild.models.bias import repair_biases
from edgebuild.models.float_tflite import named, pack, stripped, unpack
from edgebuild.models.obstacles import CONVERTER_HINT, reasons

FORMATS = ("int4", "int8", "int16x8", "float16", "float32")
"""From the smallest to the most exact. int4 are weights, with int8 activations."""

_BITS = {"int4": (8, 4), "int8": (8, 8), "int16x8": (16, 8)}
"""Of activations and of weights."""


def write(
    network: Network,
    ranges: Mapping[int, Range],
    formats: Mapping[int, str],
    *,
    names: bool = True,
) -> bytes:
    """Return the ``.tflite`` in which each operator has the format that ``formats`` gives it.

    Args:
        network: the float network.
        ranges: of every tensor that integers are to hold.
        formats: one of ``FORMATS`` for each operator's number. Where an operator has no such form
            it is int8, or float32 where it has none of that either: ``possible`` tells.
        names: False leaves each tensor with ``network.name`` of it, to be found by that.
    """
    kinds = set(formats.values())
    if kinds == {"int8"}:
        content = _write_int8(network, ranges)
    elif kinds == {"float32"}:
        content = network.content()
    else:
        content = _write_mixed(network, ranges, formats)
    return _renamed(stripped(content), network) if names else stripped(content)


def possible(network: Network, op: Operator, wanted: str) -> str:
    """Return the format in which litert-quantizer can write ``op``: ``wanted``, or the next best
    that it has."""
    from litert_quantizer import algorithm_manager

    if wanted == "float32" or (wanted == "float16" and op in network.weighted()):
        return wanted
    tried = {"int4": ("int4", "int8"), "int16x8": ("int16x8", "int8"), "int8": ("int8",)}
    for choice in tried.get(wanted, ()):
        if choice == "int4" and op not in network.weighted():
            continue
        try:
            algorithm_manager.check_op_quantization_config(
                algorithm_manager.AlgorithmName.MIN_MAX_UNIFORM_QUANT,
                _operation(op.kind),
                _config(*_BITS[choice]),
            )
        except ValueError:
            continue
        return choice
    return "float32"


def _operation(kind: str) -> Any:
    """Return litert-quantizer's name of an operator; ValueError for one that it does not know."""
    from litert_quantizer import qtyping

    names = {"TRANSPOSE_CONV": "CONV_2D_TRANSPOSE"}
    return qtyping.TFLOperationName(names.get(kind, kind))


def _config(activation_bits: int, weight_bits: int) -> Any:
    from litert_quantizer import qtyping

    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=activation_bits, symmetric=activation_bits == 16
        ),
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=weight_bits,
            symmetric=True,
            granularity=qtyping.QuantGranularity.CHANNELWISE,
        ),
        compute_precision=qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=False,
    )


def _write_int8(network: Network, ranges: Mapping[int, Range]) -> bytes:
    import tensorflow as tf
    from tensorflow.compiler.mlir.lite import types_pb2
    from tensorflow.lite.python.convert import mlir_quantize

    try:
        content = mlir_quantize(
            network.content(ranges),
            fully_quantize=True,
            inference_type=types_pb2.QUANTIZED_INT8,
            input_data_type=tf.int8,
            output_data_type=tf.int8,
        )
    except Exception as error:
        raise _refused(error) from error
    return bytes(content)


def _refused(error: Exception) -> EdgebuildError:
    """Return the error for a model that the converter does not quantize: the model's where it has
    no int8 form of an operator, else the converter's own."""
    first, *rest = reasons(str(error)) or [type(error).__name__]
    message = f"TensorFlow's converter failed to make a full int8 model: {first}"
    if any("quantiz" in line.lower() or "int8" in line.lower() for line in (first, *rest)):
        return ModelError(
            message,
            details=rest[:4],
            hint="replace the layers that it names with layers that TFLite has in int8",
        )
    return ToolError(message, details=rest[:4], hint=CONVERTER_HINT)


def _write_mixed(
    network: Network, ranges: Mapping[int, Range], formats: Mapping[int, str]
) -> bytes:
    from litert_quantizer import qtyping, quantizer
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.recipe_manager import RecipeManager

    everything = qtyping.TFLOperationName.ALL_SUPPORTED
    manager = RecipeManager()
    for op in network.operators:
        choice, scope = formats[op.number], _scope(network, op.output)
        if choice in _BITS:
            manager.add_quantization_config(scope, everything, _config(*_BITS[choice]))
        elif choice == "float16":
            manager.add_weight_only_config(
                scope, everything, 16, algorithm_key=AlgorithmName.FLOAT_CASTING
            )
    for tensor, name, users in _ends(network):
        # An end is what the operators there compute with: an index, say, stays a float.
        bits = [_BITS[formats[op.number]][0] for op in users if formats[op.number] in _BITS]
        if bits:
            kind = qtyping.TFLOperationName(name)
            manager.add_quantization_config(_scope(network, tensor), kind, _config(max(bits), 8))
    found = {
        network.name(tensor): {
            "min": np.array([low], np.float32),
            "max": np.array([high], np.float32),
        }
        for tensor, (low, high) in ranges.items()
    }
    content = network.content()
    result = quantizer.Quantizer(bytearray(content), manager.get_quantization_recipe()).quantize(
        found, enable_progress_bar=False, enable_progress_report=False
    )
    if result.quantized_model is None:
        raise ToolError(
            "litert-quantizer returned no model",
            hint="another version of it, or --compress quantize without a mixed format",
        )
    quantized = unpack(bytes(result.quantized_model))
    repair_biases(quantized, unpack(content))
    return pack(quantized)


def _scope(network: Network, tensor: int) -> str:
    """Return the expression for the operator that computes ``tensor``: a scope is the names of its
    outputs, each with a semicolon behind it."""
    return f"^{re.escape(network.name(tensor))};"


def _ends(network: Network) -> list[tuple[int, str, tuple[Operator, ...]]]:
    """Return inputs and outputs, as litert-quantizer calls them, with the operators there."""
    makers = {i: (op,) for op in network.operators for i in op.outputs}
    inputs = [(i, "INPUT", network.readers(i)) for i in network.inputs]
    return [*inputs, *((i, "OUTPUT", makers.get(i, ())) for i in network.outputs)]


def _renamed(content: bytes, network: Network) -> bytes:
    """Return the finished file, with the tensors' own names."""
    model = unpack(content)
    for tensor in model.subgraphs[0].tensors:
        number = re.match(rb"^t(\d+)_(.*)$", tensor.name or b"")
        if number and int(number[1]) < len(network.original_names):
            name = network.original_names[int(number[1])]
            tensor.name = name.encode() + number[2]
    inputs, outputs = (
        [network.original_names[i] for i in end] for end in (network.inputs, network.outputs)
    )
    return named(pack(model), inputs, outputs)
