"""Read a ``.tflite`` flatbuffer, which is untrusted, into a Graph.

Every valid file is read, whatever its operators, number formats and subgraphs; what can be done
with the graph is for others to say (``edgebuild.ops.support``, ``edgebuild.delegates``).

The generated accessors do not verify, so every length is bounded here before it is walked: a small
file must not be able to ask for much work. Whatever an accessor raises on a damaged file becomes a
``ModelError``.
"""

from __future__ import annotations

import dataclasses
import struct
import unicodedata
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.errors import ModelError
from edgebuild.graph import ABSENT, DType, Graph, Op, Quantization, Tensor
from edgebuild.graph.ir import OPAQUE_DTYPES
from edgebuild.graph.verify import verify
from edgebuild.limits import read_model
from edgebuild.tflite import schema

MAX_COUNT = 1 << 15
MAX_RANK = 32
MAX_OPTION_VALUES = 1 << 12
MAX_NAME = 200

_DAMAGE = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    MemoryError,
    RecursionError,
)
"""What the flatbuffer accessors raise when offsets, lengths or values are wrong."""

_DTYPES = {dtype.name: dtype for dtype in DType}


def read_tflite_file(path: Path) -> Graph:
    """Read the ``.tflite`` file at ``path``; ModelError when it is missing or damaged."""
    hint = "pass a .tflite file"
    if path.is_dir():
        hint += "; `edgebuild build` takes SavedModel folders"
    data = read_model(path, hint=hint)
    return read_tflite(data, name=path.stem, where=str(path))


def read_tflite(data: bytes, *, name: str = "model", where: str = "model") -> Graph:
    """Read a ``.tflite`` flatbuffer and verify it.

    Args:
        data: the whole file.
        name: the graph's name.
        where: what messages call the file.

    Raises:
        ModelError: the bytes are no TFLite model, are damaged, or break a rule of the IR.
    """
    for content, graph in tuple(_recent):
        if content is data or content == data:
            return graph.replace(name=name)
    graph = _read(data, name, where)
    if len(data) <= _KEPT_BYTES:
        _recent.append((data, graph))
    return graph


_KEPT_BYTES = 16 << 20
_recent: deque[tuple[bytes, Graph]] = deque(maxlen=2)
"""The models that were read last: several steps of a command read the same one."""


def _read(data: bytes, name: str, where: str) -> Graph:
    if len(data) < 8 or data[4:8] != b"TFL3":
        raise ModelError(
            f"{where}: not a TFLite flatbuffer (no 'TFL3' identifier)",
            hint="pass a .tflite file; `edgebuild build` takes .keras, .h5 and SavedModel too",
        )
    try:
        graph = _Reader(data, where).model_graph(name)
    except _DAMAGE as error:
        why = "" if isinstance(error, struct.error) else f": {error}"  # of Python's own, no reason
        raise ModelError(
            f"{where}: the flatbuffer is damaged or truncated ({len(data):,} bytes){why}",
            hint="export or copy the model again",
        ) from error
    verify(graph, where=where)
    return graph


class _Reader:
    """One pass over a flatbuffer."""

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.model = schema.module().Model.GetRootAs(data, 0)
        # Every element of every vector is read at most once in an honest file.
        self.budget = 4 * len(data) + 1024

    def model_graph(self, name: str) -> Graph:
        """Return the first subgraph, which is what runs, with the others that it may call."""
        count = self._count(self.model.SubgraphsLength(), "subgraphs")
        if not count:
            raise ModelError(f"{self.where}: the model is empty (it has no subgraph)")
        codes = self._codes()
        first, *others = (self._graph(name, self.model.Subgraphs(i), codes) for i in range(count))
        return first.replace(others=tuple(others))

    def _graph(self, name: str, subgraph: Any, codes: list[tuple[str, int]]) -> Graph:
        count = self._count(subgraph.TensorsLength(), "tensors")
        tensors = {i: self._tensor(i, subgraph.Tensors(i)) for i in range(count)}
        ops = tuple(
            self._op(i, subgraph.Operators(i), codes)
            for i in range(self._count(subgraph.OperatorsLength(), "operators"))
        )
        inputs = self._indices(subgraph.InputsAsNumpy())
        outputs = self._indices(subgraph.OutputsAsNumpy())
        return Graph(name, inputs, outputs, ops, _with_empty_constants(tensors, inputs, ops))

    def _count(self, count: int, what: str) -> int:
        self.budget -= count
        if count > MAX_COUNT or self.budget < 0:
            raise ModelError(f"{self.where}: {count:,} {what} are more than edgebuild reads")
        return count

    def _indices(self, vector: Any) -> tuple[int, ...]:
        # An accessor returns 0 for a vector that is not there.
        if isinstance(vector, int):
            return ()
        self._count(len(vector), "indices")
        return tuple(int(i) for i in vector)

    def _codes(self) -> list[tuple[str, int]]:
        names = schema.enum_names("BuiltinOperator")
        codes = []
        for i in range(self._count(self.model.OperatorCodesLength(), "operator codes")):
            code = self.model.OperatorCodes(i)
            # Models from before 2020 have only the 8-bit field.
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            kind = names.get(builtin, f"BUILTIN_{builtin}")
            if kind == "CUSTOM":
                kind = f"CUSTOM {clean_name(code.CustomCode() or b'')}".strip()
            codes.append((kind, int(code.Version())))
        return codes

    def _tensor(self, index: int, table: Any) -> Tensor:
        name = clean_name(table.Name() or b"")
        type_name = schema.enum_names("TensorType").get(table.Type(), f"number {table.Type()}")
        label = f"tensor {index} '{name}'"
        dtype = _DTYPES.get(type_name)
        if dtype is None:
            raise ModelError(
                f"{self.where}: {label} has type {type_name}, which TFLite does not have",
                hint="export the model again, or use a newer edgebuild",
            )
        shape, signature = self._shape(table, label)
        tensor = Tensor(
            index,
            name,
            shape,
            dtype,
            self._quantization(table),
            is_variable=bool(table.IsVariable()),
            sparse=table.Sparsity() is not None,
            signature=signature,
        )
        raw = self._buffer(table, label)
        if raw is None:
            return tensor
        if tensor.sparse or dtype in OPAQUE_DTYPES:
            return dataclasses.replace(tensor, stored=True)
        return dataclasses.replace(tensor, data=self._constant(raw, tensor, label))

    def _shape(self, table: Any, label: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape with 1 for what is open, and the signature where anything is."""
        shape = self._indices(table.ShapeAsNumpy())
        signature = self._indices(table.ShapeSignatureAsNumpy())
        if len(shape) > MAX_RANK:
            raise ModelError(
                f"{self.where}: {label} has {len(shape)} dimensions, at most {MAX_RANK} are read"
            )
        if any(length < 0 for length in shape):
            return tuple(1 if length < 0 else length for length in shape), shape
        open_signature = len(signature) == len(shape) and any(d < 0 for d in signature)
        return shape, signature if open_signature else ()

    def _quantization(self, table: Any) -> Quantization | None:
        q = table.Quantization()
        if q is None or q.ScaleLength() == 0:
            return None
        self._count(q.ScaleLength() + q.ZeroPointLength(), "quantization values")
        scales = tuple(float(s) for s in q.ScaleAsNumpy())
        zeros = tuple(int(z) for z in q.ZeroPointAsNumpy()) if q.ZeroPointLength() else (0,)
        if len(zeros) != len(scales):
            zeros = zeros[:1] * len(scales)  # as TFLite Micro reads them
        return Quantization(scales, zeros, int(q.QuantizedDimension()))

    def _buffer(self, table: Any, label: str) -> np.ndarray | None:
        """Return the bytes of a tensor's constant as uint8, None when it has none."""
        if table.Buffer() >= self.model.BuffersLength():
            raise ModelError(
                f"{self.where}: {label} refers to buffer {table.Buffer()}, which is not there"
            )
        buffer = self.model.Buffers(table.Buffer())
        if buffer.Offset() > 1:
            start, size = buffer.Offset(), buffer.Size()
            return np.frombuffer(self.data[start : start + size], np.uint8)
        return buffer.DataAsNumpy() if buffer.DataLength() else None

    def _constant(self, raw: np.ndarray, tensor: Tensor, label: str) -> np.ndarray:
        if len(raw) != tensor.nbytes:
            raise ModelError(
                f"{self.where}: {label} has {len(raw):,} bytes of data, "
                f"its shape {list(tensor.shape)} and type need {tensor.nbytes:,}"
            )
        self.budget -= len(raw)  # a small file may not share one buffer among many tensors
        self._count(0, "bytes of constants")
        if tensor.dtype.bits < 8:
            raw = _unpacked(raw, tensor.dtype, tensor.elements)
        array = np.frombuffer(raw.tobytes(), tensor.dtype.numpy.newbyteorder("<"))
        array = array.astype(tensor.dtype.numpy, copy=False).reshape(tensor.shape)
        array.setflags(write=False)
        return array

    def _op(self, index: int, table: Any, codes: list[tuple[str, int]]) -> Op:
        if table.OpcodeIndex() >= len(codes):
            raise ModelError(
                f"{self.where}: operator {index} has code {table.OpcodeIndex()}, which is not there"
            )
        inputs, inner = (
            tuple(ABSENT if i < 0 else i for i in self._indices(vector))
            for vector in (table.InputsAsNumpy(), table.IntermediatesAsNumpy())
        )
        outputs = self._indices(table.OutputsAsNumpy())
        kind, version = codes[table.OpcodeIndex()]
        return Op(kind, inputs, outputs, self._attrs(index, kind, table), index, version, inner)

    def _attrs(self, index: int, kind: str, table: Any) -> dict[str, Any]:
        if kind.startswith("CUSTOM"):
            return self._custom_options(table)
        union = table.BuiltinOptions()
        type_name = schema.enum_names("BuiltinOptions").get(table.BuiltinOptionsType(), "NONE")
        expected = schema.options_of_kind(kind)
        if expected is None:
            return {}
        options_class = getattr(schema.module(), f"{expected}T")
        if union is None or type_name == "NONE":
            options = options_class()  # an absent table means every field's default
        elif type_name != expected:
            raise ModelError(f"{self.where}: operator {index} ({kind}) carries {type_name}")
        else:
            options = options_class.InitFromBuf(union.Bytes, union.Pos)
        attrs = {}
        for field, value in vars(options).items():
            key = schema.snake(field)
            attrs[key] = self._attr(f"operator {index} ({kind}) option {key}", key, value)
        return attrs

    def _custom_options(self, table: Any) -> dict[str, Any]:
        if not table.CustomOptionsLength():
            return {}
        raw = table.CustomOptionsAsNumpy().tobytes()
        self._count(0, "operators")
        self.budget -= len(raw)
        return {"custom_options": raw}

    def _attr(self, label: str, key: str, value: Any) -> Any:
        enum = schema.enum_of_field(key)
        if enum is not None:
            if value not in schema.enum_names(enum):
                raise ModelError(f"{self.where}: {label} has the unknown value {value}")
            return schema.enum_names(enum)[value]
        if isinstance(value, (bool, int, float, str)) or value is None:
            return value
        if isinstance(value, (list, tuple, np.ndarray)):
            if len(value) > MAX_OPTION_VALUES:
                raise ModelError(f"{self.where}: {label} has {len(value):,} values")
            return tuple(np.asarray(value).tolist())
        return None  # nested tables carry nothing that a kernel needs


def _with_empty_constants(
    tensors: dict[int, Tensor], inputs: tuple[int, ...], ops: tuple[Op, ...]
) -> dict[int, Tensor]:
    """Return ``tensors`` with those that hold no elements and that nothing writes as constants:
    a file has no data for them, such as the shape of a RESHAPE to a scalar."""
    written = {*inputs, *(i for op in ops for i in op.outputs)}
    empty = {
        i: dataclasses.replace(t, data=np.zeros(t.shape, t.dtype.numpy))
        for i, t in tensors.items()
        if not t.elements and not t.is_constant and t.dtype not in OPAQUE_DTYPES
        if i not in written
    }
    return {**tensors, **empty}


def _unpacked(raw: np.ndarray, dtype: DType, elements: int) -> np.ndarray:
    """Return ``elements`` values of fewer than 8 bits, a byte each, the lowest bits first."""
    per_byte = 8 // dtype.bits
    shifts = np.arange(per_byte, dtype=np.uint8) * dtype.bits
    values = (raw[:, None] >> shifts & ((1 << dtype.bits) - 1)).reshape(-1)[:elements]
    if dtype.numpy.kind == "i":
        sign = 1 << (dtype.bits - 1)
        return ((values.astype(np.int8) ^ sign) - sign).astype(np.int8)
    return values.astype(np.uint8)


def clean_name(raw: bytes) -> str:
    """Return a model's name for display: UTF-8, no control characters, at most 200 characters."""
    text = raw[: 4 * MAX_NAME].decode("utf-8", "replace")
    return "".join(c for c in text if unicodedata.category(c)[0] != "C")[:MAX_NAME]
