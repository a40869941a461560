"""Memory regions read from TOML: ``[[memory]]`` tables and ``[place]``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations

from edgebuild.regions import MEMORY_KINDS, ROLES, Access, Cache, Memory
from edgebuild.toml_reader import Reader
from edgebuild.units import quoted

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MAX_ADDRESS = 1 << 32
_MAX_WAIT_STATES = 100_000
_MAX_LINE_BYTES = 4096
_MAX_REGIONS = 64
_WORD_BYTES = 4


def read_memories(reader: Reader) -> tuple[Memory, ...] | None:
    """Return the regions of a profile's ``[[memory]]`` tables, None when an entry is unusable."""
    tables = reader.tables("memory")
    memories = [memory for table in tables if (memory := _read_memory(table)) is not None]
    for fault in _map_faults(memories):
        reader.fault("memory", fault)
    return tuple(memories) if len(memories) == len(tables) else None


def _read_memory(table: Reader) -> Memory | None:
    name = table.text("name", required=True)
    kind = table.choice("kind", MEMORY_KINDS, None)
    if kind is None and "kind" not in table:
        table.fault("kind", "is missing")
    origin = table.count("origin", None, required=True)
    size = table.size("size", None, required=True)
    reserved = table.size("reserved", 0)
    holds = table.choices("holds", ROLES)
    access = _read_access(table.table("access"))
    table.finish()
    if name is None or kind is None or origin is None or size is None:
        return None
    memory = Memory(
        name, kind, origin, size, reserved, holds, access if "access" in table else None
    )
    for fault in _memory_faults(memory):
        table.fault("", fault)
    return memory


def _read_access(table: Reader) -> Access:
    wait_states = _wait_states(table, "wait_states") or 0
    access = Access(
        wait_states=wait_states,
        wait_states_max=_wait_states(table, "wait_states_max"),
        sequential_wait_states=_wait_states(table, "sequential_wait_states"),
        line_bytes=_line_bytes(table) or _WORD_BYTES,
        prefetch=table.flag("prefetch", False),
        cache=read_cache(table, "cache"),
        instruction_cache=read_cache(table, "instruction_cache"),
        data_cache=read_cache(table, "data_cache"),
        core_caches=table.flag("core_caches", False),
        execute_in_place=table.flag("execute_in_place", True),
    )
    if access.wait_states_max is not None and access.wait_states_max < wait_states:
        table.fault("wait_states_max", f"{access.wait_states_max} is below wait_states")
    sequential = access.sequential_wait_states
    if sequential is not None and sequential > wait_states:
        table.fault("sequential_wait_states", f"{sequential} is above wait_states")
    if access.cache is not None and (access.instruction_cache or access.data_cache):
        table.fault("cache", "serves instructions and data: leave out the cache of one of them")
    table.finish()
    return access


def read_cache(reader: Reader, key: str) -> Cache | None:
    """Return the cache in the table ``key``: ``size``, ``line_bytes`` and ``ways``; None when there
    is none."""
    table = reader.table(key)
    if key not in reader:
        return None
    size = table.size("size", None, required=True)
    line = _line_bytes(table)
    ways = table.count("ways", 1)
    table.finish()
    if size is None or line is None:
        if "line_bytes" not in table:
            table.fault("line_bytes", "is missing")
        return None
    if ways == 0 or size == 0 or size % (line * ways):
        table.fault("size", f"is not a multiple of {ways} ways of {line}-byte lines")
        return None
    return Cache(size, line, ways)


def _wait_states(table: Reader, key: str) -> int | None:
    count = table.count(key, None)
    if count is not None and count > _MAX_WAIT_STATES:
        table.fault(key, f"{quoted(count)} is not a number of cycles up to {_MAX_WAIT_STATES:,}")
        return None
    return count


def _line_bytes(table: Reader) -> int | None:
    line = table.count("line_bytes", None)
    if line is not None and not (0 < line <= _MAX_LINE_BYTES and line & (line - 1) == 0):
        table.fault("line_bytes", f"{quoted(line)} is not a power of two up to {_MAX_LINE_BYTES:,}")
        return None
    return line


def read_place(table: Reader) -> dict[str, tuple[str, ...]]:
    """Read a ``[place]`` table: for each role a region's name, or an array of them."""
    place = {}
    for role in ROLES:
        names = table.names(role)
        if names:
            place[role] = names
    table.finish()
    return place


def _memory_faults(memory: Memory) -> Iterable[str]:
    if not _IDENTIFIER.fullmatch(memory.name):
        yield f"{quoted(memory.name)} is not a region name: letters, digits and '_'"
    if memory.size_bytes == 0:
        yield f"region '{memory.name}' has no size"
    if memory.end > _MAX_ADDRESS:
        yield f"region '{memory.name}' ends beyond the 32-bit address space"
    if memory.reserved_bytes > memory.size_bytes:
        yield f"region '{memory.name}' reserves more than its size"


def _map_faults(memories: list[Memory]) -> Iterable[str]:
    for a, b in combinations(memories[:_MAX_REGIONS], 2):
        if a.name == b.name:
            yield f"has two regions called '{a.name}'"
        if a.origin < b.end and b.origin < a.end:
            yield (
                f"regions '{a.name}' (0x{a.origin:08x}..0x{a.end:08x}) and "
                f"'{b.name}' (0x{b.origin:08x}..0x{b.end:08x}) overlap"
            )
    if len(memories) > _MAX_REGIONS:
        yield f"has more than {_MAX_REGIONS} regions"
