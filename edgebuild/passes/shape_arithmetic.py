"""What models compute on shapes, in NumPy: small arrays of integers, booleans and plain floats.

Integers wrap as in C and divide towards zero. Float operators are those whose result IEEE 754
fixes, so that NumPy's is TFLite's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgebuild.graph import DType, Node

MAX_ELEMENTS = 1 << 12
"""A chain over shapes has a few numbers; a FILL or TILE of more is no such chain."""

MAX_MOVED = 1 << 16
"""What is only moved may be more, as it is there to be computed on: a constant in the flash."""

DTYPES = (DType.INT32, DType.INT64, DType.UINT32, DType.BOOL, DType.FLOAT32)

MOVED_DTYPES = (DType.INT8, DType.UINT8, DType.INT16)
"""Of values that are only moved, besides ``DTYPES``."""

Arrays = Sequence[np.ndarray]
Rule = Callable[[Mapping[str, Any], Arrays], np.ndarray | Sequence[np.ndarray]]


class NotKnownError(Exception):
    """The operator's result is not computed here."""


def compute(node: Node, inputs: Arrays, most: int = MAX_ELEMENTS) -> tuple[np.ndarray, ...]:
    """Return the outputs of an operator on constants, each of up to ``most`` elements.

    Raises:
        NotKnownError: it has no rule, or this form of it has no result, or one of other shapes
            and types than the model records.
    """
    rule = _RULES.get(node.kind)
    if rule is None or any(t.elements > most for t in node.outputs):
        raise NotKnownError
    try:
        with np.errstate(all="raise"):
            made = rule(node.attrs, inputs)
    except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
        raise NotKnownError from error
    results = tuple(np.asarray(m) for m in (made if isinstance(made, (list, tuple)) else [made]))
    recorded = [(t.shape, t.dtype.numpy) for t in node.outputs]
    if len(results) != len(recorded) or any(
        result.shape != shape for result, (shape, _) in zip(results, recorded, strict=True)
    ):
        raise NotKnownError
    return tuple(
        result.astype(dtype, casting="unsafe")
        for result, (_, dtype) in zip(results, recorded, strict=True)
    )


def _ints(array: np.ndarray) -> list[int]:
    return [int(v) for v in array.reshape(-1)]


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind == "f":
        return a / b
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)


def _bounded(shape: Sequence[int]) -> tuple[int, ...]:
    if any(d < 0 for d in shape) or int(np.prod([float(d) for d in shape])) > MAX_MOVED:
        raise ValueError("too large")
    return tuple(shape)


def _range(_: Mapping[str, Any], x: Arrays) -> np.ndarray:
    start, limit, delta = (array.reshape(()) for array in x)
    count = int(np.ceil((float(limit) - float(start)) / float(delta)))
    _bounded([max(count, 0)])
    return (start + np.arange(max(count, 0)) * delta).astype(start.dtype)


def _strided_slice(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
    data, begins, ends, steps = x[0], *(_ints(array) for array in x[1:4])

    def bit(mask: str, i: int) -> bool:
        return bool(int(attrs.get(mask) or 0) >> i & 1)

    index: list[Any] = []
    for i, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        if bit("ellipsis_mask", i):
            index.append(Ellipsis)
        elif bit("new_axis_mask", i):
            index.append(None)
        elif bit("shrink_axis_mask", i):
            index.append(begin)
        else:
            stop = begin + end if attrs.get("offset") else end
            index.append(
                slice(
                    None if bit("begin_mask", i) else begin,
                    None if bit("end_mask", i) else stop,
                    step,
                )
            )
    return np.asarray(data[tuple(index)])


def _slice(_: Mapping[str, Any], x: Arrays) -> np.ndarray:
    pairs = zip(_ints(x[1]), _ints(x[2]), x[0].shape, strict=True)
    return x[0][tuple(slice(b, length if size == -1 else b + size) for b, size, length in pairs)]


def _gather(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
    if attrs.get("batch_dims") or np.any(x[1] < 0):
        raise ValueError("not computed")
    return np.take(x[0], x[1], axis=int(attrs.get("axis") or 0))


def _gather_nd(_: Mapping[str, Any], x: Arrays) -> np.ndarray:
    return x[0][tuple(np.moveaxis(x[1], -1, 0))]


def _split(axis: int, data: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    return np.split(data, np.cumsum(sizes)[:-1], axis)


def _split_equal(attrs: Mapping[str, Any], x: Arrays) -> list[np.ndarray]:
    axis, parts = _ints(x[0])[0], int(attrs["num_splits"])
    return _split(axis, x[1], [x[1].shape[axis] // parts] * parts)


def _split_v(_: Mapping[str, Any], x: Arrays) -> list[np.ndarray]:
    axis, sizes = _ints(x[2])[0], _ints(x[1])
    known = sum(size for size in sizes if size >= 0)
    return _split(axis, x[0], [s if s >= 0 else x[0].shape[axis] - known for s in sizes])


def _squeeze(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
    return np.squeeze(x[0], axis=tuple(attrs.get("squeeze_dims") or ()) or None)


def _reshape(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
    return x[0].reshape(_ints(x[1]) if len(x) > 1 else tuple(attrs.get("new_shape") or ()))


def _pad(_: Mapping[str, Any], x: Arrays) -> np.ndarray:
    pairs = x[1].reshape(-1, 2)
    _bounded([d + int(p.sum()) for d, p in zip(x[0].shape, pairs, strict=True)])
    return np.pad(x[0], pairs, constant_values=x[2].reshape(()) if len(x) > 2 else 0)


def _tile(_: Mapping[str, Any], x: Arrays) -> np.ndarray:
    _bounded([d * n for d, n in zip(x[0].shape, _ints(x[1]), strict=True)])
    return np.tile(x[0], _ints(x[1]))


def _cumsum(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
    axis = _ints(x[1])[0]
    data = np.flip(x[0], axis) if attrs.get("reverse") else x[0]
    total = np.cumsum(data, axis, dtype=data.dtype)
    total = total - data if attrs.get("exclusive") else total
    return np.flip(total, axis) if attrs.get("reverse") else total


def _one_hot(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
    depth, on, off = _ints(x[1])[0], x[2].reshape(()), x[3].reshape(())
    _bounded([x[0].size, depth])
    axis = int(attrs.get("axis", -1))
    hot = x[0][..., None] == np.arange(depth)
    return np.moveaxis(np.where(hot, on, off), -1, axis)


def _fused(result: np.ndarray, attrs: Mapping[str, Any]) -> np.ndarray:
    activation = attrs.get("fused_activation_function", "NONE")
    if activation not in ("NONE", "RELU", "RELU6"):
        raise ValueError("not computed")
    if activation != "NONE":
        result = np.maximum(result, 0)
    return np.minimum(result, 6) if activation == "RELU6" else result


def _binary(function: Callable[[Any, Any], Any]) -> Rule:
    def rule(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
        return _fused(np.asarray(function(x[0], x[1])), attrs)

    return rule


def _unary(function: Callable[[Any], Any]) -> Rule:
    return lambda _, x: np.asarray(function(x[0]))


def _reduce(function: Callable[..., Any]) -> Rule:
    def rule(attrs: Mapping[str, Any], x: Arrays) -> np.ndarray:
        axes = tuple(_ints(x[1]))
        return np.asarray(function(x[0], axis=axes, keepdims=bool(attrs.get("keep_dims"))))

    return rule


def _arg(function: Callable[..., Any]) -> Rule:
    return lambda _, x: np.asarray(function(x[0], axis=_ints(x[1])[0]))


_RULES: dict[str, Rule] = {
    "ABS": _unary(np.abs),
    "ADD": _binary(np.add),
    "ADD_N": lambda _, x: np.sum(np.stack(x), axis=0, dtype=x[0].dtype),
    "ARG_MAX": _arg(np.argmax),
    "ARG_MIN": _arg(np.argmin),
    "BROADCAST_ARGS": lambda _, x: np.array(np.broadcast_shapes(_ints(x[0]), _ints(x[1]))),
    "BROADCAST_TO": lambda _, x: np.broadcast_to(x[0], _bounded(_ints(x[1]))),
    "CAST": _unary(lambda x: x),
    "CEIL": _unary(np.ceil),
    "CONCATENATION": lambda a, x: _fused(np.concatenate(x, int(a.get("axis") or 0)), a),
    "CUMSUM": _cumsum,
    "DIV": _binary(_divide),
    "EQUAL": _binary(np.equal),
    "EXPAND_DIMS": lambda _, x: np.expand_dims(x[0], _ints(x[1])[0]),
    "FILL": lambda _, x: np.full(_bounded(_ints(x[0])), x[1].reshape(())),
    "FLOOR": _unary(np.floor),
    "FLOOR_DIV": _binary(np.floor_divide),
    "FLOOR_MOD": _binary(np.mod),
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "GREATER": _binary(np.greater),
    "GREATER_EQUAL": _binary(np.greater_equal),
    "LESS": _binary(np.less),
    "LESS_EQUAL": _binary(np.less_equal),
    "LOGICAL_AND": _binary(np.logical_and),
    "LOGICAL_NOT": _unary(np.logical_not),
    "LOGICAL_OR": _binary(np.logical_or),
    "MAXIMUM": _binary(np.maximum),
    "MINIMUM": _binary(np.minimum),
    "MUL": _binary(np.multiply),
    "NEG": _unary(np.negative),
    "NOT_EQUAL": _binary(np.not_equal),
    "ONE_HOT": _one_hot,
    "PACK": lambda a, x: np.stack(x, int(a.get("axis") or 0)),
    "PAD": _pad,
    "PADV2": _pad,
    "RANGE": _range,
    "REDUCE_ALL": _reduce(np.all),
    "REDUCE_ANY": _reduce(np.any),
    "REDUCE_MAX": _reduce(np.max),
    "REDUCE_MIN": _reduce(np.min),
    "REDUCE_PROD": _reduce(np.prod),
    "RESHAPE": _reshape,
    "REVERSE_V2": lambda _, x: np.flip(x[0], tuple(_ints(x[1]))),
    "SELECT": lambda _, x: np.where(*x),
    "SELECT_V2": lambda _, x: np.where(*x),
    "SIGN": _unary(np.sign),
    "SLICE": _slice,
    "SPLIT": _split_equal,
    "SPLIT_V": _split_v,
    "SQUARE": _unary(np.square),
    "SQUARED_DIFFERENCE": _binary(lambda a, b: np.square(a - b)),
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary(np.subtract),
    "SUM": _reduce(np.sum),
    "TILE": _tile,
    "TRANSPOSE": lambda _, x: np.transpose(x[0], _ints(x[1])),
    "UNPACK": lambda a, x: list(np.moveaxis(x[0], int(a.get("axis") or 0), 0)),
    "ZEROS_LIKE": _unary(np.zeros_like),
}

MOVES = frozenset({
    "BROADCAST_TO", "CONCATENATION", "EXPAND_DIMS", "FILL", "GATHER", "GATHER_ND", "PACK",
    "RESHAPE", "REVERSE_V2", "SELECT", "SELECT_V2", "SLICE", "SPLIT", "SPLIT_V", "SQUEEZE",
    "STRIDED_SLICE", "TILE", "TRANSPOSE", "UNPACK",
})  # fmt: skip
"""Operators whose outputs' elements are elements of their inputs, whatever these mean."""
