"""The immutable graph that every step right of the ``.tflite`` boundary works on.

The graph knows no file format and no operator: an ``Op`` is a kind, tensor indices and plain
attributes. Names that come from a model are for display only; everything refers to a tensor by its
index, so that an untrusted name can reach neither generated C nor a path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np

ABSENT = -1
"""Tensor index of an optional input that is not given."""


class DType(StrEnum):
    """Element types. ``numpy`` and ``c`` give their names in the two languages.

    Generated C knows those in ``KERNEL_DTYPES``; the others appear in models that are only looked
    at, or that LiteRT runs.
    """

    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    BOOL = "bool"
    INT2 = "int2"
    INT4 = "int4"
    UINT4 = "uint4"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT64 = "float64"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    STRING = "string"
    RESOURCE = "resource"
    VARIANT = "variant"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of one element; a byte for those smaller than that.

        TypeError for ``OPAQUE_DTYPES``.
        """
        if self in OPAQUE_DTYPES:
            raise TypeError(f"{self.value} has no NumPy type")
        return np.dtype({"int2": "int8", "int4": "int8", "uint4": "uint8"}.get(self, self.value))

    @property
    def c(self) -> str:
        """The C type."""
        return {"float32": "float", "bool": "uint8_t"}.get(self.value, f"{self.value}_t")

    @property
    def bits(self) -> int:
        """Bits of one element as it is stored; 0 where elements have no fixed size."""
        if self in OPAQUE_DTYPES:
            return 16 if self == DType.BFLOAT16 else 0
        return {"int2": 2, "int4": 4, "uint4": 4}.get(self.value, 8 * self.numpy.itemsize)

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory."""
        return max(self.bits, 8) // 8


KERNEL_DTYPES = frozenset(
    (
        *(DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64),
        *(DType.FLOAT32, DType.BOOL),
    )
)
"""The element types that generated C computes with or passes on."""

OPAQUE_DTYPES = frozenset((DType.BFLOAT16, DType.STRING, DType.RESOURCE, DType.VARIANT))
"""The element types whose values are not read."""


@dataclass(frozen=True)
class Quantization:
    """Affine quantization, ``real = scale * (q - zero_point)``.

    One scale and zero point for the whole tensor, or one for each slice along ``axis``.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """True when scales differ along ``axis``."""
        return len(self.scales) > 1

    @property
    def scale(self) -> float:
        """The scale of a per-tensor quantization."""
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a per-tensor quantization."""
        return self.zero_points[0]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value in the graph: an activation, or a constant when ``data`` is not None.

    ``data`` has exactly ``shape`` and ``dtype`` and is not writeable. ``stored`` marks a constant
    whose values are not read: it is ``sparse``, or of an opaque type. ``signature`` is the shape as
    the model declares it, with -1 for each dimension that it leaves open (1 in ``shape``); empty
    where every dimension is known.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: DType
    quantization: Quantization | None = None
    data: np.ndarray | None = None
    is_variable: bool = False
    stored: bool = False
    sparse: bool = False
    signature: tuple[int, ...] = ()

    @property
    def is_dynamic(self) -> bool:
        """True where the model leaves a dimension open."""
        return any(length < 0 for length in self.signature)

    @property
    def is_constant(self) -> bool:
        """True for weights, biases and other data stored in the model."""
        return self.data is not None or self.stored

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes, as it is stored."""
        return -(-self.elements * self.dtype.bits // 8)

    @property
    def scale(self) -> float:
        """Per-tensor scale; 1.0 for a tensor that is not quantized."""
        return self.quantization.scale if self.quantization else 1.0

    @property
    def zero_point(self) -> int:
        """Per-tensor zero point; 0 for a tensor that is not quantized."""
        return self.quantization.zero_point if self.quantization else 0


@dataclass(frozen=True, eq=False)
class Op:
    """One operator: its kind as TFLite spells it (``CONV_2D``), tensor indices and attributes.

    ``attrs`` hold the builtin options in snake_case with enumerations as their names, e.g.
    ``{"padding": "SAME", "stride_w": 1, "fused_activation_function": "RELU6"}``; those of a custom
    operator (``CUSTOM name``) are its bytes, ``custom_options``.
    ``source_index`` is the operator's place in the model file, ``version`` TFLite's version of the
    operator's form. ``intermediates`` are tensors that hold only how values inside the operator are
    quantized (an LSTM's gates).
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    source_index: int = 0
    version: int = 1
    intermediates: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))


@dataclass(frozen=True, eq=False)
class Node:
    """An operator with its tensors at hand; what all code about one operator receives.

    ``inputs`` holds None where an optional input is absent.
    """

    position: int
    op: Op
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @property
    def kind(self) -> str:
        """The operator's kind, e.g. ``CONV_2D``."""
        return self.op.kind

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The operator's attributes."""
        return self.op.attrs

    def input(self, position: int) -> Tensor:
        """Return the input at ``position``; KeyError when it is absent."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise KeyError(f"{self.where} has no input {position}")
        return tensor

    def optional_input(self, position: int) -> Tensor | None:
        """Return the input at ``position``, or None when it is absent."""
        return self.inputs[position] if position < len(self.inputs) else None

    @property
    def output(self) -> Tensor:
        """The first output; KeyError where the operator has none."""
        if not self.outputs:
            raise KeyError(f"{self.where} has no output")
        return self.outputs[0]

    @property
    def name(self) -> str:
        """The name of the first output; empty where the operator has none."""
        return self.outputs[0].name if self.outputs else ""

    @property
    def where(self) -> str:
        """The operator's place in words, for messages."""
        return f"{self.kind} (operator {self.op.source_index})"


@dataclass(frozen=True, eq=False)
class Graph:
    """A whole model: operators in execution order and the tensors that they refer to.

    ``others`` are the model's further subgraphs, which control flow runs. ``keeps_inputs``: a run
    leaves the inputs as they are. ``input_by_rows``: the caller has the input and gives it row by
    row to the first operator, so that it takes no memory.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ops: tuple[Op, ...]
    tensors: Mapping[int, Tensor]
    others: tuple[Graph, ...] = ()
    keeps_inputs: bool = False
    input_by_rows: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @cached_property
    def readers(self) -> Mapping[int, tuple[int, ...]]:
        """The positions of the operators that read each tensor; none where it is not a key."""
        found: dict[int, list[int]] = {}
        for position, op in enumerate(self.ops):
            for i in dict.fromkeys(op.inputs):
                found.setdefault(i, []).append(position)
        return {i: tuple(positions) for i, positions in found.items()}

    def node(self, position: int) -> Node:
        """Return the operator at ``position`` in execution order, bound to its tensors."""
        op = self.ops[position]
        return Node(
            position,
            op,
            tuple(None if i == ABSENT else self.tensors[i] for i in op.inputs),
            tuple(self.tensors[i] for i in op.outputs),
        )

    def nodes(self) -> Iterator[Node]:
        """Iterate over the operators in execution order, bound to their tensors."""
        return (self.node(position) for position in range(len(self.ops)))

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The graph's inputs."""
        return tuple(self.tensors[i] for i in self.inputs)

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        """The graph's outputs."""
        return tuple(self.tensors[i] for i in self.outputs)

    def fingerprint(self) -> str:
        """Return a SHA-256 over everything that decides what the graph computes."""
        digest = hashlib.sha256()
        ops = [
            (o.kind, o.inputs, o.outputs, sorted(o.attrs.items()), *o.intermediates)
            for o in self.ops
        ]
        digest.update(json.dumps([self.inputs, self.outputs, ops], default=str).encode())
        for index in sorted(self.tensors):
            t = self.tensors[index]
            head = (index, t.shape, t.dtype, t.quantization, t.is_variable, t.is_constant)
            digest.update(repr(head).encode())
            if t.data is not None:
                digest.update(np.ascontiguousarray(t.data).tobytes())
        return digest.hexdigest()
