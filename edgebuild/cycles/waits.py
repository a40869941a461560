"""Cycles that a core waits for its memory, from what a layer moves and what the regions are.

A region's numbers come from the target's profile (``edgebuild.regions.Access``); docs/cycles.md has
their sources and what this model leaves out. Where only bounds are known, both are given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgebuild.cycles.code import Code
from edgebuild.cycles.traffic import Reads
from edgebuild.figures import Figure, How
from edgebuild.profile import Cpu, TargetProfile
from edgebuild.regions import Access, Cache, Memory, Placement

STACK_BYTES = 512
"""What a run typically uses of the stack."""

SMALL_CACHE = 512
"""A data cache below this size (STM32's) keeps no literals beside a stream of weights."""


@dataclass(frozen=True)
class Waits:
    """Cycles between two bounds."""

    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: Waits) -> Waits:
        return Waits(self.low + other.low, self.high + other.high)

    def __bool__(self) -> bool:
        return self.high > 0


NO_WAITS = Waits()


@dataclass(frozen=True)
class Layer:
    """What one layer moves. ``code`` is by the region that it lies in, ``cycles`` without waits;
    layers of the same ``kernel`` run the same code; ``parameters`` are the loads of its parameters,
    which lie with the model's code."""

    code: Mapping[Memory, Code]
    reads: tuple[Reads, ...]
    cycles: float
    kernel: str = ""
    parameters: float = 0.0

    @property
    def code_size(self) -> float:
        """Bytes of code, each counted once."""
        return sum((code.size for code in self.code.values()), 0.0)

    @cached_property
    def constants(self) -> Mapping[int, Sequence[Reads]]:
        """What each of its kernel calls reads of constants."""
        found: dict[int, list[Reads]] = {}
        for read in self.of("weights", "parameters"):
            found.setdefault(read.call, []).append(read)
        return found

    @property
    def constants_size(self) -> int:
        """Bytes of constants, those that an operator reads in several calls counted once."""
        return sum(read.size for read in self.of("weights", "parameters") if not read.again)

    def of(self, *roles: str) -> tuple[Reads, ...]:
        """Return the reads of these roles."""
        return tuple(read for read in self.reads if read.role in roles)


@dataclass(frozen=True)
class MemoryModel:
    """Where everything lies, and the core with its caches."""

    placement: Placement
    cpu: Cpu

    @property
    def slow(self) -> tuple[str, ...]:
        """The regions in use that are slower than the core."""
        used = self.placement.used
        return tuple(memory.name for memory in used if _speed(memory) is not None)


def memory_model(target: TargetProfile) -> MemoryModel | None:
    """Return the model of a target's memory; None where it has no memory map."""
    return MemoryModel(target.placement, target.cpu) if target.placement else None


def layer_waits(layers: Iterable[Layer], model: MemoryModel) -> tuple[tuple[Waits, ...], Waits]:
    """Return the waits of each layer, and their sum, of one of many inferences."""
    layers = tuple(layers)
    # What stays in a cache from one inference to the next is not filled again.
    kept = float(sum(layer.constants_size for layer in layers))
    kernels: dict[str, float] = {}
    for layer in layers:
        kernels[layer.kernel] = max(kernels.get(layer.kernel, 0.0), layer.code_size)
    kept += sum(kernels.values())
    found = tuple(_Waiting(layer, model, kept).total() for layer in layers)
    return found, sum(found, NO_WAITS)


def latency_figures(
    cycles: float, waits: Waits, clock_hz: int, slow: Sequence[str], how: How, source: str
) -> tuple[Figure, Figure | None]:
    """Return the latency and, where the regions ``slow`` add to it, that with zero wait states.

    ``cycles`` are those without waits, known as ``how`` and ``source`` say. The latency's value is
    its upper bound: budgets are checked against it.
    """
    mhz = clock_hz / 1e6
    zero_wait = Figure(cycles / mhz, "us", how, f"{source}, {mhz:g} MHz")
    if not slow:
        return zero_wait, None
    low, high = ((cycles + wait) / mhz for wait in (waits.low, waits.high))
    source = f"{zero_wait.source}, plus waits for {' and '.join(slow)}"
    if low == high:
        return Figure(high, "us", how, source), zero_wait
    return Figure(high, "us", how, source, low, high), zero_wait


def _speed(memory: Memory) -> Access | None:
    """Return how fast a region is, None where it is as fast as the core."""
    access = memory.access
    slow = access is not None and (access.wait_states or access.wait_states_max)
    return access if slow else None


@dataclass(frozen=True)
class _Waiting:
    """The waits of one layer; ``kept``: bytes of all constants and all kernels."""

    layer: Layer
    model: MemoryModel
    kept: float

    def total(self) -> Waits:
        found = Waits()
        for memory, code in self.layer.code.items():
            if (access := _speed(memory)) is not None:
                found += self._code(code, memory, access)
        (weights,) = self.model.placement.of("weights")
        if (access := _speed(weights)) is not None:
            found += self._constants("weights", weights, access)
        beside_code = self.model.placement.code
        if (access := _speed(beside_code)) is not None:
            found += self._parameters(beside_code, access)
        arena, stack = self.model.placement.arena, self.model.placement.data
        counted = False
        for bank, memory in enumerate(arena):
            reads = self._of_bank(bank)
            if (access := _speed(memory)) is not None and (reads or len(arena) == 1):
                found += self._arena(access, reads)
                counted |= memory == stack
        if (access := _speed(stack)) is not None and not counted:
            found += self._stack(access)
        return found

    def _of_bank(self, bank: int) -> tuple[Reads, ...]:
        """Return the reads of one bank; those of which it is not known are in every one, maybe."""
        reads = self.layer.of("arena")
        if len(self.model.placement.arena) == 1:
            return reads
        unknown = (dataclasses.replace(r, maybe=True) for r in reads if r.bank is None)
        return (*(read for read in reads if read.bank == bank), *unknown)

    def _code(self, code: Code, memory: Memory, access: Access) -> Waits:
        """Fetches, and the literals beside the code."""
        cache, wait = instruction_cache(access, self.model.cpu), _bounds(access)
        line = access.line_bytes
        if cache is None:
            lines = Waits(code.fetched / line, code.fetched / line + code.jumps)
            each = wait
        else:
            line = cache.line_bytes
            lines, each = self._code_lines(code, memory, cache), _fill(access, line)
        # While the core runs what one line holds, a prefetch brings the next one.
        hidden = 0.0
        if access.prefetch and code.fetched:
            hidden = self.layer.cycles * line / code.fetched
        low = lines.low * max(0.0, each.low - hidden)
        if cache is None and access.prefetch:
            low = max(low, code.jumps * wait.low)
        found = Waits(low, lines.high * each.high)
        data = data_cache(access, self.model.cpu)
        if data is None:
            return found + Waits(code.literals * wait.low, code.literals * wait.high)
        if data.size_bytes < SMALL_CACHE:
            return found + Waits(0.0, code.literals * wait.high)
        return found

    def _code_lines(self, code: Code, memory: Memory, cache: Cache) -> Waits:
        least, most = code.misses(cache)
        # What is filled once may still be there from the inference before.
        lines = code.lines(cache)
        once = min(most, lines)
        high = most - once + once * self._again(cache)
        (weights,) = self.model.placement.of("weights")
        shared = weights is memory and memory.access and memory.access.cache is not None
        if shared and self.kept > cache.size_bytes:
            # A stream of weights drives out of the common cache what runs once in a pass.
            passes: dict[int, float] = {}
            for read in self.layer.of("weights"):
                if read.size > cache.size_bytes / 2:
                    passes[read.call] = max(passes.get(read.call, 0.0), read.passes)
            high += sum(passes.values()) * lines
        # The layer before may have left the same kernel in the cache.
        low = max(0.0, least - lines)
        return Waits(min(low, high), high)

    def _again(self, cache: Cache) -> float:
        """Return the share, at most, of what fits that an inference fills again.

        Nothing where all constants and kernels take half of the cache; all of it where they are
        larger than the cache.
        """
        return min(1.0, max(0.0, 2 * self.kept / cache.size_bytes - 1))

    def _parameters(self, memory: Memory, access: Access) -> Waits:
        if data_cache(access, self.model.cpu) is not None:
            return self._constants("parameters", memory, access)
        loads, wait = self.layer.parameters, _bounds(access)
        busy = access.prefetch and memory in self.layer.code
        return Waits(loads * wait.low, loads * (1 + busy) * wait.high)

    def _constants(self, role: str, memory: Memory, access: Access) -> Waits:
        cache, wait = data_cache(access, self.model.cpu), _bounds(access)
        # A prefetch of instructions may be under way when data are asked for.
        busy = access.prefetch and memory in self.layer.code
        found = Waits()
        for read in self.layer.of(role):
            if cache is None:
                lines, each = Waits(read.touched(access.line_bytes), read.loads), wait
            else:
                lines, each = self._lines(read, cache, access), _stream(access, cache.line_bytes)
            low = 0.0 if read.maybe else lines.low * each.low
            found += Waits(low, lines.high * (each.high + busy * wait.high))
        return found

    def _lines(self, read: Reads, cache: Cache, access: Access) -> Waits:
        line, size = cache.line_bytes, cache.size_bytes
        # What a call reads in the same passes lies between two reads of the same line.
        constants = self.layer.constants[read.call]
        others = [r for r in constants if r is not read and r.passes == read.passes]
        sure = sum(other.size for other in others if not other.maybe)
        most = float(sum(_spanned(other.size, line) for other in others))
        most += _spanned(read.size, line) - read.size
        most += self.layer.code_size if access.cache is not None else 0.0
        # Only in sets that hold more lines than ways is every line missed.
        if self.kept > size:
            low = read.misses(line, size * (1 + 1 / cache.ways) - sure, size)
            if read.again:  # The call before may have left it in the cache.
                low -= -(-read.size // line)
            return Waits(low, max(low, read.misses(line, size - most, size)))
        return Waits(0.0, self._again(cache) * read.misses(line, read.size))

    def _others(self) -> float:
        """Return the loads and stores that are none of constants."""
        loads = sum(read.loads for read in self.layer.of("weights")) + self.layer.parameters
        return max(0.0, sum(code.accesses for code in self.layer.code.values()) - loads)

    def _arena(self, access: Access, reads: Sequence[Reads]) -> Waits:
        """Loads and stores of activations, and of the stack where it lies in the same region."""
        cache, wait = data_cache(access, self.model.cpu), _bounds(access)
        size = sum(read.size for read in reads)
        sure = sum(read.size for read in reads if not read.maybe)
        if cache is None:
            return Waits(sure / 4 * wait.low, max(size / 4, self._others()) * wait.high)
        each = _stream(access, cache.line_bytes)
        most = sum(read.misses(cache.line_bytes, cache.size_bytes / 2) for read in reads)
        least = 0.0 if sure <= cache.size_bytes else sure / cache.line_bytes
        return Waits(min(least, most) * each.low, most * each.high)

    def _stack(self, access: Access) -> Waits:
        """Loads and stores of a stack away from the arena: at most those that are none of
        constants; of a cache a few lines."""
        cache, wait = data_cache(access, self.model.cpu), _bounds(access)
        if cache is None:
            return Waits(0.0, self._others() * wait.high)
        lines = STACK_BYTES / cache.line_bytes
        return Waits(0.0, lines * _fill(access, cache.line_bytes).high)


def _spanned(size: int, line: int) -> int:
    """Return the bytes of the lines that ``size`` bytes, aligned to words, lie in at most."""
    return line * (1 + -(-max(0, size - 4) // line))


def _bounds(access: Access) -> Waits:
    most = access.wait_states_max
    return Waits(access.wait_states, access.wait_states if most is None else most)


def _next(access: Access) -> Waits:
    """Return the wait states of the line behind one that was just read."""
    sequential = access.sequential_wait_states
    return _bounds(access) if sequential is None else Waits(sequential, sequential)


def _fill(access: Access, line: int) -> Waits:
    """Return what one line of a cache takes beyond a hit. The core may go on with the word that it
    asked for, or wait for the whole line."""
    first, more = _bounds(access), _chunks(access, line) - 1
    return Waits(first.low, first.high + more * (1 + _next(access).high))


def _stream(access: Access, line: int) -> Waits:
    """Return the same where lines are read one behind the other, so that none can be hidden."""
    first, more = _bounds(access), _chunks(access, line) - 1
    return Waits(first.low + more * (1 + _next(access).low), _fill(access, line).high)


def _chunks(access: Access, line: int) -> int:
    return max(1, -(-line // access.line_bytes))


def instruction_cache(access: Access, cpu: Cpu) -> Cache | None:
    """Return the cache that serves instructions from a region."""
    own = cpu.instruction_cache if access.core_caches else None
    return access.cache or access.instruction_cache or own


def data_cache(access: Access, cpu: Cpu) -> Cache | None:
    """Return the cache that serves data from a region."""
    own = cpu.data_cache if access.core_caches else None
    return access.cache or access.data_cache or own
