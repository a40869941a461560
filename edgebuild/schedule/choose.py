"""Choose a kernel for each operator, so that cycles, flash and RAM are what the user prefers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement

from edgebuild.ops.base import KernelCall
from edgebuild.profile import Optimize
from edgebuild.schedule.costs import Costs, Option, Step

FLASH_OF_BALANCED, SMALL_FLASH = 1.4, 8 << 10
"""``balanced`` takes so many times the flash of ``size`` at most, or so many bytes more."""

RAM_WEIGHT = 0.7
"""``balanced`` makes cycles times RAM to this power small: a tenth of the cycles is worth a seventh
of the RAM."""

CYCLES_OF_RAM = 1.4
"""``ram`` takes so many times the cycles of ``balanced`` at most."""

WORTH = 2e-7
"""A byte of flash must save this share of the cycles: 5 KB a thousandth."""

ARENAS = tuple(0.8**n for n in range(11))
"""The shares of the fastest kernels' arena that ``balanced`` begins with, to make less of it."""

STEP_BYTES = 120
"""About what the call and the parameters of a step take, whichever its kernel."""


Choice = tuple[int, ...]
"""The position of the option that each step takes."""

Steps = tuple[Step, ...]

Live = Callable[[Sequence[KernelCall]], Sequence[int]]
"""Returns the bytes that are alive in each step of a graph that runs as these calls; the most of
them is nearly always the arena."""

Fits = Callable[[KernelCall], bool]
"""Returns whether a call instead of some steps makes the arena smaller."""

Join = Callable[[Sequence[Step], Fits], "Step | None"]
"""Returns the step that runs the operators of some in bands of rows, of those that fit; None where
none does."""

LONGEST = 3
"""Steps that are joined at most."""


@dataclass(frozen=True)
class Room:
    """Bytes that there are: ``flash`` for constants and code, ``ram`` for the arena."""

    flash: float = math.inf
    ram: float = math.inf


def choose(
    options: Sequence[Sequence[Option]],
    costs: Costs,
    optimize: Optimize,
    live: Live,
    join: Join = lambda _, __: None,
    room: Room = Room(),
) -> Steps:
    """Return the steps for operators that have these ``options``, within ``room`` where that can
    be. Of options whose cycles are not all known, the first is taken."""
    known = [
        tuple(found if all(not math.isnan(one.cycles) for one in found) else found[:1])
        for found in options
    ]
    return _Problem(known, costs, live, join, room).best(optimize)


@dataclass(frozen=True)
class _Problem:
    options: Sequence[tuple[Option, ...]]
    costs: Costs
    live: Live
    join: Join
    room: Room

    def best(self, optimize: Optimize) -> Steps:
        smallest = self._steps(self._fastest_within(Room(0, self.room.ram)))
        if optimize == Optimize.SIZE:
            return smallest
        if optimize == Optimize.SPEED:
            return self._steps(self._fastest_within(self.room))
        size = self.flash(smallest)
        flash = min(self.room.flash, max(FLASH_OF_BALANCED * size, size + SMALL_FLASH))
        balanced = self._balanced(replace(self.room, flash=flash))
        if optimize == Optimize.BALANCED:
            return balanced
        most = CYCLES_OF_RAM * self.cycles(balanced)
        return self._smaller_arena(
            balanced, lambda _, two: self.cycles(two) <= most and self.flash(two) <= self.room.flash
        )

    def _balanced(self, room: Room) -> Steps:
        """Return the best of what comes of the fastest steps in smaller and smaller arenas, each
        made smaller as long as that pays."""
        fast = self._steps(self._fastest_within(room))
        arena = max(self._live(fast), default=0)
        choices = {self._fastest_within(replace(room, ram=share * arena)) for share in ARENAS}
        found = [
            self._smaller_arena(
                self._steps(choice), lambda one, two: self._pays(one, two, room.flash)
            )
            for choice in sorted(choices)
        ]
        kept = [steps for steps in found if self.flash(steps) <= room.flash]
        return min(kept or found, key=self._product)

    def _steps(self, choice: Choice) -> Steps:
        return tuple(
            Step(position, options, at)
            for position, (options, at) in enumerate(zip(self.options, choice, strict=True))
        )

    def _pays(self, one: Steps, two: Steps, limit: float) -> bool:
        """Return whether ``two`` are better than ``one`` in cycles and RAM, and take no more flash
        than ``limit`` and than they save of the RAM."""
        flash, saved = self.flash(two), max(self._live(one)) - max(self._live(two))
        cheap = flash <= limit and flash - self.flash(one) <= saved
        return cheap and self._product(two) < self._product(one)

    def _product(self, steps: Steps) -> float:
        return self.cycles(steps) * max(self._live(steps), default=0) ** RAM_WEIGHT

    def cycles(self, steps: Steps) -> float:
        return sum(s.option.time for s in steps if not math.isnan(s.option.cycles))

    def flash(self, steps: Steps) -> float:
        """Return the bytes of constants and code, and of calls and parameters."""
        taken = [step.option for step in steps]
        code = self.costs.code_bytes({kernel for one in taken for kernel in one.kernels})
        calls = sum(len(one.call.kernels) for one in taken)
        return code + sum(one.constant_bytes for one in taken) + STEP_BYTES * calls

    def _fastest_within(self, room: Room) -> Choice:
        """Return the fastest choice within ``room``, or that with the least flash where there is
        none, among those of the kernels that may be linked: from all of them on, one or two are
        taken away or back as long as that is better."""

        def rank(choice: Choice) -> tuple[float, float]:
            steps = self._steps(choice)
            flash = self.flash(steps)
            return max(0.0, flash - room.flash), self.cycles(steps) * (1 + WORTH * flash)

        optional = sorted(
            {o.kernel for options in self.options for o in options if len(options) > 1}
        )
        changes = [frozenset(pair) for pair in combinations_with_replacement(optional, 2)]
        banned: frozenset[str] = frozenset()
        best = self._of_kernels(banned, room)
        while True:
            tried = [
                (self._of_kernels(banned ^ changed, room), banned ^ changed) for changed in changes
            ]
            found = min(tried, key=lambda pair: rank(pair[0]), default=None)
            if found is None or rank(found[0]) >= rank(best):
                return best
            best, banned = found

    @cached_property
    def _beside(self) -> Sequence[int]:
        """The bytes that are alive in each step beside its scratch memory."""
        calls = [min(found, key=_scratch).call for found in self.options]
        live = self.live(calls)
        return [size - call.scratch_bytes for size, call in zip(live, calls, strict=True)]

    def _allowed(self, step: int, banned: frozenset[str], arena: float) -> list[int]:
        """Return the options of a step without kernels that are ``banned`` and within ``arena``,
        where there are such; bands may do what no option does."""
        options, room = self.options[step], arena - self._beside[step]
        within = [at for at, one in enumerate(options) if _scratch(one) <= room]
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

    def _live(self, steps: Steps) -> Sequence[int]:
        return self.live([step.option.call for step in steps])

    def _smaller_arena(self, steps: Steps, accepts: Callable[[Steps, Steps], bool]) -> Steps:
        """Return steps whose arena is as small as kernels with less scratch, and bands of rows,
        make it, change by change, while one ``accepts`` the change from steps to the next."""
        while True:
            live = self._live(steps)
            others = [
                other
                for other in self._changed(steps, live)
                if max(self._live(other)) < max(live) and accepts(steps, other)
            ]
            if not others:
                return steps
            steps = min(others, key=self._product)

    def _changed(self, steps: Steps, live: Sequence[int]) -> Iterator[Steps]:
        """Yield changes where the most bytes are alive: a step with less scratch, then all such
        steps in bands with their neighbours, that with the least of cycles times RAM first."""
        most = max(live)
        peak = [at for at, size in enumerate(live) if size == most]
        for at in peak:
            options, scratch = steps[at].options, steps[at].option.call.scratch_bytes
            less = [n for n, one in enumerate(options) if one.call.scratch_bytes < scratch]
            for n in sorted(less, key=lambda n: options[n].time):
                yield (*steps[:at], replace(steps[at], taken=n), *steps[at + 1 :])
        joined: list[Steps] = []
        for length in range(2, LONGEST + 1):
            starts = range(max(0, peak[-1] - length + 1), min(peak[0], len(steps) - length) + 1)
            joined += [
                other for first in starts for other in self._joined(steps, first, length, most)
            ]
        yield from sorted(joined, key=self._product)

    def _joined(self, steps: Steps, first: int, length: int, most: int) -> Iterator[Steps]:
        """Yield the steps with ``length`` of them as one, of which less than ``most`` bytes may be
        alive."""
        before, after = steps[:first], steps[first + length :]
        calls = [[step.option.call for step in side] for side in (before, after)]

        def fits(call: KernelCall) -> bool:
            return max(self.live([*calls[0], call, *calls[1]])) < most

        joined = self.join(steps[first : first + length], fits)
        if joined is not None:
            for taken in range(len(joined.options)):
                yield (*before, replace(joined, taken=taken), *after)


def _scratch(option: Option) -> int:
    return option.call.scratch_bytes
