"""Choose a kernel for each operator, so that cycles, flash and RAM are what the user prefers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from edgebuild.ops.base import KernelCall
from edgebuild.profile import Optimize
from edgebuild.schedule.costs import Costs, Option

FLASH_OF_BALANCED, SMALL_FLASH = 1.4, 8 << 10
"""``balanced`` takes so many times the flash of ``size`` at most, or so many bytes more."""

CYCLES_OF_RAM = 1.4
"""``ram`` takes so many times the cycles of ``balanced`` at most."""

WORTH = 2e-7
"""A byte of flash must save this share of the cycles: 5 KB a thousandth."""

STEP_BYTES = 120
"""About what the call and the parameters of a step take, whichever its kernel."""


Choice = tuple[int, ...]
"""The position of the option that each step takes."""

Live = Callable[[Sequence[KernelCall]], Sequence[int]]
"""Returns the bytes that are alive in each step of a graph that runs as these calls; the most of
them is nearly always the arena."""


def choose(
    steps: Sequence[Sequence[Option]], costs: Costs, optimize: Optimize, live: Live
) -> Choice:
    """Return which of its options each step takes, for those whose cycles are all known; the first
    for the others."""
    known = [
        options if all(not math.isnan(option.cycles) for option in options) else options[:1]
        for options in steps
    ]
    problem = _Problem(known, costs, live)
    if all(len(options) == 1 for options in known):
        return problem.usual
    return problem.best(optimize)


@dataclass(frozen=True)
class _Problem:
    steps: Sequence[Sequence[Option]]
    costs: Costs
    live: Live

    @property
    def usual(self) -> Choice:
        return (0,) * len(self.steps)

    def best(self, optimize: Optimize) -> Choice:
        smallest = self._fastest_within(0.0)
        if optimize == Optimize.SIZE:
            return smallest
        if optimize == Optimize.SPEED:
            return self._fastest_within(math.inf)
        size = self.flash(smallest)
        limit = max(FLASH_OF_BALANCED * size, size + SMALL_FLASH)
        fast = self._fastest_within(limit)
        balanced = self._smaller_arena(
            fast,
            lambda one, two: self.flash(two) <= limit and self._product(two) < self._product(one),
        )
        if optimize == Optimize.BALANCED:
            return balanced
        most = CYCLES_OF_RAM * self.cycles(balanced)
        return self._smaller_arena(balanced, lambda _, two: self.cycles(two) <= most)

    def _product(self, choice: Choice) -> float:
        """Return cycles times RAM: a tenth of the one is worth a tenth of the other."""
        return self.cycles(choice) * max(self._live(choice))

    def taken(self, choice: Choice) -> list[Option]:
        return [options[at] for options, at in zip(self.steps, choice, strict=True)]

    def cycles(self, choice: Choice) -> float:
        return sum(o.cycles for o in self.taken(choice) if not math.isnan(o.cycles))

    def flash(self, choice: Choice) -> float:
        """Return the bytes of constants and code, and of calls and parameters."""
        taken = self.taken(choice)
        code = self.costs.code_bytes({option.kernel for option in taken})
        return code + sum(option.constant_bytes + STEP_BYTES for option in taken)

    def _fastest_within(self, limit: float) -> Choice:
        """Return the fastest choice that takes ``limit`` bytes of flash, or the smallest where none
        does, among those of the kernels that may be linked: from all of them on, one or two are
        taken away or back as long as that is better."""

        def rank(choice: Choice) -> tuple[float, float]:
            flash = self.flash(choice)
            return max(0.0, flash - limit), self.cycles(choice) * (1 + WORTH * flash)

        optional = sorted({o.kernel for options in self.steps for o in options if len(options) > 1})
        changes = [frozenset(pair) for pair in combinations_with_replacement(optional, 2)]
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
            for options in self.steps
        ]
        choice = [
            min(ats, key=lambda at: (options[at].constant_bytes, options[at].cycles))
            for options, ats in zip(self.steps, allowed, strict=True)
        ]
        linked = {
            options[at].kernel
            for options, ats in zip(self.steps, allowed, strict=True)
            for at in ats
        }
        fixed = sum(o.constant_bytes + STEP_BYTES for o in self.taken(tuple(choice)))
        room = limit - fixed - self.costs.code_bytes(linked)
        upgrades = [
            (saved / max(1, options[at].constant_bytes - options[first].constant_bytes), step, at)
            for step, (options, ats, first) in enumerate(
                zip(self.steps, allowed, choice, strict=True)
            )
            for at in ats
            if (saved := options[first].cycles - options[at].cycles) > 0
        ]
        for _, step, at in sorted(upgrades, reverse=True):
            before, after = self.steps[step][choice[step]], self.steps[step][at]
            more = after.constant_bytes - before.constant_bytes
            if after.cycles < before.cycles and more <= room:
                choice[step] = at
                room -= more
        return tuple(choice)

    def _live(self, choice: Choice) -> Sequence[int]:
        return self.live([option.call for option in self.taken(choice)])

    def _smaller_arena(self, choice: Choice, accepts: Callable[[Choice, Choice], bool]) -> Choice:
        """Return a choice whose arena is as small as kernels with less scratch make it, step by
        step, while one ``accepts`` the change from a choice to the next."""
        live = self._live(choice)
        others = self._less_scratch(choice, live)
        while (other := next(others, None)) is not None:
            smaller = self._live(other)
            if max(smaller) < max(live) and accepts(choice, other):
                choice, live = other, smaller
                others = self._less_scratch(choice, live)
        return choice

    def _less_scratch(self, choice: Choice, live: Sequence[int]) -> Iterator[Choice]:
        """Yield the choices with one step of less scratch, of those with the most bytes alive."""
        for i, (options, taken) in enumerate(zip(self.steps, self.taken(choice), strict=True)):
            if live[i] < max(live):
                continue
            scratch = taken.call.scratch_bytes
            less = [at for at, o in enumerate(options) if o.call.scratch_bytes < scratch]
            for at in sorted(less, key=lambda at: options[at].cycles):
                yield (*choice[:i], at, *choice[i + 1 :])
