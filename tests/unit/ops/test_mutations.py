"""Valid models with one thing changed are built, or refused as what they are: never a bug.

Options, shapes, types, scales and operands of every operator's cases are changed at random, with
fixed seeds; what is accepted gets its kernels, its memory plan and its code.
"""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from edgebuild.codegen.c_library import generate_library
from edgebuild.errors import EdgebuildError, Exit
from edgebuild.graph import DType, Graph, Quantization, Tensor
from edgebuild.memory import plan_memory
from edgebuild.ops import OPS
from edgebuild.passes import supported_graph
from edgebuild.schedule import schedule_graph
from edgebuild.targets import CORES, CpuFeatures
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite

INTEGERS = (0, -1, 1, 2, 3, 7, 31, 100, 255, 4097, 2**31 - 1, -(2**31))
FLOATS = (0.0, -1.0, 0.5, 7.0, 1e-30, 1e30, float("inf"), float("nan"))
SCALES = (0.0, -1.0, 1e-45, 1e-38, 1e-12, 1e-9, 1e-3, 3.0, 1e6, 1e12, 3e38, *FLOATS[-2:])
WORDS = {
    "padding": ("SAME", "VALID"),
    "fused_activation_function": ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH"),
    "weights_format": ("DEFAULT", "SHUFFLED4x16INT8"),
    "output_type": ("INT32", "INT64", "INT8"),
}
TYPES = (*(DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64), DType.FLOAT32)
FOREIGN = (DType.BOOL, DType.FLOAT16, DType.UINT32)
CASES = [(kind, case) for kind, operator in OPS.items() for case in operator.cases()]


def other_value(rng: random.Random, key: str, value: object) -> object:
    if key in WORDS:
        return rng.choice(WORDS[key])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(INTEGERS)
    if isinstance(value, float):
        return rng.choice(FLOATS)
    if isinstance(value, tuple):
        return tuple(rng.choice(INTEGERS[:6]) for _ in range(rng.randint(0, 4)))
    return value


def other_shape(rng: random.Random, tensor: Tensor) -> Tensor:
    shape = list(tensor.shape)
    if shape and rng.random() < 0.6:
        shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 3, 5, 8, 33))
    elif shape and rng.random() < 0.5:
        del shape[rng.randrange(len(shape))]
    else:
        shape.insert(rng.randint(0, len(shape)), rng.choice((1, 2)))
    if tensor.data is None:
        return dataclasses.replace(tensor, shape=tuple(shape))
    data = np.resize(tensor.data if tensor.data.size else np.zeros(1), shape)
    return dataclasses.replace(
        tensor, shape=tuple(shape), data=data.astype(tensor.dtype.numpy).reshape(shape)
    )


def other_quantization(rng: random.Random, tensor: Tensor) -> Tensor:
    old = tensor.quantization or Quantization((0.1,), (0,))
    scales, zeros = list(old.scales), list(old.zero_points)
    what = rng.randrange(4)
    if what == 0:
        scales[rng.randrange(len(scales))] = rng.choice(SCALES)
    elif what == 1:
        zeros[rng.randrange(len(zeros))] = rng.choice((0, 1, -128, 127, 128, 300, 2**31 - 1))
    elif what == 2:
        scales, zeros = scales[:1] * 3, zeros[:1] * 3
    axis = rng.choice((0, 1, 3, 7, -1)) if what == 3 else old.axis
    return dataclasses.replace(tensor, quantization=Quantization(tuple(scales), tuple(zeros), axis))


def other_type(rng: random.Random, tensor: Tensor) -> Tensor:
    dtype = rng.choice((*TYPES, *FOREIGN))
    data = None if tensor.data is None else tensor.data.astype(dtype.numpy)
    return dataclasses.replace(tensor, dtype=dtype, data=data)


def mutated(rng: random.Random, graph: Graph) -> Graph:
    """Return ``graph``, a case of one operator, with one to three things changed."""
    (op,), tensors = graph.ops, dict(graph.tensors)
    for _ in range(rng.choice((1, 1, 2, 3))):
        what = rng.randrange(6)
        if what < 2 and op.attrs:
            key = rng.choice(sorted(op.attrs))
            value = other_value(rng, key, op.attrs[key])
            op = dataclasses.replace(op, attrs={**op.attrs, key: value})
        elif what == 2:
            inputs = list(op.inputs)
            inputs[rng.randrange(len(inputs))] = rng.choice((-1, *sorted(tensors)))
            inputs = inputs + inputs[:1] if rng.random() < 0.3 else inputs
            op = dataclasses.replace(op, inputs=tuple(inputs))
        else:
            index = rng.choice(sorted(tensors))
            change = (other_shape, other_quantization, other_type)[what - 3]
            tensors[index] = change(rng, tensors[index])
    given = (i for i in dict.fromkeys(op.inputs) if i != -1 and i not in op.outputs)
    inputs = tuple(i for i in given if tensors[i].data is None) or graph.inputs
    return graph.replace(ops=(op,), tensors=tensors, inputs=inputs)


def verdict(model: bytes) -> Exit:
    """Read, check and generate as a build does; return the exit code of the command."""
    try:
        graph = supported_graph(read_tflite(model), where="m").graph
        for cpu in (CpuFeatures(), CORES["cortex-m4"]):
            schedule = schedule_graph(graph, cpu)
            plan = plan_memory(schedule.graph, schedule.calls)
            generate_library(schedule.graph, schedule.calls, plan, "m")
    except EdgebuildError as error:
        return error.exit_code
    return Exit.OK


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_model_is_built_or_refused(seed):
    rng = random.Random(seed)
    codes = []
    for _ in range(250):
        kind, case = rng.choice(CASES)
        try:
            model = write_tflite(mutated(rng, case.graph))
        except (OverflowError, ValueError, TypeError):
            continue  # no file can say that
        codes.append(verdict(model))
        assert codes[-1] in (Exit.OK, Exit.BAD_INPUT), (kind, case.name)
    assert codes.count(Exit.OK) > 20 and codes.count(Exit.BAD_INPUT) > 100


@pytest.mark.parametrize(
    ("kind", "attrs", "words"),
    [
        ("DEPTHWISE_CONV_2D", {"depth_multiplier": 7}, "depth_multiplier is 7"),
        ("LEAKY_RELU", {"alpha": 1e30}, "which no multiplier holds"),
        ("LEAKY_RELU", {"alpha": float("nan")}, "which no multiplier holds"),
        ("SQUEEZE", {"squeeze_dims": (1,)}, "are not dimensions of length 1"),
    ],
)
def test_contradicting_options(kind, attrs, words):
    graph = next(iter(OPS[kind].cases())).graph
    (op,) = graph.ops
    op = dataclasses.replace(op, attrs={**op.attrs, **attrs})
    with pytest.raises(EdgebuildError, match="contradicts itself") as error:
        supported_graph(read_tflite(write_tflite(graph.replace(ops=(op,)))), where="m")
    assert words in error.value.message


@pytest.mark.parametrize(
    ("kind", "tensor", "scale", "words"),
    [
        ("CONV_2D", 0, 3e38, "which no multiplier holds"),
        ("MUL", 0, 1e30, "which no multiplier holds"),
        ("TANH", 0, 1e-12, "too small for any multiplier"),
        ("HARD_SWISH", 1, 1e-6, "is below 1/128 of the input's"),
        ("FULLY_CONNECTED", 2, 0.9, "the bias has scale 0.9"),
    ],
)
def test_contradicting_scales(kind, tensor, scale, words):
    graph = next(iter(OPS[kind].cases())).graph
    old = graph.tensors[tensor]
    changed = dataclasses.replace(old, quantization=Quantization((scale,), (0,)))
    model = write_tflite(graph.replace(tensors={**graph.tensors, tensor: changed}))
    with pytest.raises(EdgebuildError, match="contradicts itself") as error:
        supported_graph(read_tflite(model), where="m")
    assert words in error.value.message
