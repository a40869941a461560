"""Whether the Edge TPU compiler can map one operator, by the table in ``data/edgetpu.json``.

A constraint is a sentence that must hold and the status with which the compiler refuses; the
functions here decide the sentences.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.graph import DType, Node, Tensor

_PATH = Path(__file__).resolve().parent / "data" / "edgetpu.json"
_STRUCTURE = {
    "EXPAND_DIMS": (1,),
    "MEAN": (1,),
    "PAD": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
"""The inputs that decide shapes instead of holding values."""

_INTEGERS = {DType.INT8, DType.UINT8, DType.INT32}


@cache
def table() -> dict[str, Any]:
    """Return the table of operators, statuses, constraints and memory."""
    return json.loads(_PATH.read_text())


def status(name: str) -> str:
    """Return a status as the compiler words it."""
    return table()["statuses"][name]


def refusal(node: Node) -> str:
    """Return why the compiler does not map ``node``, as ``status`` or ``status: words``; "" where
    nothing known is against it."""
    entry = table()["ops"].get(node.kind)
    if entry is None:
        return status("operator")
    if node.op.version > entry.get("max_version", node.op.version):
        return status("version")
    wrong_type = _wrong_type(node)
    if wrong_type:
        return f"{status(entry.get('type_status', 'type'))}: {wrong_type}"
    broken = next((name for name in entry["constraints"] if not _HOLDS[name](node)), "")
    constraint = table()["constraints"].get(broken, {})
    rank = table()["general"]["mapped_dimensions"]
    # A shape means something only where it cannot change.
    if constraint.get("status") not in ("constant", "dynamic") and any(
        _outer_elements(tensor, rank) > 1 for tensor in _activations(node)
    ):
        return status("rank")
    return f"{status(constraint['status'])}: only where {constraint['words']}" if broken else ""


def uncertainty(kind: str) -> str:
    """Return what is not known of an operator that the table has; often nothing."""
    return table()["ops"].get(kind, {}).get("uncertain", "")


def _activations(node: Node) -> list[Tensor]:
    """Return the tensors that carry values from operator to operator."""
    skipped = _STRUCTURE.get(node.kind, ())
    inputs = [
        t
        for i, t in enumerate(node.inputs)
        if t is not None and i not in skipped and not t.is_constant and not t.is_variable
    ]
    return [*inputs, *node.outputs]


def _wrong_type(node: Node) -> str:
    types = table()["general"]["types"]
    for tensor in _activations(node):
        if tensor.dtype.value not in types:
            return f"a tensor of {tensor.dtype.value}, not {' or '.join(types)}"
    skipped = _STRUCTURE.get(node.kind, ())
    for i, constant in enumerate(node.inputs):
        if constant is None or not constant.is_constant or i in skipped:
            continue
        if constant.dtype not in _INTEGERS:
            return f"a constant of {constant.dtype.value}"
    return ""


def _outer_elements(tensor: Tensor, inner: int) -> int:
    """Return the product of all dimensions but the innermost ``inner``."""
    return math.prod(tensor.shape[: max(0, len(tensor.shape) - inner)])


def _constant(node: Node, positions: tuple[int, ...]) -> bool:
    tensors = [node.optional_input(i) for i in positions]
    return all(t is None or t.is_constant for t in tensors)


def _constant_weights(node: Node) -> bool:
    structure = _STRUCTURE.get(node.kind, ())
    data = 2 if node.kind == "TRANSPOSE_CONV" else 0
    return all(
        t is None or t.is_constant or t.is_variable
        for i, t in enumerate(node.inputs)
        if i != data and i not in structure
    )


def _zero_padding_only(node: Node) -> bool:
    constants = [t for t in node.inputs if t is not None and t.is_constant]
    if not constants:
        return True
    return len(node.inputs) == 2 and all(
        t.data is not None and not np.any(np.asarray(t.data, np.int64) - t.zero_point)
        for t in constants
    )


def _axes(node: Node) -> list[int]:
    """Return the axes along which an operator works, as places in the output's or input's shape."""
    if node.kind == "PACK":
        axes, rank = [int(node.attrs.get("axis") or 0)], len(node.output.shape)
    elif node.kind == "PAD":
        pads = node.input(1).data
        axes = [] if pads is None else [i for i, row in enumerate(pads) if np.any(row)]
        rank = len(node.input(0).shape)
    else:
        at = 0 if node.kind == "SPLIT" else 1
        data = node.input(at).data
        axes = [] if data is None else [int(v) for v in np.ravel(data)]
        rank = len(node.input(1 - at).shape)
    return [axis + rank if axis < 0 else axis for axis in axes]


def _not_along_batch(node: Node) -> bool:
    return 0 not in _axes(node)


def _channels_by_four(node: Node) -> bool:
    shape = node.input(0).shape
    return len(shape) - 1 not in _axes(node) or shape[-1] % 4 == 0


def _leading_ones(node: Node) -> bool:
    before, after = node.input(0).shape, node.output.shape
    return before[len(before) - len(after) :] == after


def _resize_factor(node: Node) -> bool:
    limit = table()["limits"]["resize_factor"]
    before, after = node.input(0).shape, node.output.shape
    return all(b <= limit * a for a, b in zip(before[1:3], after[1:3], strict=False))


def _one_dimensional(tensor: Tensor) -> bool:
    return _outer_elements(tensor, 1) == 1


def _unit_strides(node: Node) -> bool:
    data = node.input(3).data
    return data is not None and bool(np.all(data == 1))


_HOLDS: dict[str, Callable[[Node], bool]] = {
    "constant_weights": _constant_weights,
    "constant_shapes": lambda n: _constant(n, _STRUCTURE.get(n.kind, ())),
    "no_fused_activation": lambda n: (n.attrs.get("fused_activation_function") or "NONE") == "NONE",
    "same_dilation": lambda n: (
        n.attrs.get("dilation_w_factor", 1) == n.attrs.get("dilation_h_factor", 1)
    ),
    "zero_padding_only": _zero_padding_only,
    "default_weights_format": lambda n: n.attrs.get("weights_format", "DEFAULT") == "DEFAULT",
    "output_one_dimensional": lambda n: _one_dimensional(n.output),
    "input_one_dimensional": lambda n: _one_dimensional(n.input(0)),
    "softmax_elements": lambda n: n.output.elements <= table()["limits"]["softmax_elements"],
    "not_along_batch": _not_along_batch,
    "channels_by_four": _channels_by_four,
    "alpha_one_dimensional": lambda n: _one_dimensional(n.input(1)),
    "unit_strides": _unit_strides,
    "plain_masks": lambda n: not n.attrs.get("ellipsis_mask") and not n.attrs.get("new_axis_mask"),
    "leading_ones": _leading_ones,
    "resize_factor": _resize_factor,
    "resize_bytes": lambda n: n.output.nbytes <= table()["limits"]["resize_bytes"],
}
"""What each constraint of the table asks."""
