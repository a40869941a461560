"""Flash and RAM that a build would have, and regions that are too small, before it compiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgebuild.backends.base import Emitted
from edgebuild.budget import OF_REGION, Budget, Violation
from edgebuild.code_size import CodeSize, Part, predict_code
from edgebuild.codegen.c_library import constant_bytes
from edgebuild.figures import Figure, How
from edgebuild.memory import STACK_BYTES as STACK_ROOM
from edgebuild.pipeline.compilers import COMFORT, is_smallest
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.regions import Memory, Placement, required_placement

STACK_BYTES = 512
"""Typical stack of a run; a build measures it."""


@dataclass(frozen=True)
class MemoryForecast:
    """Flash and RAM of the model, and the regions that all of the firmware may be too large for."""

    flash: Figure
    ram: Figure
    regions: tuple[Violation, ...]


def forecast_memory(
    plan: BuildPlan, emitted: Emitted, latency: Figure | None, limits: Budget
) -> MemoryForecast:
    """Predict what a build of this ``latency`` has with the compiler that it would choose.

    As ``compile_and_run`` does, another than the preferred one is chosen where a limit is short,
    or where it is smaller and kernels are chosen for size.
    """
    rounds = tuple(tuple(Candidate(plan, emitted, tool) for tool in tools) for tools in plan.rounds)
    every = [one for tools in rounds for one in tools]
    first = every[0]
    smallest = is_smallest(plan)
    if first.keeps(limits, COMFORT) and not is_slow(latency, limits) and not smallest:
        return first.forecast()
    # A latency is predicted for the preferred compiler: what another's is, a build tells.
    sure = every[:1] if limits.latency_us is not None else every
    possible = _possible(rounds, limits)
    low = min((one.flash.low for one in possible), default=None)
    fitting = [one for one in possible if one in sure and one.keeps(limits)]
    if fitting:
        # The smallest of those that keep all limits is kept, or one that may keep them.
        high = (min if smallest else max)(
            one.flash.high for one in (fitting if smallest else possible)
        )
        if limits.flash_bytes is not None:
            high = min(high, limits.flash_bytes)  # a build goes on until one fits
        return fitting[0].forecast(low, high)
    best = _smallest(sure if possible else every)
    high = max(one.flash.high for one in (*possible, best))
    return best.forecast(low, high, _short_regions(sure, every))


def is_slow(latency: Figure | None, limits: Budget) -> bool:
    """Return whether a predicted latency may miss its limit: a build then tries all compilers."""
    limit = limits.latency_us
    return latency is not None and limit is not None and latency.most > limit


def _possible(rounds: Sequence[Sequence[Candidate]], limits: Budget) -> Sequence[Candidate]:
    """Return what a build may keep: of the first round the smallest, of a later one the first that
    fits; the likeliest first."""
    found: list[Candidate] = []
    for number, candidates in enumerate(rounds):
        may = [one for one in candidates if one.may_keep(limits)]
        if number == 0:
            may.sort(key=lambda one: one.flash.value)
        for one in may:
            found.append(one)
            if number and one.keeps(limits):
                break
        if any(one.keeps(limits) for one in found):
            break
    return sorted(found, key=lambda one: not one.keeps(limits))


def _smallest(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda one: one.flash.value)


def _short_regions(sure: Sequence[Candidate], every: Sequence[Candidate]) -> Iterator[Violation]:
    """Yield the regions that none of ``sure`` is known to fit."""
    best = _smallest(sure)
    placement = best.placement
    for region, part in best.needed.items():
        if any(one.needed[region].high <= region.usable_bytes for one in sure):
            continue
        roles = ", ".join(placement.roles_of(region))
        figure = Figure(
            part.value,
            "B",
            How.ESTIMATED,
            f"what lies in region {region.name} ({roles}, and the benchmark firmware)",
            min(one.needed[region].low for one in every),
            part.high,
        )
        source = f"{OF_REGION}{region.name} of {best.target}"
        yield Violation(region.kind, region.usable_bytes, figure, source)


class Candidate:
    """What one tool would make of a model: ``flash`` and ``ram`` of the model, and what is
    ``needed`` of each region for all of the firmware."""

    def __init__(self, plan: BuildPlan, emitted: Emitted, tool: str) -> None:
        target = plan.target
        self.target = target.name
        self.placement = required_placement(target.placement, target.name)
        self._arena = emitted.plan.arena_bytes
        self._constants = constant_bytes(emitted.graph, emitted.calls)
        self._code = predict_code(
            *(emitted.graph, emitted.calls, emitted.plan, emitted.name),
            core=target.cpu.core,
            port=target.firmware.port if target.firmware is not None else None,
            tool=tool,
            held_bytes=emitted.held_bytes,
        )
        self.flash = _exactly(self._constants) + self._code.model
        self._copied = _copied(self.placement, self._constants, self._code)
        stack = Part(STACK_BYTES, 0, 2 * STACK_BYTES)
        self.ram = _exactly(self._arena) + stack + self._copied
        banks = emitted.plan.bank_bytes
        self.needed = _by_region(self.placement, self._constants, banks, self._code)

    def keeps(self, limits: Budget, share: float = 1.0) -> bool:
        """Return whether flash and RAM surely take at most ``share`` of their limits, and fit."""
        pairs = (self.flash, limits.flash_bytes), (self.ram, limits.ram_bytes)
        kept = all(limit is None or part.high <= share * limit for part, limit in pairs)
        return kept and all(part.high <= m.usable_bytes for m, part in self.needed.items())

    def flash_excess(self, limits: Budget) -> int:
        """Return by how many bytes flash may miss its limit or be too much for a region; negative
        where neither may be."""
        most = [part.high - m.usable_bytes for m, part in self.needed.items() if m.kind == "flash"]
        if limits.flash_bytes is not None:
            most.append(self.flash.high - limits.flash_bytes)
        return max(most)

    def may_keep(self, limits: Budget) -> bool:
        """Return whether flash may be kept, and all may fit."""
        limit = limits.flash_bytes
        kept = limit is None or self.flash.low <= limit
        return kept and all(part.low <= m.usable_bytes for m, part in self.needed.items())

    def forecast(
        self,
        low: int | None = None,
        high: int | None = None,
        regions: Iterable[Violation] = (),
    ) -> MemoryForecast:
        """Return the figures, flash with other bounds where they are given."""
        code, compiler = self._code.model.value, self._code.compiler
        flash = Figure(
            self.flash.value,
            "B",
            How.ESTIMATED,
            f"constants {self._constants:,} B exactly, code about {code:,} B with {compiler}",
            self.flash.low if low is None else low,
            self.flash.high if high is None else high,
        )
        copied = self._copied.value
        ram = Figure(
            self.ram.value,
            "B",
            How.ESTIMATED,
            f"arena {self._arena:,} B as planned, stack about {STACK_BYTES} B"
            + (f", copied from flash about {copied:,} B" if copied else ""),
            self.ram.low,
            self.ram.high,
        )
        return MemoryForecast(flash, ram, tuple(regions))


def _exactly(size: int) -> Part:
    return Part(size, size, size)


def _copied(placement: Placement, constants: int, code: CodeSize) -> Part:
    """Return the bytes of kernels and weights that run or lie in RAM."""
    copied = _exactly(constants if placement.weights.kind == "ram" else 0)
    return copied + code.kernels if placement.kernels.kind == "ram" else copied


def _by_region(
    placement: Placement, constants: int, arena: Sequence[int], code: CodeSize
) -> dict[Memory, Part]:
    """Return what each region needs for all of the firmware, the stack's room included."""
    needed = dict.fromkeys(placement.used, _exactly(0))

    def add(region: Memory, part: Part) -> None:
        needed[region] += part

    add(placement.code, code.application + code.layers)
    for region, part in (
        (placement.kernels, code.kernels),
        (placement.weights, _exactly(constants)),
    ):
        add(region, part)
        if region.kind == "ram":  # stored with the code
            add(placement.code, part)
    add(placement.data, code.application_ram + _exactly(STACK_ROOM))
    for region, size in zip(placement.arena, arena, strict=False):
        add(region, _exactly(size))
    return needed
