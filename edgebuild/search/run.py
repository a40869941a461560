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
import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.budget import Budget
from edgebuild.compress.setup import TrainingSetup
from edgebuild.errors import EdgebuildError, ToolError
from edgebuild.search.crew import Crew, LostError, Work
from edgebuild.search.moves import moves
from edgebuild.search.problem import Outcome, Problem, Task
from edgebuild.search.profiling import ModelProfile, profile
from edgebuild.search.space import MOST, Space
from edgebuild.search.study import Study, outcome_from_json
from edgebuild.units import format_duration

_TOLERANCE = 0.01
_MARGIN = 0.02
_LOST_LIMIT = 5
_WAIT_S = 0.5
_MOVED = 1 / 3
"""The share of the trials that step 6 has."""
_LEADERS = 2
"""From so many shapes moves start."""
_MOST_MOVES = 32
"""So many moves from one shape are kept."""
_MOST_MISSES = 4
"""So many moves are costed for each that may be trained."""
_ROUND = 4
"""So many moves are tried before the best shape is looked for again."""
_MOVES, _FINALISTS = "moves", "finalists"
_SHORT_STEPS, _LONG_STEPS = 300, 4000


@dataclass(frozen=True)
class Effort:
    """How much a search may do.

    ``trials`` and ``timeout_s`` are limits of steps 5 and 6; ``short_epochs`` are trained in a
    trial, ``epochs`` in each of the ``finalists``. 0 takes what the size of the data set asks for.
    """

    trials: int = 40
    timeout_s: float | None = None
    epochs: int = 0
    short_epochs: int = 0
    finalists: int = 3

    def for_samples(self, samples: int, batch: int) -> Effort:
        """Return the effort for so many training samples, with every figure set."""
        steps = max(1, samples // batch)
        short = min(max(-(-_SHORT_STEPS // steps), 1), 20)
        long = min(max(-(-_LONG_STEPS // steps), 10), 100)
        return dataclasses.replace(
            self, epochs=self.epochs or long, short_epochs=self.short_epochs or short
        )


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
        self._problem, self._crew, self._study = problem, crew, study
        batch = TrainingSetup().batch(len(problem.train))
        self._effort = effort.for_samples(len(problem.train), batch)
        self._budget, self._progress = budget, progress
        self._architecture = architecture
        self._table_bytes: int | None = None
        self._lost = 0
        self._failed: list[str] = []

    def run(self) -> Found:
        """Search; answers that the study has are not asked for again."""
        self._progress("profiling the model")
        known = self._profile()
        space = known.space(architecture=self._architecture)
        neutral = Space().recipe(Space().neutral())
        (baseline,) = self._try([Task(neutral, epochs=1)])
        self._table_bytes = baseline.table_bytes
        found = Found(known, self._budget, baseline, (baseline,), None)
        if self._limited and self._good(baseline, known):
            return dataclasses.replace(found, best=baseline)
        if self._limited:
            self._progress("costing the smallest network")
            (smallest,) = (o.settled(0) for o in self._try([Task(space.smallest())]))
            if not smallest.fits(self._budget):
                return dataclasses.replace(
                    found, nearest=smallest, proved=True, reason=self._too_small(smallest)
                )
        limit_s = self._effort.timeout_s
        self._deadline = float("inf") if limit_s is None else time.monotonic() + limit_s
        self._sample(space, self._begin(space))
        self._move()
        self._finish(known)
        return self._conclude(found)

    @property
    def _limited(self) -> bool:
        return any(value is not None for value in self._budget.to_json().values())

    def _profile(self) -> ModelProfile:
        found = self._study.known("profile", "")
        if found is None:
            found = dataclasses.asdict(self._ask(profile))
            self._study.keep("profile", "", found)
        return ModelProfile(**found)

    def _try(self, tasks: Sequence[Task], *, skip_failing: bool = False) -> list[Outcome]:
        """Return the outcomes of ``tasks``, in order.

        What a task raises is raised; or, to ``skip_failing``, it has no outcome and is noted.
        """
        from edgebuild.search.evaluate import evaluate

        outcomes = {i: self._study.outcome(task) for i, task in enumerate(tasks)}
        waiting = {i: self._crew.submit(evaluate, tasks[i]) for i, o in outcomes.items() if not o}
        while waiting:
            done = self._crew.wait(waiting.values(), _WAIT_S)
            for i in [i for i, ticket in waiting.items() if ticket in done]:
                try:
                    outcomes[i] = self._crew.result(waiting.pop(i))
                except LostError as error:
                    self._count_lost(error)
                    waiting[i] = self._crew.submit(evaluate, tasks[i])
                    continue
                except EdgebuildError as error:
                    if not skip_failing:
                        raise
                    self._failed.append(error.message)
                    continue
                self._study.keep_outcome(tasks[i], outcomes[i])  # type: ignore[arg-type]
        return [outcome for outcome in outcomes.values() if outcome is not None]

    def _count_lost(self, error: LostError) -> None:
        self._lost += 1
        if self._lost > _LOST_LIMIT:
            raise ToolError(
                f"{self._lost} workers died: {error}", hint="fewer at once: --jobs 1"
            ) from error

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
            count = max(1, min(self._crew.size, 3))
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
        missed = [o.settled(self._table_bytes).excess(self._budget) for o in self._try(tasks)]
        return [m.get("link", m.get(limit, -1.0)) for m in missed]

    # -- step 5

    def _sample(self, space: Space, need: dict[str, float]) -> None:
        """Try choices until this step's share of the effort is spent."""
        from edgebuild.search.evaluate import evaluate

        space = space.narrowed(need)
        most = self._effort.trials - self._kept_for_moves
        running: dict[Any, tuple[Any, Task]] = {}
        while True:
            begun = max(self._study.different, self._study.ended // 2) + len(running)
            open_ = begun < most and time.monotonic() < self._deadline
            while open_ and len(running) < self._crew.size:
                trial, choice = self._study.ask(space)
                task = self._short(space.recipe(choice))
                if (before := self._study.outcome(task)) is not None:
                    self._study.tell(trial, before, self._budget, self._table_bytes)
                else:
                    running[self._crew.submit(evaluate, task)] = (trial, task)
                begun += 1
                open_ = begun < most
            if not running:
                return
            self._progress(self._line(self._study.ended + 1))
            for ticket in self._crew.wait(running, _WAIT_S):
                trial, task = running.pop(ticket)
                self._end(ticket, trial, task)

    def _end(self, ticket: Any, trial: Any, task: Task) -> None:
        try:
            outcome = self._crew.result(ticket)
        except LostError as error:
            self._count_lost(error)
            self._study.fail(trial, str(error))
        except EdgebuildError as error:
            self._study.fail(trial, error.message)
        else:
            self._study.keep_outcome(task, outcome)
            self._study.tell(trial, outcome, self._budget, self._table_bytes)

    def _line(self, trial: int) -> str:
        best = best_of(self._trained(), self._budget)
        said = "none fits yet"
        if best is not None:
            said = f"best {100 * (best.quality or 0):.2f} %"
            if best.flash_bytes is not None:
                said += f", {best.flash_bytes:,} B of flash"
        return f"trial {trial} of {self._effort.trials}; {said}"

    def _trained(self) -> list[Outcome]:
        """Return all candidates that were trained, the finalists too."""
        return [o for o in (*self._tried(), *self._kept(_FINALISTS)) if o.quality is not None]

    def _promising(self) -> list[Outcome]:
        """Return the trials that longer training is expected to leave within the budget."""
        settled = (outcome.settled(self._table_bytes) for outcome in self._tried())
        return _fitting(settled, self._budget)

    def _tried(self) -> list[Outcome]:
        """Return all trials, of steps 5 and 6."""
        return [*(outcome for _, outcome in self._study.finished()), *self._kept(_MOVES)]

    def _keep(self, kind: str, outcomes: Sequence[Outcome]) -> None:
        self._study.keep(kind, "", [outcome.to_json() for outcome in outcomes])

    def _kept(self, kind: str) -> list[Outcome]:
        return [outcome_from_json(row) for row in self._study.known(kind, "") or ()]

    # -- step 6

    @property
    def _kept_for_moves(self) -> int:
        """How many trials step 6 has: none without a limit, which says how wide is too wide."""
        searched = self._limited and not self._architecture
        return round(self._effort.trials * _MOVED) if searched else 0

    def _move(self) -> None:
        """Try shapes next to the best ones, until none is left or the effort is spent. What turns
        out not to fit is not trained, costs little and does not count."""
        moved = self._kept(_MOVES)
        seen = {_shape(outcome.recipe) for outcome in self._tried()}
        most = self._kept_for_moves
        while time.monotonic() < self._deadline and len(moved) < _MOST_MISSES * most:
            left = most - sum(outcome.quality is not None for outcome in moved)
            near = [r for r in self._near() if _shape(r) not in seen][: min(left, _ROUND)]
            if not near:
                return
            self._progress(self._line(self._effort.trials - left + 1))
            seen.update(map(_shape, near))
            moved += self._try([self._short(recipe) for recipe in near], skip_failing=True)
            self._keep(_MOVES, moved)

    def _near(self) -> list[tuple[dict[str, Any], ...]]:
        """Return the moves from the best outcome, by turns with those from the best that came
        another way: other blocks, another rank."""
        ranked = sorted(self._promising(), key=_rank)
        ways = {_way(outcome.recipe): outcome for outcome in reversed(ranked)}
        leaders = sorted(ways.values(), key=_rank)[:_LEADERS]
        turns = itertools.zip_longest(*(self._moves_from(leader) for leader in leaders))
        return [recipe for row in turns for recipe in row if recipe is not None]

    def _moves_from(self, outcome: Outcome) -> list[tuple[dict[str, Any], ...]]:
        key = [list(outcome.recipe), self._budget.to_json()]
        known = self._study.known("moves from", key)
        if known is None:
            known = self._ask(moves, outcome, self._budget)[:_MOST_MOVES]
            self._study.keep("moves from", key, known)
        return [tuple(recipe) for recipe in known]

    def _ask(self, work: Work, *arguments: Any) -> Any:
        """Return what a worker says; another one is asked when it dies."""
        while True:
            ticket = self._crew.submit(work, *arguments)
            while not self._crew.wait([ticket], _WAIT_S):
                pass
            try:
                return self._crew.result(ticket)
            except LostError as error:
                self._count_lost(error)

    # -- step 7

    def _finish(self, known: ModelProfile) -> None:
        """Train the best candidates long, then quantize the best of them in other ways.

        Where one of them does not fit after all, the next best is trained too.
        """
        ranked = sorted(self._promising(), key=lambda o: -(o.quality or 0.0))
        chosen = {_shape(o.recipe): o for o in reversed(ranked)}  # the best of each shape
        waiting = sorted(chosen.values(), key=lambda o: -(o.quality or 0.0))
        waiting = waiting[: 2 * self._effort.finalists]
        finals: list[Outcome] = []
        while missing := self._effort.finalists - len(_fitting(finals, self._budget)):
            best, waiting = waiting[:missing], waiting[missing:]
            if not best:
                break
            self._progress(f"training the best {len(best)} for {self._effort.epochs} epochs")
            finals += self._try([self._final(outcome.recipe) for outcome in best])
            self._keep(_FINALISTS, finals)
        leader = best_of(finals, self._budget)
        if leader is None or (leader.quality or 0.0) >= known.quality:
            return
        self._progress("quantizing the best in other ways")
        ways: list[dict[str, Any]] = [
            {"rounding": "adaround", "bias_correction": True},
            {"epochs": max(1, self._effort.epochs // 5)},
        ]
        *body, last = leader.recipe
        tasks = [self._final((*body, {**last, **way})) for way in ways]
        finals += self._try(tasks, skip_failing=True)
        self._keep(_FINALISTS, finals)

    def _short(self, recipe: Sequence[dict[str, Any]]) -> Task:
        return Task(tuple(recipe), self._effort.short_epochs, self._budget, self._table_bytes)

    def _final(self, recipe: Sequence[dict[str, Any]]) -> Task:
        return Task(tuple(recipe), self._effort.epochs, self._budget, self._table_bytes)

    def _conclude(self, found: Found) -> Found:
        """Return what there is to build, or why there is nothing."""
        trained = self._trained()
        points = (found.baseline, *trained)
        found = dataclasses.replace(
            found,
            points=points,
            failed=tuple(dict.fromkeys((*self._study.errors(), *self._failed))),
        )
        best = best_of(points, self._budget)
        if best is None:
            tried = self._tried() or [found.baseline]
            near = min(
                tried, key=lambda o: sum(max(0.0, x) for x in o.excess(self._budget).values())
            )
            reason = "no candidate fits; " + _missed(near, self._budget)
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
            + _missed(smallest, self._budget)
        )


def best_of(outcomes: Iterable[Outcome], budget: Budget) -> Outcome | None:
    """Return the most accurate that fits; of equals the smallest and fastest."""
    return min(_fitting(outcomes, budget), key=_rank, default=None)


def _fitting(outcomes: Iterable[Outcome], budget: Budget) -> list[Outcome]:
    """Return those that were trained and keep the budget."""
    return [o for o in outcomes if o.quality is not None and o.fits(budget)]


def pareto(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Return those that no other equals or beats in all of quality, flash, RAM and latency."""
    given = sorted((o for o in outcomes if o.quality is not None), key=_rank)
    kept: list[tuple[float, ...]] = []
    front = []
    for outcome in given:
        mine = _rank(outcome)
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) for other in kept):
            kept.append(mine)
            front.append(outcome)
    return tuple(front)


def _rank(outcome: Outcome) -> tuple[float, ...]:
    costs = (outcome.flash_bytes, outcome.ram_bytes, outcome.latency_us)
    return (-(outcome.quality or 0.0), *(0.0 if cost is None else float(cost) for cost in costs))


def _shape(recipe: Sequence[dict[str, Any]]) -> str:
    """Return what tells networks of one shape and choice of channels."""
    body = [{**row, "epochs": 0, "steps": 1} for row in recipe[:-1]]
    return json.dumps(body, sort_keys=True)


def _way(recipe: Sequence[dict[str, Any]]) -> str:
    """Return what a recipe does besides pruning."""
    return _shape([row for row in recipe if row["pass"] != "prune"])


def _missed(outcome: Outcome, budget: Budget) -> str:
    """Return which limits an outcome misses and by how much."""
    if outcome.too_large:
        return outcome.too_large
    needs = []
    if budget.flash_bytes is not None and (outcome.flash_bytes or 0) > budget.flash_bytes:
        needs.append(f"flash {outcome.flash_bytes:,} B of {budget.flash_bytes:,} B")
    if budget.ram_bytes is not None and (outcome.ram_bytes or 0) > budget.ram_bytes:
        needs.append(f"RAM {outcome.ram_bytes:,} B of {budget.ram_bytes:,} B")
    if budget.latency_us is not None:
        if outcome.latency_us is None:
            needs.append("the latency on this target is not known without a board")
        elif outcome.latency_us > budget.latency_us:
            shown = (format_duration(v) for v in (outcome.latency_us, budget.latency_us))
            needs.append("latency {} of {}".format(*shown))
    return "it needs " + ", ".join(needs) if needs else "it keeps all limits"
