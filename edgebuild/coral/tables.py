"""Bounded reading of flatbuffers and flexbuffers from bytes that nobody vouches for.

Only what a compiled model's package needs. Every offset is checked against the buffer, and what
does not fit raises ``Damage``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_ITEMS = 1 << 10
MAX_CONTENTS = 64
MAX_TEXT = 1 << 10
"""A vector's entries may all be the same bytes: what a small file may ask for is bounded."""

_PARENTS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
_FLEX_INT, _FLEX_UINT, _FLEX_STRING, _FLEX_MAP, _FLEX_BLOB = 1, 2, 5, 9, 25


class Damage(ValueError):  # noqa: N818 - never leaves edgebuild.coral
    """An offset, a length or a type that a sound buffer does not have."""


def _read(data: bytes, form: str, at: int) -> int | float:
    size = struct.calcsize(form)
    if at < 0 or at + size > len(data):
        raise Damage(f"offset {at:,} is outside its {len(data):,} bytes")
    return struct.unpack_from(form, data, at)[0]


def _integer(data: bytes, form: str, at: int) -> int:
    return int(_read(data, form, at))


@dataclass(frozen=True)
class Table:
    """A flatbuffer table at ``at``; ``slot`` is a field's number in its schema."""

    data: bytes
    at: int

    def _field(self, slot: int) -> int | None:
        """Return where a field's value is, None where the table has none."""
        vtable = self.at - _integer(self.data, "<i", self.at)
        if 4 + 2 * slot >= _integer(self.data, "<H", vtable):
            return None
        offset = _integer(self.data, "<H", vtable + 4 + 2 * slot)
        return self.at + offset if offset else None

    def _target(self, slot: int) -> int | None:
        at = self._field(slot)
        return None if at is None else at + _integer(self.data, "<I", at)

    def integer(self, slot: int, form: str = "<i", default: int = 0) -> int:
        """Return an integer field of ``struct`` format ``form``."""
        at = self._field(slot)
        return default if at is None else _integer(self.data, form, at)

    def number(self, slot: int) -> float:
        """Return a field of 32-bit floating point."""
        at = self._field(slot)
        return 0.0 if at is None else float(_read(self.data, "<f", at))

    def content(self, slot: int) -> bytes:
        """Return a vector of bytes, or a string; empty where there is none."""
        at = self._target(slot)
        return b"" if at is None else _sized(self.data, at)

    def length(self, slot: int) -> int:
        """Return the length of a vector of bytes, 0 where there is none."""
        at = self._target(slot)
        return 0 if at is None else _fitting_length(self.data, at)

    def text(self, slot: int) -> bytes:
        """Return a string, cut after ``MAX_TEXT`` bytes."""
        at = self._target(slot)
        if at is None:
            return b""
        return self.data[at + 4 : at + 4 + min(_fitting_length(self.data, at), MAX_TEXT)]

    def table(self, slot: int) -> Table | None:
        """Return the table of a field, None where there is none."""
        at = self._target(slot)
        return None if at is None else Table(self.data, at)

    def tables(self, slot: int) -> list[Table]:
        """Return the tables of a vector."""
        return [Table(self.data, at) for at in self._targets(slot)]

    def contents(self, slot: int) -> list[bytes]:
        """Return the strings of a vector of at most ``MAX_CONTENTS``."""
        places = self._targets(slot)
        if len(places) > MAX_CONTENTS:
            raise Damage(f"{len(places):,} strings in a vector")
        return [_sized(self.data, at) for at in places]

    def _targets(self, slot: int) -> list[int]:
        at = self._target(slot)
        if at is None:
            return []
        places = [at + 4 + 4 * i for i in range(self._count(at, 4))]
        return [place + _integer(self.data, "<I", place) for place in places]

    def _count(self, at: int, size: int) -> int:
        count = _integer(self.data, "<I", at)
        if count > MAX_ITEMS or at + 4 + count * size > len(self.data):
            raise Damage(f"a vector of {count:,} entries does not fit")
        return count


def root(data: bytes, identifier: bytes = b"") -> Table:
    """Return a flatbuffer's root table; Damage without the ``identifier`` that is asked for."""
    if identifier and data[4:8] != identifier:
        raise Damage(f"no '{identifier.decode()}' identifier")
    return Table(data, _integer(data, "<I", 0))


def _fitting_length(data: bytes, at: int) -> int:
    length = _integer(data, "<I", at)
    if at + 4 + length > len(data):
        raise Damage(f"{length:,} bytes at offset {at:,} do not fit")
    return length


def _sized(data: bytes, at: int) -> bytes:
    return data[at + 4 : at + 4 + _fitting_length(data, at)]


def flexbuffer_map(data: bytes) -> dict[str, int | bytes]:
    """Return the integers, strings and blobs of a flexbuffer whose root is a map; other values are
    left out."""
    if len(data) < 3:
        raise Damage("no flexbuffer")
    root_width, packed = data[-1], data[-2]
    if root_width not in _PARENTS or packed >> 2 != _FLEX_MAP:
        raise Damage("the options are not a flexbuffer map")
    at, width = _followed(data, len(data) - 2 - root_width, root_width), 1 << (packed & 3)
    count = _unsigned(data, at - width, width)
    if count > 256:
        raise Damage(f"a map of {count:,} entries")
    keys = _followed(data, at - 3 * width, width)
    key_width = _unsigned(data, at - 2 * width, width)
    found: dict[str, int | bytes] = {}
    for i in range(count):
        start = _followed(data, keys + i * key_width, key_width)
        key = data[start : max(data.find(b"\0", start), start)].decode("ascii", "replace")
        kind = _unsigned(data, at + count * width + i, 1)
        value = _flex_value(data, at + i * width, width, kind)
        if value is not None:
            found[key] = value
    return found


def _flex_value(data: bytes, at: int, width: int, packed: int) -> int | bytes | None:
    kind, own_width = packed >> 2, 1 << (packed & 3)
    if kind in (_FLEX_INT, _FLEX_UINT):
        form = _PARENTS[width]
        return _integer(data, form.lower() if kind == _FLEX_INT else form, at)
    if kind in (_FLEX_STRING, _FLEX_BLOB):
        start = _followed(data, at, width)
        length = _unsigned(data, start - own_width, own_width)
        if start + length > len(data):
            raise Damage(f"{length:,} bytes at offset {start:,} do not fit")
        return data[start : start + length]
    return None


def _unsigned(data: bytes, at: int, width: int) -> int:
    if width not in _PARENTS:
        raise Damage(f"an integer of {width} bytes")
    return _integer(data, _PARENTS[width], at)


def _followed(data: bytes, at: int, width: int) -> int:
    """Return where the offset at ``at`` leads, which is backwards."""
    target = at - _unsigned(data, at, width)
    if not 0 <= target <= at:
        raise Damage(f"the offset at {at:,} leads outside")
    return target
