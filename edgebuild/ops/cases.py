"""Short spellings for building one-operator graphs: what ``Operator.cases`` yields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgebuild.graph import ABSENT, DType, Graph, Op, Quantization, Tensor
from edgebuild.ops.base import Case


def activation(
    shape: Sequence[int], scale: float = 1.0, zero_point: int = 0, dtype: DType = DType.INT8
) -> Tensor:
    """Return an activation tensor; ``one_op`` gives it its index."""
    quantization = None if dtype == DType.FLOAT32 else Quantization((scale,), (zero_point,))
    return Tensor(0, "", tuple(shape), dtype, quantization)


def constant(
    data: Any,
    scale: float | Sequence[float] | None = None,
    zero_point: int | Sequence[int] = 0,
    *,
    axis: int = 0,
    dtype: DType = DType.INT8,
) -> Tensor:
    """Return a constant tensor; a sequence of scales makes it per-channel along ``axis``."""
    array = np.array(data, dtype.numpy)
    array.setflags(write=False)
    quantization = None
    if scale is not None:
        scales = tuple(np.ravel(scale).astype(float).tolist())
        zeros = np.ravel(zero_point).astype(int).tolist()
        quantization = Quantization(scales, tuple(zeros * len(scales))[: len(scales)], axis)
    return Tensor(0, "", array.shape, dtype, quantization, array)


def one_op(
    name: str,
    kind: str,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    attrs: Mapping[str, Any] | None = None,
) -> Case:
    """Return a case whose graph is one operator; its activations are the graph's inputs."""
    import dataclasses

    tensors: dict[int, Tensor] = {}
    in_index: list[int] = []
    for tensor in inputs:
        if tensor is None:
            in_index.append(ABSENT)
            continue
        index = len(tensors)
        tensors[index] = dataclasses.replace(tensor, index=index, name=f"in{index}")
        in_index.append(index)
    out_index = []
    for tensor in outputs:
        index = len(tensors)
        tensors[index] = dataclasses.replace(tensor, index=index, name=f"out{index}")
        out_index.append(index)
    graph_inputs = tuple(
        i for i in dict.fromkeys(in_index) if i != ABSENT and not tensors[i].is_constant
    )
    op = Op(kind, tuple(in_index), tuple(out_index), attrs or {})
    return Case(name, Graph(name, graph_inputs, tuple(out_index), (op,), tensors))
