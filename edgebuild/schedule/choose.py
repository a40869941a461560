"""Choose a kernel for each operator, so that cycles, flash and RAM are what the user prefers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from edgebuild.ops.base import KernelCall
from edgebuild.profile import Optimize
from edgebuild.schedule.costs import Costs, Option, Step

FLASH_OF_BALANCED, SMALL_FLASH = 1.4, 8 << 10
"""``balanced`` takes so many times the flash of ``size`` at most, or so many bytes more."""

CYCLES_OF_BALANCED = 1.1
"""Bands of rows take so many times the cycles of a balanced schedule without them at most."""

CYCLES_OF_RAM = 1.4
"""``ram`` takes so many times the cycles of ``balanced`` at most."""

WORTH = 2e-7
"""A byte of flash must save this share of the cycles: 5 KB a thousandth."""

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

LONGEST = 16
"""Operators that run in one step at most."""


def choose(
    options: Sequence[Sequence[Option]],
    costs: Costs,
    optimize: Optimize,
    live: Live,
    join: Join = lambda _, __: None,
    kept: Sequence[int] = (),
    room: float = math.inf,
) -> tuple[Steps, ...]:
    """Return the steps for operators that have these ``options``, within ``room`` bytes of flash
    where that can be; for ``ram`` also those to ``balanced``, as what is alive is not all: where it
    lies decides.

    ``kept`` are the bytes that are alive before each operator, and after the last, for ``join``. Of
    options whose cycles are not all known, the first is taken.
    """
    known = [
        tuple(found if all(not math.isnan(one.cycles) for one in found) else found[:1])
        for found in options
    ]
    return _Problem(known, costs, live, join, kept, room).best(optimize)


@dataclass(frozen=True)
class _Problem:
    options: Sequence[tuple[Option, ...]]
    costs: Costs
    live: Live
    join: Join
    kept: Sequence[int]
    room: float

    def best(self, optimize: Optimize) -> tuple[Steps, ...]:
        smallest = self._steps(self._fastest_within(0.0))
        if optimize == Optimize.SIZE:
            return (smallest,)
        if optimize == Optimize.SPEED:
            return (self._steps(self._fastest_within(self.room)),)
        size = self.flash(smallest)
        limit = min(self.room, max(FLASH_OF_BALANCED * size, size + SMALL_FLASH))
        fast = self._steps(self._fastest_within(limit))

        def pays(one: Steps, two: Steps) -> bool:
            return self._pays(one, two, limit)

        apart = self._smaller_arena(fast, self._less_scratch, pays)
        slow = CYCLES_OF_BALANCED * self.cycles(apart)
        balanced = self._smaller_arena(
            apart, self._changed, lambda one, two: self.cycles(two) <= slow and pays(one, two)
        )
        if optimize == Optimize.BALANCED:
            return (balanced,)
        most = CYCLES_OF_RAM * self.cycles(balanced)
        least = self._smaller_arena(
            balanced,
            self._changed,
            lambda _, two: self.cycles(two) <= most and self.flash(two) <= self.room,
        )
        return least, balanced

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
        """Return what is to be small: a tenth of the cycles is worth a fifth of the RAM."""
        return self.cycles(steps) * max(self._live(steps)) ** 0.75

    def cycles(self, steps: Steps) -> float:
        return sum(s.option.cycles for s in steps if not math.isnan(s.option.cycles))

    def flash(self, steps: Steps) -> float:
        """Return the bytes of constants and code, and of calls and parameters."""
        taken = [step.option for step in steps]
        code = self.costs.code_bytes({kernel for one in taken for kernel in one.kernels})
        calls = sum(len(one.call.kernels) for one in taken)
        return code + sum(one.constant_bytes for one in taken) + STEP_BYTES * calls

    def _fastest_within(self, limit: float) -> Choice:
        """Return the fastest choice that takes ``limit`` bytes of flash, or the smallest where none
        does, among those of the kernels that may be linked: from all of them on, one or two are
        taken away or back as long as that is better."""

        def rank(choice: Choice) -> tuple[float, float]:
            steps = self._steps(choice)
            flash = self.flash(steps)
            return max(0.0, flash - limit), self.cycles(steps) * (1 + WORTH * flash)

        optional = sorted(
            {o.kernel for options in self.options for o in options if len(options) > 1}
        )
        changes = [frozenset(pair) for pair in itertools.combinations_with_replacement(optional, 2)]
        banned: frozenset[str] = frozenset()
        best = self._of_kernels(banned, limit)
        while True:
            tried = [
                (self._of_kernels(banned ^ changed, limit), banned ^ changed) for changed in changes
            ]
            found = min(tried, key=lambda pair: rank(pair[0]), default=None)
            if found is None or rank(found[0]) >= rank(best):
                return best
            best, banned = found

    def _of_kernels(self, banned: frozenset[str], limit: float) -> Choice:
        """Return a choice without the kernels that are ``banned``, where there are others: with the
        smallest constants, and from there on with the fastest for their bytes up to ``limit``."""
        allowed = [
            [at for at, o in enumerate(options) if o.kernel not in banned] or [0]
            for options in self.options
        ]
        choice = [
            min(ats, key=lambda at: (options[at].constant_bytes, options[at].cycles))
            for options, ats in zip(self.options, allowed, strict=True)
        ]
        linked = {
            options[at].kernel
            for options, ats in zip(self.options, allowed, strict=True)
            for at in ats
        }
        taken = (options[at] for options, at in zip(self.options, choice, strict=True))
        fixed = sum(o.constant_bytes + STEP_BYTES for o in taken)
        room = limit - fixed - self.costs.code_bytes(linked)
        upgrades = [
            (saved / max(1, options[at].constant_bytes - options[first].constant_bytes), step, at)
            for step, (options, ats, first) in enumerate(
                zip(self.options, allowed, choice, strict=True)
            )
            for at in ats
            if (saved := options[first].cycles - options[at].cycles) > 0
        ]
        for _, step, at in sorted(upgrades, reverse=True):
            before, after = self.options[step][choice[step]], self.options[step][at]
            more = after.constant_bytes - before.constant_bytes
            if after.cycles < before.cycles and more <= room:
                choice[step] = at
                room -= more
        return tuple(choice)

    def _live(self, steps: Steps) -> Sequence[int]:
        return self.live([step.option.call for step in steps])

    def _smaller_arena(
        self,
        steps: Steps,
        changes: Callable[[Steps, Sequence[int]], Iterator[Steps]],
        accepts: Callable[[Steps, Steps], bool],
    ) -> Steps:
        """Return steps whose arena is as small as ``changes`` of steps with so many bytes alive
        make it, one after the other, while one ``accepts`` the change from steps to the next."""
        live = self._live(steps)
        others = changes(steps, live)
        while (other := next(others, None)) is not None:
            smaller = self._live(other)
            if max(smaller) < max(live) and accepts(steps, other):
                steps, live = other, smaller
                others = changes(steps, live)
        return steps

    def _less_scratch(self, steps: Steps, live: Sequence[int]) -> Iterator[Steps]:
        """Yield changes where the most bytes are alive: a step with less scratch memory, the
        fastest first."""
        for at in _peak(live):
            options, scratch = steps[at].options, steps[at].option.call.scratch_bytes
            less = [n for n, one in enumerate(options) if one.call.scratch_bytes < scratch]
            for n in sorted(less, key=lambda n: options[n].cycles):
                yield (*steps[:at], replace(steps[at], taken=n), *steps[at + 1 :])

    def _changed(self, steps: Steps, live: Sequence[int]) -> Iterator[Steps]:
        """Yield the same changes, then all such steps in bands with their neighbours, that with the
        least of cycles times RAM first."""
        yield from self._less_scratch(steps, live)
        most, peak = max(live), _peak(live)
        joined: list[Steps] = []
        for first, end in self._ranges(steps, peak):
            joined += self._joined(steps, first, end, most)
        yield from sorted(joined, key=self._product)

    def _ranges(self, steps: Steps, peak: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the steps, from the first to behind the last, that may be joined around the peak:
        those before it begin where less is alive than after their first, and those behind it end
        where less is alive than before their last, as otherwise it would be as good without."""
        if not self.kept:
            return
        counts = (step.option.call.operators for step in steps)
        at = list(itertools.accumulate(counts, initial=0))
        kept = [self.kept[position] for position in at]
        for first in range(peak[0] + 1):
            for end in range(peak[-1] + 1, len(steps) + 1):
                begins = first == peak[0] or kept[first] < kept[first + 1]
                ends = end == peak[-1] + 1 or kept[end] < kept[end - 1]
                if begins and ends and 2 <= at[end] - at[first] <= LONGEST:
                    yield first, end

    def _joined(self, steps: Steps, first: int, end: int, most: int) -> Iterator[Steps]:
        """Yield the steps with those from ``first`` to before ``end`` as one, so that less than
        ``most`` bytes are alive."""
        before, after = steps[:first], steps[end:]
        calls = [[step.option.call for step in side] for side in (before, after)]

        def fits(call: KernelCall) -> bool:
            return max(self.live([*calls[0], call, *calls[1]])) < most

        joined = self.join(steps[first:end], fits)
        if joined is not None:
            for taken in range(len(joined.options)):
                yield (*before, replace(joined, taken=taken), *after)


def _peak(live: Sequence[int]) -> list[int]:
    """Return the steps in which the most bytes are alive."""
    return [at for at, size in enumerate(live) if size == max(live)]
