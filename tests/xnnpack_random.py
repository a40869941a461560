"""Random changes of the cases of XNNPACK's table: types, constants, scales, ranks."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import numpy as np

from edgebuild.delegates.table import load_table
from edgebuild.errors import ModelError
from edgebuild.graph import Quantization, Tensor
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import S4, Spec, c, t, w
from tests.xnnpack_cases import specs

_TYPES = ("float32", "float32", "float16", "int8", "int8", "uint8", "int16", "int32")
_WEIGHTS = ("float32", "float16", "int8", "uint8")


def random_models(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield (description, model) of operators that the table names, each changed at random."""
    chance = random.Random(seed)
    known = [(name, spec) for name, spec in specs() if spec.kind in load_table("xnnpack").ops]
    while count:
        name, spec = chance.choice(known)
        inputs, outputs = list(spec.inputs), list(spec.outputs)
        for _ in range(chance.choice((1, 1, 2, 3))):
            some = inputs if chance.random() < 0.7 else outputs
            position = chance.randrange(len(some))
            changed = _changed(some[position], chance)
            if some is inputs or changed.data is None:
                some[position] = changed
        changed_spec = dataclasses.replace(spec, inputs=tuple(inputs), outputs=tuple(outputs))
        try:
            model = write_tflite(changed_spec.graph())
            read_tflite(model)
        except ModelError:
            continue
        yield f"{spec.kind} {name}: {_described(changed_spec)}", model
        count -= 1


def _changed(tensor: Tensor | None, chance: random.Random) -> Tensor:
    if tensor is None:
        return t(chance.choice((S4, (4,), ())), chance.choice(_TYPES))
    change = chance.choice((_type, _constness, _scale, _channels, _no_scale, _rank, _ones))
    return change(tensor, chance)


def _type(tensor: Tensor, chance: random.Random) -> Tensor:
    dtype = chance.choice(_TYPES)
    if tensor.data is None:
        return t(tensor.shape, dtype)
    return w(tensor.shape, dtype) if dtype in _WEIGHTS else c(np.zeros(tensor.shape), dtype)


def _constness(tensor: Tensor, chance: random.Random) -> Tensor:
    q = tensor.quantization
    if tensor.data is not None:
        return t(tensor.shape, tensor.dtype, q.scales if q else None)
    if tensor.dtype in _WEIGHTS:
        return w(tensor.shape, tensor.dtype)
    return c(np.ones(tensor.shape), tensor.dtype)


def _scale(tensor: Tensor, chance: random.Random) -> Tensor:
    if tensor.quantization is None:
        return tensor
    zero = chance.choice((0, 128) if tensor.dtype == "uint8" else (0, 0, 3, -1))
    scale = chance.choice((1e-5, 1e-3, 0.05, 0.5, 3.0))
    return dataclasses.replace(tensor, quantization=Quantization((scale,), (zero,)))


def _channels(tensor: Tensor, chance: random.Random) -> Tensor:
    if not tensor.shape:
        return tensor
    axis = chance.randrange(len(tensor.shape))
    size = tensor.shape[axis]
    scales = tuple(0.01 * (i + 1) for i in range(size))
    zeros = (chance.choice((0, 0, 0, 2)),) * size
    return dataclasses.replace(tensor, quantization=Quantization(scales, zeros, axis))


def _no_scale(tensor: Tensor, chance: random.Random) -> Tensor:
    return dataclasses.replace(tensor, quantization=None)


def _rank(tensor: Tensor, chance: random.Random) -> Tensor:
    if tensor.data is not None:
        return tensor
    longer = chance.random() < 0.5 or len(tensor.shape) < 2
    return dataclasses.replace(tensor, shape=(1, *tensor.shape) if longer else tensor.shape[1:])


def _ones(tensor: Tensor, chance: random.Random) -> Tensor:
    if tensor.data is not None:
        return tensor
    shape = tuple(1 if chance.random() < 0.4 else size for size in tensor.shape)
    return dataclasses.replace(tensor, shape=shape)


def _described(spec: Spec) -> str:
    return " ".join(
        "-" if x is None else f"{x.dtype}{list(x.shape)}{'c' * x.is_constant} {x.quantization}"
        for x in (*spec.inputs, *spec.outputs)
    )
