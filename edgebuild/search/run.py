"""Search the smallest loss of accuracy that meets a budget, from cheap steps to dear ones.

1. Profile the original: quality, what can be varied, how much each layer matters.
2. Cost it on the target; if it fits already, nothing need be done.
3. Cost the smallest network of the space: if even that does not fit, nothing does.
4. Find by bisection how much must go of what, by cost alone.
5. Try choices around that, drawn by Optuna, each with a short training if its cost fits.
6. Go from the best shape to those next to it: a layer wider, another narrower.
7. Train the best ones long; try the best one's quantization in other ways.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edgebuild.budget import Budget
from edgebuild.compress.setup import TrainingSetup
from edgebuild.errors import EdgebuildError
from edgebuild.search.attempts import Attempts, Effort
from edgebuild.search.crew import Crew, LostError
from edgebuild.search.finalists import train_finalists
from edgebuild.search.neighbours import trials_for_moves, try_neighbours
from edgebuild.search.problem import Outcome, Problem, Task
from edgebuild.search.profiling import ModelProfile, profile
from edgebuild.search.ranking import best_of, missed, pareto
from edgebuild.search.space import MOST, Space
from edgebuild.search.study import Study

_TOLERANCE = 0.01
_MARGIN = 0.02


@dataclass(frozen=True)
class Found:
    """What a search found.

    ``points`` are all candidates that were costed and trained, ``best`` the one to build: the most
    accurate that keeps all limits. Without one, ``nearest`` is what came closest and ``reason``
    says why there is none; ``proved`` is True when not even the smallest network fits.
    """

    profile: ModelProfile
    budget: Budget
    baseline: Outcome
    points: tuple[Outcome, ...]
    best: Outcome | None
    nearest: Outcome | None = None
    reason: str = ""
    proved: bool = False
    failed: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[Outcome, ...]:
        """The points that no other point beats in everything, the most accurate first."""
        return pareto(self.points)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        return {
            "profile": dataclasses.asdict(self.profile),
            "budget": self.budget.to_json(),
            "baseline": self.baseline.to_json(),
            "front": [point.to_json() for point in self.front],
            "best": self.best.to_json() if self.best else None,
            "nearest": self.nearest.to_json() if self.nearest else None,
            "reason": self.reason,
            "proved": self.proved,
            "candidates": len(self.points),
            "failed": list(self.failed),
        }


class Search:
    """One run of a search, over a crew and a study."""

    def __init__(
        self,
        problem: Problem,
        crew: Crew,
        study: Study,
        budget: Budget,
        effort: Effort,
        progress: Callable[[str], None],
        *,
        architecture: bool = False,
    ) -> None:
        batch = TrainingSetup().batch(len(problem.train))
        effort = effort.for_samples(len(problem.train), batch)
        self._attempts = Attempts(crew, study, budget, effort, progress)
        self._study, self._budget, self._progress = study, budget, progress
        self._architecture = architecture

    def run(self) -> Found:
        """Search; answers that the study has are not asked for again."""
        attempts = self._attempts
        self._progress("profiling the model")
        known = self._profile()
        space = known.space(architecture=self._architecture)
        neutral = Space().recipe(Space().neutral())
        (baseline,) = attempts.run([Task(neutral, epochs=1)])
        attempts.table_bytes = baseline.table_bytes
        found = Found(known, self._budget, baseline, (baseline,), None)
        if attempts.limited and self._good(baseline, known):
            return dataclasses.replace(found, best=baseline)
        if attempts.limited:
            self._progress("costing the smallest network")
            (smallest,) = (o.settled(0) for o in attempts.run([Task(space.smallest())]))
            if not smallest.fits(self._budget):
                return dataclasses.replace(
                    found, nearest=smallest, proved=True, reason=self._too_small(smallest)
                )
        attempts.begin()
        moves = trials_for_moves(attempts, architecture=self._architecture)
        self._sample(space.narrowed(self._begin(space)), attempts.effort.trials - moves)
        try_neighbours(attempts, moves)
        train_finalists(attempts, known.quality)
        return self._conclude(found)

    def _profile(self) -> ModelProfile:
        found = self._study.known("profile", "")
        if found is None:
            found = dataclasses.asdict(self._attempts.ask(profile))
            self._study.keep("profile", "", found)
        return ModelProfile(**found)

    # -- step 4

    def _begin(self, space: Space) -> dict[str, float]:
        """Return how much must go of each measure, and queue the first choices."""
        need: dict[str, float] = {}
        if self._architecture:
            self._begin_architecture(space)
            return need
        for measure, limit in (("ram", "ram"), ("bytes", "flash"), ("cycles", "latency")):
            need[measure] = self._least(space, need, measure, limit)
        self._study.keep("need", "", need)
        exact = {m: r for m, r in need.items() if r > 0}
        if not exact:
            choices = [
                space.neutral(**{measure: ratio}, criterion=criterion)
                for criterion in ("taylor", "l1")
                for measure in ("bytes", "cycles")
                for ratio in (0.3, 0.6)
            ]
        else:
            # Other criteria take other channels, and cost a little more or less.
            slack = {m: min(MOST, r + _MARGIN) for m, r in exact.items()}
            more = {m: min(MOST, r + 5 * _MARGIN) for m, r in exact.items()}
            choices = [space.neutral(**exact)]
            for criterion, protect in (("l1", 0.0), ("taylor", 0.5)):
                choices.append(space.neutral(**slack, criterion=criterion, sensitivity=protect))
            choices.append(space.neutral(**more))
        self._study.begin_with(choices)
        return need

    def _begin_architecture(self, space: Space) -> None:
        widths = (0.75, 0.5, 0.35, 0.25)
        self._study.begin_with([space.neutral(width=width) for width in widths])

    def _least(self, space: Space, given: dict[str, float], measure: str, limit: str) -> float:
        """Return the least share of ``measure`` whose removal keeps a limit, to 1 %."""
        low, high = 0.0, MOST
        if self._over(space, given, measure, low, limit) <= 0.0:
            return 0.0
        while high - low > _TOLERANCE:
            self._progress(f"finding what fits: {limit} with {100 * high:.0f} % less {measure}")
            # As many guesses at once as there are workers.
            count = max(1, min(self._attempts.crew.size, 3))
            guesses = [low + (high - low) * (i + 1) / (count + 1) for i in range(count)]
            over = self._overs(space, given, measure, guesses, limit)
            fitting = [g for g, o in zip(guesses, over, strict=True) if o <= 0.0]
            missing = [g for g, o in zip(guesses, over, strict=True) if o > 0.0]
            high = min([high, *fitting])
            low = max([low, *(g for g in missing if g < high)])
        return high

    def _over(
        self, space: Space, given: dict[str, float], measure: str, ratio: float, limit: str
    ) -> float:
        return self._overs(space, given, measure, [ratio], limit)[0]

    def _overs(
        self,
        space: Space,
        given: dict[str, float],
        measure: str,
        ratios: Iterable[float],
        limit: str,
    ) -> list[float]:
        """Return by how much a limit is missed when so much of ``measure`` goes."""
        tasks = [
            Task(space.recipe(space.neutral(**given, **{measure: round(ratio, 4)})))
            for ratio in ratios
        ]
        settled = (o.settled(self._attempts.table_bytes) for o in self._attempts.run(tasks))
        over = [outcome.excess(self._budget) for outcome in settled]
        return [o.get("link", o.get(limit, -1.0)) for o in over]

    # -- step 5

    def _sample(self, space: Space, most: int) -> None:
        """Try choices until ``most`` trials are begun or the time is over."""
        attempts = self._attempts
        running: dict[Any, tuple[Any, Task]] = {}
        while True:
            begun = max(self._study.different, self._study.ended // 2) + len(running)
            open_ = begun < most and not attempts.late
            while open_ and len(running) < attempts.crew.size:
                trial, choice = self._study.ask(space)
                task = attempts.short(space.recipe(choice))
                if (before := self._study.outcome(task)) is not None:
                    self._study.tell(trial, before, self._budget, attempts.table_bytes)
                else:
                    running[attempts.submit(task)] = (trial, task)
                begun += 1
                open_ = begun < most
            if not running:
                return
            attempts.say_trial(self._study.ended + 1)
            for ticket in attempts.wait(running):
                trial, task = running.pop(ticket)
                self._end(ticket, trial, task)

    def _end(self, ticket: Any, trial: Any, task: Task) -> None:
        try:
            outcome = self._attempts.crew.result(ticket)
        except LostError as error:
            self._attempts.count_lost(error)
            self._study.fail(trial, str(error))
        except EdgebuildError as error:
            self._study.fail(trial, error.message)
        else:
            self._study.keep_outcome(task, outcome)
            self._study.tell(trial, outcome, self._budget, self._attempts.table_bytes)

    def _conclude(self, found: Found) -> Found:
        """Return what there is to build, or why there is nothing."""
        trained = self._attempts.trained()
        points = (found.baseline, *trained)
        found = dataclasses.replace(
            found,
            points=points,
            failed=tuple(dict.fromkeys((*self._study.errors(), *self._attempts.failed))),
        )
        best = best_of(points, self._budget)
        if best is None:
            tried = self._attempts.tried() or [found.baseline]
            near = min(
                tried, key=lambda o: sum(max(0.0, x) for x in o.excess(self._budget).values())
            )
            reason = "no candidate fits; " + missed(near, self._budget)
            return dataclasses.replace(found, nearest=near, reason=reason)
        if not self._good(best, found.profile):
            drop = 100 * (found.profile.quality - (best.quality or 0.0))
            allowed = 100 * (self._budget.max_accuracy_drop or 0.0)
            reason = (
                f"the best that fits loses {drop:.2f} points of {found.profile.measure} on the "
                f"validation samples, {allowed:.2f} are allowed"
            )
            return dataclasses.replace(found, nearest=best, reason=reason)
        return dataclasses.replace(found, best=best)

    def _good(self, outcome: Outcome, known: ModelProfile) -> bool:
        """Return whether an outcome keeps every limit, accuracy's too."""
        allowed = self._budget.max_accuracy_drop
        kept = allowed is None or known.quality - (outcome.quality or 0.0) <= allowed
        return kept and outcome.fits(self._budget)

    def _too_small(self, smallest: Outcome) -> str:
        return (
            "not even the smallest network of the search (one channel in each layer"
            f"{', every removable block gone' if not self._architecture else ''}) fits; "
            + missed(smallest, self._budget)
        )
