"""How much must go of a network so that it keeps a budget, by cost alone: nothing is trained."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebuild.errors import EdgebuildError, ModelError
from edgebuild.search.attempts import Attempts
from edgebuild.search.crew import CrewError
from edgebuild.search.problem import Outcome, Task
from edgebuild.search.ranking import closest, over
from edgebuild.search.space import ALL, MOST, Need, Space, Structure

_LIMITS = {"ram": "ram", "bytes": "flash", "cycles": "latency"}
"""Which limit is kept when enough of a measure goes, in the order in which it goes."""
_TOLERANCE = 0.01
_SHARE = 1 / 4
"""Of the time that trials have, for structures besides the one that they begin with; each is
expected to take as long as those before."""


class Costing:
    """Costs of candidates that are not trained; ``costed`` are all of them."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts
        self.costed: list[Outcome] = []

    def smallest(self, space: Space, scaled: Space) -> tuple[Outcome, Structure]:
        """Return the smallest network that fits, or comes closest, and the structure it is of.

        Those that cannot be costed are left out; ModelError when none can.
        """
        attempts = self._attempts
        whole, *factors = space.reductions()
        recipes = [(space.smallest(whole), whole)]
        others = [(space.smallest(structure), structure) for structure in factors]
        if attempts.scaled is not None:
            others.append((scaled.smallest(Structure()), Structure()))
        found: list[tuple[Outcome, Structure]] = []
        for more in (recipes, others):
            tasks = [Task(recipe) for recipe, _ in more]
            outcomes = attempts.run_each(tasks, skip_failing=True)
            found += [
                (attempts.expected(o), s) for o, (_, s) in zip(outcomes, more, strict=True) if o
            ]
            if any(outcome.fits(attempts.budget) for outcome, _ in found):
                break
        if not found:
            raise ModelError(f"no small network can be costed: {attempts.failed[-1]}")
        self.costed += [outcome for outcome, _ in found]
        best = closest((outcome for outcome, _ in found), attempts.budget)
        return next(pair for pair in found if pair[0] is best)

    def aimed(self, space: Space, reduction: Structure) -> Space:
        """Return the space around what must go of each structure.

        The first is the original's, or ``reduction`` where all channels that may go of the original
        are too few. Of the others those are left out of which too few may go, that cannot be
        costed, or for which there is no time.
        """
        attempts, start = self._attempts, Structure()
        took, need = self._timed(space, start, needed=True)
        if ALL in need.values() and reduction != start:
            start = reduction
            took, need = self._timed(space, start, needed=True)
        needs, end = {start: need}, attempts.after_share(_SHARE)
        for structure in (Structure(), *space.structures()):
            if structure == start or time.monotonic() + took > end:
                continue
            try:
                took_now, need = self._timed(space, structure)
            except CrewError:
                raise
            except EdgebuildError as error:
                attempts.failed.append(error.message)
                continue
            took = max(took, took_now)
            if ALL not in need.values():
                needs[structure] = need
        return space.aiming(needs)

    def _timed(
        self, space: Space, structure: Structure, *, needed: bool = False
    ) -> tuple[float, Need]:
        """Return how long it takes to cost a structure, also when the study has the answers, and
        how much must go of it."""
        begun, before = time.monotonic(), len(self.costed)
        need = self._need(space, structure, needed=needed)
        work = sum(outcome.seconds for outcome in self.costed[before:])
        return max(time.monotonic() - begun, work / self._attempts.crew.size), need

    def _need(self, space: Space, structure: Structure, *, needed: bool = False) -> Need:
        """Return how much must go of each measure of a structure."""
        need: dict[str, float] = {}
        for measure, limit in _LIMITS.items():
            line = _Line(self, space, structure, dict(need), measure, limit, needed)
            need[measure] = line.least()
        return need

    def over(self, line: _Line, ratios: Sequence[float]) -> list[float]:
        """Return by how much a limit is missed when so much of a measure goes."""
        attempts, budget = self._attempts, self._attempts.budget
        attempts.progress(f"finding what fits: {line.limit} with less {line.measure}")
        shares = [{**line.gone, line.measure: ratio} for ratio in ratios]
        tasks = [Task(line.space.pruned(line.structure, share)) for share in shares]
        outcomes = [attempts.expected(o) for o in attempts.run(tasks, needed=line.needed)]
        self.costed += outcomes
        return [over(outcome, budget, line.limit) for outcome in outcomes]

    @property
    def at_once(self) -> int:
        """How many guesses are costed at once: as many as there are workers."""
        return max(1, min(self._attempts.crew.size, 3))


@dataclass(frozen=True)
class _Line:
    """One measure of a structure, of which some is to go, against one limit; of other measures
    ``gone`` goes already."""

    costing: Costing
    space: Space
    structure: Structure
    gone: Mapping[str, float]
    measure: str
    limit: str
    needed: bool

    def least(self) -> float:
        """Return the least share whose removal keeps the limit, to 1 %, above ``MOST`` to 0.1 %;
        ``ALL`` when none is found that does."""
        if self._over([0.0])[0] <= 0.0:
            return 0.0
        found = self._bisected(0.0, MOST, _TOLERANCE)
        if found == MOST and self._over([MOST])[0] > 0.0:
            return self._bisected(MOST, ALL, _TOLERANCE / 10)
        return found

    def _bisected(self, low: float, high: float, tolerance: float) -> float:
        """Return the least share above ``low``, which misses the limit; ``high`` is not tried."""
        count = self.costing.at_once
        while high - low > tolerance:
            step = (high - low) / (count + 1)
            guesses = [round(low + step * (i + 1), 4) for i in range(count)]
            misses = [missed > 0.0 for missed in self._over(guesses)]
            high = min([high, *(g for g, miss in zip(guesses, misses, strict=True) if not miss)])
            below = [g for g, miss in zip(guesses, misses, strict=True) if miss and g < high]
            low = max([low, *below])
        return high

    def _over(self, ratios: Sequence[float]) -> list[float]:
        return self.costing.over(self, ratios)
