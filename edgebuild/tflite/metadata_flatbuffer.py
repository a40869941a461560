"""The metadata flatbuffer (identifier ``M001``): TFLite's metadata_schema.fbs, written by slots.

No kept package ships this schema, so its field numbers stand here. A model's metadata is untrusted:
counts are bounded before they are walked.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from edgebuild.errors import InputError, ModelError
from edgebuild.tflite.metadata_types import ModelMetadata, TensorMetadata
from edgebuild.tflite.reader import _DAMAGE

IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.0.0"
"""Everything written here is in the first version of the schema."""

MAX_TENSORS = 1 << 10
MAX_VALUES = 1 << 16
MAX_TEXT = 1 << 16

_MODEL = {"name": 0, "description": 1, "version": 2, "subgraphs": 3, "author": 4, "license": 5}
_MODEL_MIN_PARSER, _MODEL_SLOTS = 7, 8
_SUBGRAPH_INPUTS, _SUBGRAPH_OUTPUTS, _SUBGRAPH_SLOTS = 2, 3, 10
_TENSOR_NAME, _TENSOR_DESCRIPTION, _TENSOR_CONTENT = 0, 1, 3
_TENSOR_PROCESS, _TENSOR_STATS, _TENSOR_FILES, _TENSOR_SLOTS = 4, 5, 6, 7
_FILE_NAME, _FILE_DESCRIPTION, _FILE_TYPE, _FILE_SLOTS = 0, 1, 2, 5
_TENSOR_AXIS_LABELS = 2
_FEATURE_PROPERTIES = 1
_NORMALIZATION_OPTIONS = 1


def encode_metadata(metadata: ModelMetadata, label_file: Callable[[str, int], str]) -> bytes:
    """Return the flatbuffer; ``label_file("output", 0)`` names the file of that tensor's labels."""
    import flatbuffers

    b = flatbuffers.Builder(1024)
    lists = []
    for kind, tensors in (("input", metadata.inputs), ("output", metadata.outputs)):
        tables = [_tensor(b, t, label_file(kind, i)) for i, t in enumerate(tensors)]
        lists.append(_vector(b, tables))
    subgraph = _table(b, _SUBGRAPH_SLOTS, {_SUBGRAPH_INPUTS: lists[0], _SUBGRAPH_OUTPUTS: lists[1]})
    fields = {_MODEL["subgraphs"]: _vector(b, [subgraph])}
    for field in ("name", "description", "version", "author", "license"):
        text = getattr(metadata, field)
        if text:
            fields[_MODEL[field]] = b.CreateString(_printable(text))
    fields[_MODEL_MIN_PARSER] = b.CreateString(MIN_PARSER_VERSION)
    b.Finish(_table(b, _MODEL_SLOTS, fields), file_identifier=IDENTIFIER)
    return bytes(b.Output())


def decode_metadata(
    data: bytes, *, where: str
) -> tuple[ModelMetadata, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the metadata without labels, and the label files of its inputs and outputs."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelError(f"{where}: its metadata has no '{IDENTIFIER.decode()}' identifier")
    try:
        return _decode(data, where)
    except _DAMAGE as error:
        raise ModelError(
            f"{where}: its metadata is damaged ({len(data):,} bytes): {error}",
            hint="export or copy the model again",
        ) from error


def _tensor(b: Any, tensor: TensorMetadata, label_file: str) -> int:
    fields = {_TENSOR_NAME: b.CreateString(_printable(tensor.name))}
    if tensor.description:
        fields[_TENSOR_DESCRIPTION] = b.CreateString(_printable(tensor.description))
    feature = _table(b, 0, {})
    fields[_TENSOR_CONTENT] = _union(b, 2, _FEATURE_PROPERTIES, feature)
    if tensor.mean or tensor.std:
        if len(tensor.mean) != len(tensor.std):
            raise InputError(
                f"'{tensor.name}': {len(tensor.mean)} means but {len(tensor.std)} deviations"
            )
        pair = {0: _floats(b, tensor, tensor.mean), 1: _floats(b, tensor, tensor.std)}
        unit = _union(b, 2, _NORMALIZATION_OPTIONS, _table(b, 2, pair))
        fields[_TENSOR_PROCESS] = _vector(b, [unit])
    if tensor.minimum or tensor.maximum:
        stats = {0: _floats(b, tensor, tensor.maximum), 1: _floats(b, tensor, tensor.minimum)}
        fields[_TENSOR_STATS] = _table(b, 2, stats)
    if tensor.labels:
        fields[_TENSOR_FILES] = _vector(b, [_label_entry(b, label_file)])
    return _table(b, _TENSOR_SLOTS, fields)


def _label_entry(b: Any, name: str) -> int:
    text = {_FILE_NAME: b.CreateString(name), _FILE_DESCRIPTION: b.CreateString("one class a line")}
    b.StartObject(_FILE_SLOTS)
    for slot, offset in text.items():
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    b.PrependInt8Slot(_FILE_TYPE, _TENSOR_AXIS_LABELS, 0)
    return int(b.EndObject())


def _table(b: Any, slots: int, offsets: dict[int, int]) -> int:
    b.StartObject(slots)
    for slot, offset in sorted(offsets.items()):
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(b.EndObject())


def _union(b: Any, slots: int, kind: int, value: int) -> int:
    """Return a table whose first field is a union: its type in slot 0, its value in slot 1."""
    b.StartObject(slots)
    b.PrependUint8Slot(0, kind, 0)
    b.PrependUOffsetTRelativeSlot(1, value, 0)
    return int(b.EndObject())


def _vector(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _floats(b: Any, tensor: TensorMetadata, values: Sequence[float]) -> int:
    if not all(math.isfinite(v) and abs(v) < 3.4e38 for v in values):
        raise InputError(f"'{tensor.name}': its statistics {list(values)[:4]} are not finite")
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependFloat32(value)
    return int(b.EndVector())


def _printable(text: str) -> str:
    """Return ``text`` without what UTF-8 or a C string cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:MAX_TEXT]


def _decode(
    data: bytes, where: str
) -> tuple[ModelMetadata, tuple[tuple[str, ...], tuple[str, ...]]]:
    import struct

    from flatbuffers.table import Table

    (root,) = struct.unpack_from("<I", data)
    model = Table(data, root)
    fields = {f: _text(model, _MODEL[f]) for f in _MODEL if f != "subgraphs"}
    subgraphs = _tables(model, _MODEL["subgraphs"], where)
    inputs: tuple[Any, ...] = ()
    outputs: tuple[Any, ...] = ()
    if subgraphs:
        inputs = _tables(subgraphs[0], _SUBGRAPH_INPUTS, where)
        outputs = _tables(subgraphs[0], _SUBGRAPH_OUTPUTS, where)
    metadata = ModelMetadata(
        **fields,
        inputs=tuple(_read_tensor(t, where) for t in inputs),
        outputs=tuple(_read_tensor(t, where) for t in outputs),
    )
    return metadata, (
        tuple(_label_file_of(t, where) for t in inputs),
        tuple(_label_file_of(t, where) for t in outputs),
    )


def _read_tensor(table: Any, where: str) -> TensorMetadata:
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    for unit in _tables(table, _TENSOR_PROCESS, where):
        options = _child(unit, 1)
        if options is not None and _byte(unit, 0) == _NORMALIZATION_OPTIONS:
            mean, std = _read_floats(options, 0, where), _read_floats(options, 1, where)
    stats = _child(table, _TENSOR_STATS)
    return TensorMetadata(
        name=_text(table, _TENSOR_NAME),
        description=_text(table, _TENSOR_DESCRIPTION),
        mean=mean,
        std=std,
        minimum=() if stats is None else _read_floats(stats, 1, where),
        maximum=() if stats is None else _read_floats(stats, 0, where),
    )


def _label_file_of(table: Any, where: str) -> str:
    for entry in _tables(table, _TENSOR_FILES, where):
        if _byte(entry, _FILE_TYPE) == _TENSOR_AXIS_LABELS:
            return _text(entry, _FILE_NAME)
    return ""


def _field(table: Any, slot: int) -> int:
    """Return the position of a field, 0 when it is absent."""
    offset = int(table.Offset(4 + 2 * slot))
    return offset and table.Pos + offset


def _text(table: Any, slot: int) -> str:
    position = _field(table, slot)
    if not position:
        return ""
    text = table.String(position)[:MAX_TEXT].decode("utf-8", "replace")
    return "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")


def _byte(table: Any, slot: int) -> int:
    position = _field(table, slot)
    return int(table.Bytes[position]) if position else 0


def _child(table: Any, slot: int) -> Any:
    from flatbuffers.table import Table

    position = _field(table, slot)
    return Table(table.Bytes, table.Indirect(position)) if position else None


def _tables(table: Any, slot: int, where: str) -> tuple[Any, ...]:
    from flatbuffers.table import Table

    start, count = _walk(table, slot, MAX_TENSORS, where)
    return tuple(Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(count))


def _read_floats(table: Any, slot: int, where: str) -> tuple[float, ...]:
    import struct

    start, count = _walk(table, slot, MAX_VALUES, where)
    return struct.unpack_from(f"<{count}f", table.Bytes, start)


def _walk(table: Any, slot: int, limit: int, where: str) -> tuple[int, int]:
    if not _field(table, slot):
        return 0, 0
    offset = table.Offset(4 + 2 * slot)
    count = int(table.VectorLen(offset))
    if not 0 <= count <= limit:
        raise ModelError(
            f"{where}: its metadata lists {count:,} values, at most {limit:,} are read"
        )
    return int(table.Vector(offset)), count
