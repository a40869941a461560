"""Choose a kernel for each operator, so that cycles, flash and RAM are what the user prefers."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from edgebuild.ops.base import KernelCall
from edgebuild.profile import Optimize
from edgebuild.schedule.costs import Costs, Option, Step

FLASH_OF_BALANCED, SMALL_FLASH = 1.4, 8 << 10
"""``balanced`` takes so many times the flash of ``size`` at most, or so many bytes more."""

RAM_WEIGHT = 0.7
"""``balanced`` makes cycles times RAM to this power small: a tenth of the cycles is worth a seventh
of the RAM."""

CYCLES_OF_BALANCED = 1.1
"""``balanced`` takes so many times the cycles of the fastest kernels in that flash, and in the RAM
of ``speed``, at most."""

CYCLES_OF_RAM = 1.4
"""``ram`` takes so many times the cycles of ``balanced`` at most."""

WORTH = 1e-7
"""A byte of flash must save this share of the cycles: 10 KB a thousandth."""

SHARES = (0.9, 0.97)
"""What is tried next where steps have an arena: so many times as much, while there are such."""

_FEW = 3
"""So many steps may be joined where that is faster than what fits an arena by itself."""

_MOST = 48
"""So many ways to run the first operators are kept, from the fastest to that with the fewest bytes
of constants."""

_NEAR = 4
"""So many of the smallest arenas by what is alive are planned."""

STEP_BYTES = 120
"""About what the call and the parameters of a step take, whichever its kernel."""


Choice = tuple[int, ...]
"""The position of the option that each step takes."""

Steps = tuple[Step, ...]

Live = Callable[[Sequence[KernelCall]], Callable[[int, KernelCall], int]]
"""Returns, where these calls run a graph, the bytes that are alive while another one runs operators
from a position on; the most of them is nearly always the arena."""

Fits = Callable[[KernelCall], bool]
"""Returns whether the arena that is wanted has room for a call instead of some steps."""

Join = Callable[[Sequence[Step], Fits], "Step | None"]
"""Returns the step that runs the operators of some in bands of rows, of those that fit; None where
none does."""

COST_OF_ROWS, NEAR_SMALLEST = 1.1, 1.1
"""Where the input comes by rows, the first operators run in bands whatever is preferred: at most so
many times what that makes small, and in so many times the smallest arena for it."""

LONGEST = 16
"""Operators that run in one step at most."""


@dataclass(frozen=True)
class Room:
    """Bytes that there are: ``flash`` for constants and code, ``ram`` for the arena."""

    flash: float = math.inf
    ram: float = math.inf


class Chosen(NamedTuple):
    """``steps``: the best ones first, others whose arena may be smaller after all, as what is alive
    is not all: where it lies decides. ``least`` bytes are alive at once in those with the fewest of
    all that were tried."""

    steps: tuple[Steps, ...]
    least: int


def choose(
    options: Sequence[Sequence[Option]],
    costs: Costs,
    optimize: Optimize,
    live: Live,
    join: Join = lambda _, __: None,
    kept: Sequence[int] = (),
    room: Room = Room(),
    *,
    by_rows: bool = False,
) -> Chosen:
    """Choose the steps for operators that have these ``options``, within ``room`` where that can
    be.

    ``kept`` are the bytes that are alive before each operator, and after the last, for ``join``.
    ``by_rows``: the first operator takes the input's rows from the caller. Of options whose cycles
    are not all known, the first is taken.
    """
    known = [
        tuple(found if all(not math.isnan(one.cycles) for one in found) else found[:1])
        for found in options
    ]
    return _Problem(known, costs, live, join, kept, room, by_rows).best(optimize)


@dataclass(frozen=True)
class _Problem:
    options: Sequence[tuple[Option, ...]]
    costs: Costs
    live: Live
    join: Join
    kept: Sequence[int]
    room: Room
    by_rows: bool = False

    def best(self, optimize: Optimize) -> Chosen:
        smallest = self._steps(self._fastest_within(Room(0, self.room.ram))[0])
        if optimize == Optimize.SIZE:
            return self._chosen(self._narrow(smallest, self.flash))
        speed = self._narrow(self._steps(self._fastest_within(self.room)[0]), self.cycles)
        if optimize == Optimize.SPEED:
            return self._chosen(speed)
        size = self.flash(smallest)
        flash = min(self.room.flash, max(FLASH_OF_BALANCED * size, size + SMALL_FLASH))
        within = Room(flash, min(self.room.ram, self._arena(speed)))
        fast, *smaller = self._arenas(within)
        most = CYCLES_OF_BALANCED * self.cycles(fast)
        quick = [steps for steps in smaller if self.cycles(steps) <= most]
        balanced = min((fast, *quick), key=self._product)
        if optimize == Optimize.BALANCED:
            return self._chosen(balanced)
        most = CYCLES_OF_RAM * self.cycles(balanced)
        found = [*smaller, *self._arenas(self.room)]
        if self.by_rows:
            small = replace(within, ram=min(map(self._arena, found)))
            found += self._in_bands(self._steps(self._fastest_within(small)[0]))
        quick = [steps for steps in found if self.cycles(steps) <= most]
        return self._chosen(*sorted(quick, key=self._arena)[:_NEAR], balanced, tried=found)

    def _chosen(self, *steps: Steps, tried: Iterable[Steps] = ()) -> Chosen:
        return Chosen(steps, min(map(self._arena, (*steps, *tried))))

    def _arenas(self, room: Room) -> list[Steps]:
        """Return the fastest steps in ``room``, then those in smaller and smaller arenas."""
        choice, banned = self._fastest_within(room)
        fast = self._steps(choice)
        found = [self._narrow(fast, self.cycles)]
        shares = iter(SHARES)
        share = next(shares)
        while True:
            arena = share * self._arena(found[-1])
            steps = self._within(replace(room, ram=arena), banned, fast)
            if steps is not None:
                found.append(steps)
            elif (share := next(shares, 0.0)) == 0.0:
                kept = [steps for steps in found if self.flash(steps) <= room.flash]
                return kept or found[:1]

    def _narrow(self, steps: Steps, cost: Callable[[Steps], float]) -> Steps:
        """Return the steps for an input that comes by rows, which a user asks for to save RAM: the
        first ones in bands where that makes the arena smaller and costs little."""
        if not self.by_rows:
            return steps
        found = [steps, *self._in_bands(steps)]
        cheap = [one for one in found if cost(one) <= COST_OF_ROWS * cost(steps)]
        most = NEAR_SMALLEST * min(map(self._arena, cheap))
        return min((one for one in cheap if self._arena(one) <= most), key=cost)

    def _in_bands(self, steps: Steps) -> Iterator[Steps]:
        """Yield steps of which the first ones run in bands, in no larger arena."""
        for end in range(2, min(LONGEST, len(steps)) + 1):
            ways = self._joined(steps, 0, end, self._arena(steps))
            yield from ((way, *steps[end:]) for way in ways)

    def _within(self, room: Room, banned: frozenset[str], fast: Steps) -> Steps | None:
        """Return the fastest steps in an arena: in bands where no option fits it, or none that is
        as ``fast``; None where there are none."""
        fitting = [self._fitting(step, banned, room.ram) for step in fast]
        large = [at for at, steps in enumerate(fitting) if not steps]
        slow = [
            at
            for at, steps in enumerate(fitting)
            if _time(fast[at]) < min(map(_time, steps), default=0)
        ]
        ways: list[list[tuple[int, Step]]] = []
        for end, steps in enumerate(fitting, 1):
            ways.append([(end - 1, step) for step in steps])
            for first in {*self._starts(end, large), *self._starts(end, slow, _FEW)}:
                ways[-1] += [(first, way) for way in self._joined(fast, first, end, room.ram)]
        found = _fastest_for_constants(ways)
        within = next((steps for steps in found if self.flash(steps) <= room.flash), None)
        return within or (self._within(room, frozenset(), fast) if banned else None)

    def _fitting(self, step: Step, banned: frozenset[str], arena: float) -> list[Step]:
        """Return the ways to run the operator of a step without kernels that are ``banned`` and
        within an arena."""
        fit = self._within_arena(step.position, arena)
        kept = [at for at in fit if step.options[at].kernel not in banned] or fit
        return [replace(step, taken=at) for at in kept]

    def _within_arena(self, step: int, arena: float) -> list[int]:
        """Return the options of an operator by itself that fit an arena."""
        return [at for at, size in enumerate(self._alone[step]) if size <= arena]

    @cached_property
    def _alone(self) -> Sequence[Sequence[int]]:
        """The bytes that are alive in each step with each of its options."""
        return [
            [self._alive(step, one.call) for one in options]
            for step, options in enumerate(self.options)
        ]

    def _starts(self, end: int, tight: Sequence[int], longest: int = LONGEST) -> Iterator[int]:
        """Yield where steps up to before ``end`` begin that may be joined: with those that are
        ``tight`` in between, before them where less is alive than after the first step, and behind
        them where less is alive than before the last, as otherwise it would be as good without."""
        if not self.kept:
            return
        for first in range(max(0, end - longest), end - 1):
            after, before = bisect.bisect_left(tight, first), bisect.bisect_left(tight, end)
            if after == before:
                continue
            begins = first == tight[after] or self.kept[first] < self.kept[first + 1]
            ends = end == tight[before - 1] + 1 or self.kept[end] < self.kept[end - 1]
            if begins and ends:
                yield first

    def _joined(self, steps: Steps, first: int, end: int, arena: float) -> Iterator[Step]:
        """Yield the steps that run those from ``first`` to before ``end`` in bands, within an
        arena."""
        joined = self.join(steps[first:end], lambda call: self._alive(first, call) <= arena)
        if joined is not None:
            ways = (replace(joined, taken=at) for at in range(len(joined.options)))
            yield from (way for way in ways if self._bytes(way) <= arena)

    def _bytes(self, step: Step) -> int:
        return self._alive(step.position, step.option.call)

    def _alive(self, position: int, call: KernelCall) -> int:
        """Return the bytes that are alive while a call runs operators from ``position`` on."""
        key = position, call.operators, call.scratch_bytes, call.overlap, call.in_place
        if key not in self._sizes:
            self._sizes[key] = self._during(position, call)
        return self._sizes[key]

    @cached_property
    def _sizes(self) -> dict[Hashable, int]:
        return {}

    @cached_property
    def _during(self) -> Callable[[int, KernelCall], int]:
        """What is alive while a call runs, with the least scratch memory for all others."""
        return self.live([min(found, key=_scratch).call for found in self.options])

    def _arena(self, steps: Steps) -> int:
        return max(map(self._bytes, steps), default=0)

    def _steps(self, choice: Choice) -> Steps:
        return tuple(
            Step(position, options, at)
            for position, (options, at) in enumerate(zip(self.options, choice, strict=True))
        )

    def _product(self, steps: Steps) -> float:
        return self.cycles(steps) * self._arena(steps) ** RAM_WEIGHT

    def cycles(self, steps: Steps) -> float:
        return sum(map(_time, steps))

    def flash(self, steps: Steps) -> float:
        """Return the bytes of constants and code, and of calls and parameters."""
        taken = [step.option for step in steps]
        code = self.costs.code_bytes({kernel for one in taken for kernel in one.kernels})
        calls = sum(len(one.call.kernels) for one in taken)
        return code + sum(one.constant_bytes for one in taken) + STEP_BYTES * calls

    def _fastest_within(self, room: Room) -> tuple[Choice, frozenset[str]]:
        """Return the fastest choice within ``room``, or that with the least flash where there is
        none, among those of the kernels that may be linked, and the kernels that it does without:
        from all of them on, one or two are taken away or back as long as that is better."""

        def rank(choice: Choice) -> tuple[float, float]:
            steps = self._steps(choice)
            flash = self.flash(steps)
            return max(0.0, flash - room.flash), self.cycles(steps) * (1 + WORTH * flash)

        optional = sorted(
            {o.kernel for options in self.options for o in options if len(options) > 1}
        )
        changes = [frozenset(pair) for pair in itertools.combinations_with_replacement(optional, 2)]
        banned: frozenset[str] = frozenset()
        best = self._of_kernels(banned, room)
        while True:
            tried = [
                (self._of_kernels(banned ^ changed, room), banned ^ changed) for changed in changes
            ]
            found = min(tried, key=lambda pair: rank(pair[0]), default=None)
            if found is None or rank(found[0]) >= rank(best):
                return best, banned
            best, banned = found

    def _allowed(self, step: int, banned: frozenset[str], arena: float) -> list[int]:
        """Return the options of a step without kernels that are ``banned`` and within ``arena``,
        where there are such; bands may do what no option does."""
        options = self.options[step]
        within = self._within_arena(step, arena)
        within = within or list(range(len(options)))
        return [at for at in within if options[at].kernel not in banned] or within

    def _of_kernels(self, banned: frozenset[str], room: Room) -> Choice:
        """Return a choice without the kernels that are ``banned``, where there are others: with the
        smallest constants, and from there on with the fastest for their bytes up to the room."""
        allowed = [self._allowed(step, banned, room.ram) for step in range(len(self.options))]
        choice = [
            min(ats, key=lambda at: (options[at].constant_bytes, options[at].time))
            for options, ats in zip(self.options, allowed, strict=True)
        ]
        linked = {
            options[at].kernel
            for options, ats in zip(self.options, allowed, strict=True)
            for at in ats
        }
        taken = (options[at] for options, at in zip(self.options, choice, strict=True))
        fixed = sum(o.constant_bytes + STEP_BYTES for o in taken)
        left = room.flash - fixed - self.costs.code_bytes(linked)
        upgrades = [
            (saved / max(1, options[at].constant_bytes - options[first].constant_bytes), step, at)
            for step, (options, ats, first) in enumerate(
                zip(self.options, allowed, choice, strict=True)
            )
            for at in ats
            if (saved := options[first].time - options[at].time) > 0
        ]
        for _, step, at in sorted(upgrades, reverse=True):
            before, after = self.options[step][choice[step]], self.options[step][at]
            more = after.constant_bytes - before.constant_bytes
            if after.time < before.time and more <= left:
                choice[step] = at
                left -= more
        return tuple(choice)


def _fastest_for_constants(ways: Sequence[Sequence[tuple[int, Step]]]) -> list[Steps]:
    """Return steps, the fastest first, each of the next ones with fewer bytes of constants.

    ``ways`` has for each operator where a step may begin that ends with it, and the step.
    """
    best: list[list[_Label]] = [[_Label(0.0, 0)]]
    for steps in ways:
        every = [
            _Label(before.time + time, before.size + size, step, before)
            for first, step in steps
            for time, size in [(_time(step), step.option.constant_bytes)]
            for before in best[first]
        ]
        kept: list[_Label] = []
        for one in sorted(every, key=lambda label: (label.time, label.size)):
            if not kept or one.size < kept[-1].size:
                kept.append(one)
        best.append(
            kept if len(kept) <= _MOST else [kept[n * len(kept) // _MOST] for n in range(_MOST)]
        )
    return [label.steps() for label in best[-1]]


class _Label(NamedTuple):
    """A way to run the first operators: its cycles, the bytes of its constants, its last step, and
    what runs before that."""

    time: float
    size: int
    step: Step | None = None
    before: _Label | None = None

    def steps(self) -> Steps:
        found = []
        label: _Label | None = self
        while label is not None and label.step is not None:
            found.append(label.step)
            label = label.before
        return tuple(reversed(found))


def _scratch(option: Option) -> int:
    return option.call.scratch_bytes


def _time(step: Step) -> float:
    return 0.0 if math.isnan(step.option.cycles) else step.option.time
