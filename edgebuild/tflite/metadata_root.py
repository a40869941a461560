"""A new root in front of a model: the metadata buffer is added and no old byte changes.

A flatbuffer's offsets point forward and are relative, so a file may be moved to the back of another
as long as alignments stay. In front goes a new Model table that refers to the old operator codes,
subgraphs and signatures, and new vectors of buffers and metadata entries that refer to the old
ones. Packing the model anew would lose alignments and all fields that this schema lacks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from edgebuild.errors import InputError, ModelError
from edgebuild.limits import MODEL_BYTES, in_words
from edgebuild.tflite import schema
from edgebuild.tflite.reader import _DAMAGE, MAX_COUNT

ENTRY = b"TFLITE_METADATA"
ALIGN = 64
"""The largest alignment that a converter gives to weights; the old bytes move by a multiple."""

_VERSION, _BUFFERS, _METADATA, _SLOTS = 0, 4, 6, 10
"""Slots of the Model table; all but the version are offsets."""


@dataclass(frozen=True)
class _Model:
    """Positions in the old file: root fields by slot, buffer tables, metadata entries."""

    version: int
    fields: dict[int, int]
    buffers: tuple[int, ...]
    entries: tuple[int, ...]
    inputs: int
    outputs: int
    own: tuple[int, int] | None
    """The metadata entry to replace: its place among ``entries`` and its buffer's number."""


def find_metadata_buffer(model: bytes, *, where: str) -> bytes | None:
    """Return the bytes of the ``TFLITE_METADATA`` buffer, or None when there is none."""
    old = _read(model, where)
    if old.own is None:
        return None
    try:
        data = schema.module().Model.GetRootAs(model, 0).Buffers(old.own[1]).DataAsNumpy()
        return b"" if isinstance(data, int) else bytes(data.tobytes())
    except _DAMAGE as error:
        raise _damaged(model, where, error) from error


def prepend_root(model: bytes, metadata: bytes, inputs: int, outputs: int, *, where: str) -> bytes:
    """Return ``model`` with ``metadata`` as its metadata buffer.

    Args:
        model: the flatbuffer alone.
        metadata: the metadata flatbuffer.
        inputs, outputs: how many tensors the metadata describes, compared with the model.
        where: what messages call the file.
    """
    old = _read(model, where)
    for what, has, given in (
        ("inputs", old.inputs, inputs),
        ("outputs", old.outputs, outputs),
    ):
        if has != given:
            raise InputError(f"{where}: has {has} {what}, the metadata describes {given}")
    head = _Head(old, metadata)
    return head.build() + model


class _Head:
    """The bytes in front: their layout first, then the bytes."""

    def __init__(self, old: _Model, metadata: bytes) -> None:
        count = len(old.buffers) + 1
        entries = len(old.entries) + (old.own is None)
        self.old = old
        self.metadata = metadata
        end = 8
        end, self.vtable = _place(end, 4 + 2 * _SLOTS, 4)
        end, self.root = _place(end, 4 + 4 * _SLOTS, 4)
        end, self.buffers = _place(end, 4 + 4 * count, 4)
        end, self.entries = _place(end, 4 + 4 * entries, 4)
        end, self.buffer_vtable = _place(end, 6, 4)
        end, self.buffer = _place(end, 8, 4)
        end, self.entry_vtable = _place(end, 8, 4)
        end, self.entry = _place(end, 12, 4)
        end, self.name = _place(end, 4 + len(ENTRY) + 1, 4)
        # The data itself is aligned, its length stands before it.
        start = -(-(end + 4) // 16) * 16
        self.data = start - 4
        self.size = -(-(start + len(metadata)) // ALIGN) * ALIGN
        self.bytes = bytearray(self.size)

    def build(self) -> bytes:
        struct.pack_into("<I4s", self.bytes, 0, self.root, b"TFL3")
        self._root()
        self._vectors()
        self._table(self.buffer_vtable, self.buffer, [self.data])
        self._table(self.entry_vtable, self.entry, [self.name, None])
        struct.pack_into("<I", self.bytes, self.entry + 8, len(self.old.buffers))
        struct.pack_into(f"<I{len(ENTRY)}s", self.bytes, self.name, len(ENTRY), ENTRY)
        length = len(self.metadata)
        struct.pack_into(f"<I{length}s", self.bytes, self.data, length, self.metadata)
        return bytes(self.bytes)

    def _root(self) -> None:
        targets: list[int | None] = [None] * _SLOTS
        for slot, position in self.old.fields.items():
            targets[slot] = position + self.size
        targets[_BUFFERS], targets[_METADATA] = self.buffers, self.entries
        struct.pack_into("<HH", self.bytes, self.vtable, 4 + 2 * _SLOTS, 4 + 4 * _SLOTS)
        struct.pack_into("<i", self.bytes, self.root, self.root - self.vtable)
        for slot, target in enumerate(targets):
            field = self.root + 4 + 4 * slot
            if slot == _VERSION:
                struct.pack_into("<I", self.bytes, field, self.old.version)
            elif target is None:
                continue  # a zero in the vtable: the field is absent
            else:
                self._refer(field, target)
            struct.pack_into("<H", self.bytes, self.vtable + 4 + 2 * slot, 4 + 4 * slot)

    def _vectors(self) -> None:
        buffers = [position + self.size for position in self.old.buffers]
        buffers.append(self.buffer)  # an old one stays where it is: a tensor may use it too
        entries = [position + self.size for position in self.old.entries]
        place = len(entries) if self.old.own is None else self.old.own[0]
        entries[place : place + 1] = [self.entry]
        for start, targets in ((self.buffers, buffers), (self.entries, entries)):
            struct.pack_into("<I", self.bytes, start, len(targets))
            for i, target in enumerate(targets):
                self._refer(start + 4 + 4 * i, target)

    def _table(self, vtable: int, table: int, targets: list[int | None]) -> None:
        """Write a table of 4-byte fields; None is a field that the caller fills."""
        size = 4 + 4 * len(targets)
        struct.pack_into("<HH", self.bytes, vtable, 4 + 2 * len(targets), size)
        struct.pack_into("<i", self.bytes, table, table - vtable)
        for i, target in enumerate(targets):
            struct.pack_into("<H", self.bytes, vtable + 4 + 2 * i, 4 + 4 * i)
            if target is not None:
                self._refer(table + 4 + 4 * i, target)

    def _refer(self, field: int, target: int) -> None:
        struct.pack_into("<I", self.bytes, field, target - field)


def _place(end: int, size: int, align: int) -> tuple[int, int]:
    start = -(-end // align) * align
    return start + size, start


def _read(model: bytes, where: str) -> _Model:
    if len(model) < 8 or model[4:8] != b"TFL3":
        raise ModelError(f"{where}: not a TFLite flatbuffer (no 'TFL3' identifier)")
    if len(model) > MODEL_BYTES:
        raise ModelError(f"{where}: larger than {in_words(MODEL_BYTES)}")
    try:
        return _positions(model, where)
    except _DAMAGE as error:
        raise _damaged(model, where, error) from error


def _damaged(model: bytes, where: str, error: Exception) -> ModelError:
    return ModelError(
        f"{where}: the flatbuffer is damaged or truncated ({len(model):,} bytes): {error}",
        hint="export or copy the model again",
    )


def _positions(model: bytes, where: str) -> _Model:
    root = schema.module().Model.GetRootAs(model, 0)
    table = root._tab
    fields = {}
    for slot in range(1, _slot_count(model, table.Pos)):
        offset = table.Offset(4 + 2 * slot)
        if not offset:
            continue
        if slot >= _SLOTS:
            raise ModelError(
                f"{where}: written by a newer schema of TFLite (field {slot} of its root)",
                hint="leave the metadata out, or update edgebuild",
            )
        fields[slot] = _inside(table.Indirect(table.Pos + offset), model)
    buffers = _elements(root, _BUFFERS, model, where)
    for i in range(len(buffers)):
        if root.Buffers(i).Offset() > 1:
            raise ModelError(
                f"{where}: keeps its weights behind the flatbuffer, at fixed positions",
                hint="models below 2 GiB can be exported with their weights inside",
            )
    if root.SubgraphsLength() < 1:
        raise ModelError(f"{where}: has no subgraph")
    subgraph = root.Subgraphs(0)
    return _Model(
        version=root.Version(),
        fields=fields,
        buffers=buffers,
        entries=_elements(root, _METADATA, model, where),
        inputs=subgraph.InputsLength(),
        outputs=subgraph.OutputsLength(),
        own=_own_entry(root, len(buffers), where),
    )


def _slot_count(model: bytes, table: int) -> int:
    (offset,) = struct.unpack_from("<i", model, table)
    (size,) = struct.unpack_from("<H", model, _inside(table - offset, model))
    return int(size - 4) // 2


def _elements(root: Any, slot: int, model: bytes, where: str) -> tuple[int, ...]:
    """Return the positions of the tables in a vector of the root."""
    table = root._tab
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return ()
    start, count = table.Vector(offset), table.VectorLen(offset)
    if not 0 <= count <= MAX_COUNT:
        raise ModelError(f"{where}: {count:,} buffers are more than edgebuild reads")
    return tuple(_inside(table.Indirect(start + 4 * i), model) for i in range(count))


def _inside(position: int, model: bytes) -> int:
    if not 0 <= position <= len(model) - 4:
        raise IndexError(f"offset {position} is outside")
    return int(position)


def _own_entry(root: Any, buffers: int, where: str) -> tuple[int, int] | None:
    for i in range(root.MetadataLength()):
        entry = root.Metadata(i)
        if entry.Name() == ENTRY:
            if entry.Buffer() >= buffers:
                raise ModelError(f"{where}: its metadata is in buffer {entry.Buffer()}, not there")
            return i, entry.Buffer()
    return None
