"""Search the smallest loss of accuracy that meets a budget, from cheap steps to dear ones.

1. Profile the original: quality, what can be varied, how much each layer matters.
2. Cost it on the target; if it fits already, steps 3, 4 and 6 have nothing to do.
3. Cost the smallest networks of the space: if none of them fits, nothing does.
4. Find by bisection how much must go of what, by cost alone, for each structure: with blocks gone,
   with factors.
5. Try choices around that, drawn by Optuna, each with a short training if its cost fits. When
   nothing must go, they are of all sizes: what is wanted is the Pareto front. As many again are
   of other widths and depths, if that is asked for. When none of them fits, try the smallest
   network.
6. Go from the best shape to those next to it: a layer wider, another narrower.
7. Train the best ones long; quantize the best one and the original in other ways.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.budget import Budget
from edgebuild.compress.setup import TrainingSetup
from edgebuild.errors import EdgebuildError
from edgebuild.profile import AGAINST, Optimize
from edgebuild.search.attempts import SMALLEST, Attempts, Effort
from edgebuild.search.crew import Crew, CrewError
from edgebuild.search.finalists import train_finalists
from edgebuild.search.needs import Costing
from edgebuild.search.neighbours import trials_for_moves, try_neighbours
from edgebuild.search.problem import Outcome, Problem, Task, Way
from edgebuild.search.profiling import ModelProfile, profile
from edgebuild.search.ranking import best_of, closest, missed, over, pareto
from edgebuild.search.space import Space, Structure
from edgebuild.search.study import Study, Trials
from edgebuild.toolchain.choice import tools_for

_MARGIN = 0.02
_EXACT = 5
"""So many structures are tried first."""


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
    """One run of a search, over a crew and a study.

    ``architecture`` adds a stage: half of what is sampled are networks of other widths and depths.
    ``baseline_missed`` says that the original's build was measured and loses too much accuracy:
    then it is not chosen, however good it looks on the validation split.
    """

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
        baseline_missed: bool = False,
    ) -> None:
        batch = TrainingSetup().batch(len(problem.train))
        effort = effort.for_samples(len(problem.train), batch)
        self._attempts = Attempts(crew, study, budget, effort, progress, architecture=architecture)
        self._study, self._budget, self._progress = study, budget, progress
        self._baseline_missed = baseline_missed
        self._problem = problem
        self._tried: tuple[Way, ...] = ()
        self._costing = Costing(self._attempts)

    def run(self) -> Found:
        """Search; answers that the study has are not asked for again."""
        attempts = self._attempts
        if sum(trials.recover() for trials in attempts.sampled):
            self._progress("resuming the last search")
        self._progress("profiling the model")
        known = self._profile()
        space, scaled = (known.space(architecture=scales) for scales in (False, True))
        neutral = Space().recipe(Space().neutral())
        baseline = self._compiled(neutral)
        attempts.table_bytes = baseline.table_bytes
        found = Found(known, self._budget, baseline, (baseline,), None)
        smallest: Outcome | None = None
        first = _first_sizes(space)
        fits = baseline.fits(self._budget)
        if not fits:
            self._progress("costing the smallest network")
            smallest, reduction = self._smallest(space, scaled)
            if not smallest.fits(self._budget):
                return self._proof(found, smallest)
            space = self._costing.aimed(space, reduction)
            first = _first_structures(space)
        moves = 0 if fits else trials_for_moves(attempts.effort.trials)
        attempts.trials.begin_with(first)
        self._sample_stages(space, scaled, attempts.effort.trials - moves)
        self._try_smallest(smallest)
        try_neighbours(attempts, moves)
        wanted = math.inf if self._baseline_missed else known.quality
        train_finalists(attempts, wanted, baseline)
        return self._conclude(found)

    def _compiled(self, neutral: tuple[dict[str, Any], ...]) -> Outcome:
        """Return what the original costs in the way that the search goes on with: the first in
        which it fits, else the one in which it comes closest."""
        attempts = self._attempts
        costed: list[Outcome] = []
        for limit, ways in ways_to_compile(self._problem):
            nearest = closest(costed, self._budget)
            if nearest is not None and limit and over(nearest, self._budget, limit) <= 0.0:
                continue
            for way in ways:
                costed += attempts.run([Task(neutral, epochs=1, **way._asdict())])
                self._tried = (*self._tried, way)
                if costed[-1].fits(self._budget):
                    attempts.way = way
                    return costed[-1]
        best = closest(costed, self._budget)
        assert best is not None
        attempts.way = best.way if best.tool else self._tried[0]
        return best

    def _smallest(self, space: Space, scaled: Space) -> tuple[Outcome, Structure]:
        """Return the smallest network, in the first way in which it fits; in none, that in which it
        comes closest. The search goes on with that way."""
        attempts = self._attempts
        found = {}
        for way in sorted(self._tried, key=lambda way: way != attempts.way):
            attempts.way = way
            found[way] = self._costing.smallest(space, scaled)
            if found[way][0].fits(self._budget):
                return found[way]
        best = closest((outcome for outcome, _ in found.values()), self._budget)
        attempts.way = next(way for way, pair in found.items() if pair[0] is best)
        return found[attempts.way]

    def _proof(self, found: Found, smallest: Outcome) -> Found:
        """Say that not even the smallest network fits, in any way to compile it."""
        failed = tuple(dict.fromkeys(self._attempts.failed))
        which = "that could be costed" if failed else "of the search"
        tools = dict.fromkeys(way.tool for way in self._tried)
        kernels = dict.fromkeys(way.optimize for way in self._tried)
        others = [str(one) for one in kernels if one != Optimize.BALANCED]
        by = f" in int8 with {', '.join(tools)}"
        by += f", kernels for {' and '.join(others)} among them" if others else ""
        reason = (
            f"not even the smallest network {which} (one channel in each layer, every "
            f"removable block gone) fits{by}; {missed(smallest, self._budget)}"
        )
        return dataclasses.replace(
            found, nearest=smallest, proved=not failed, reason=reason, failed=failed
        )

    def _profile(self) -> ModelProfile:
        found = self._study.known("profile", "")
        if found is None:
            found = dataclasses.asdict(self._attempts.ask(profile))
            self._study.keep("profile", "", found)
        return ModelProfile(**found)

    # -- step 5

    def _try_smallest(self, smallest: Outcome | None) -> None:
        """Try the smallest network, which is expected to fit, when no trial does."""
        attempts = self._attempts
        if smallest is None or not attempts.effort.trials:
            return
        if best_of(attempts.trained(), self._budget) is not None:
            return
        self._progress("no trial fits: trying the smallest network")
        tasks = [attempts.short(smallest.recipe)]
        found = attempts.run(tasks, skip_failing=True, until=attempts.end)
        attempts.trials.keep(SMALLEST, found)

    def _sample_stages(self, space: Space, scaled: Space, most: int) -> None:
        """Try choices of one stage after the other, with equal shares of trials and time."""
        attempts = self._attempts
        if attempts.scaled is None:
            self._sample(attempts.trials, space, most, attempts.trials_end)
            return
        self._sample(attempts.trials, space, most - most // 2, attempts.after_share(1 / 2))
        attempts.scaled.begin_with(_first_scaled(scaled))
        self._sample(attempts.scaled, scaled, most // 2, attempts.trials_end)

    def _sample(self, trials: Trials, space: Space, most: int, until: float) -> None:
        """Try choices until ``most`` trials are begun; none begins after ``until``."""
        attempts = self._attempts
        running: dict[Any, tuple[Any, Task]] = {}
        while True:
            begun = max(trials.different, trials.ended // 2) + len(running)
            while begun < most and len(running) < attempts.crew.size and time.monotonic() < until:
                begun += 1
                trial, choice = trials.ask(space)
                task = attempts.short(space.recipe(choice))
                if (before := self._study.outcome(task)) is not None:
                    trials.tell(trial, before, attempts.table_bytes)
                else:
                    running[attempts.submit(task)] = (trial, task)
            if not running:
                return
            attempts.say_trial(attempts.ended + 1)
            for ticket in attempts.wait(running):
                trial, task = running.pop(ticket)
                if not self._ended(trials, ticket, trial, task):
                    running[attempts.submit(task)] = (trial, task)

    def _ended(self, trials: Trials, ticket: Any, trial: Any, task: Task) -> bool:
        """Keep what came of a trial; return whether it has ended, False when its worker died."""
        try:
            outcome = self._attempts.result(ticket, task)
        except CrewError:
            raise
        except EdgebuildError as error:
            trials.fail(trial, error.message)
            return True
        if outcome is None:
            return False
        self._study.keep_outcome(task, outcome)
        trials.tell(trial, outcome, self._attempts.table_bytes)
        return True

    def _conclude(self, found: Found) -> Found:
        """Return what there is to build, or why there is nothing."""
        attempts = self._attempts
        trained = attempts.trained()
        points = (found.baseline, *trained)
        errors = [error for trials in attempts.sampled for error in trials.errors()]
        failed = tuple(dict.fromkeys((*errors, *attempts.failed)))
        found = dataclasses.replace(found, points=points, failed=failed)
        refused = found.baseline.sha256 if self._baseline_missed else None
        best = best_of((o for o in points if o.sha256 != refused), self._budget)
        if best is None:
            near = closest(
                attempts.tried() + ([] if trained else self._costing.costed), self._budget
            )
            return dataclasses.replace(
                found, nearest=near or found.baseline, reason=self._why_none(near, failed)
            )
        drop = found.profile.quality - (best.quality or 0.0)
        allowed = self._budget.max_accuracy_drop
        if allowed is not None and drop > allowed:
            reason = (
                f"the best that fits loses {100 * drop:.2f} points of {found.profile.measure} on "
                f"the validation samples, {100 * allowed:.2f} are allowed"
            )
            return dataclasses.replace(found, nearest=best, reason=reason)
        return dataclasses.replace(found, best=best)

    def _why_none(self, near: Outcome | None, failed: Sequence[str]) -> str:
        """Return why there is nothing to build, ``near`` being the closest."""
        if near is not None and not near.fits(self._budget):
            return "no candidate fits; " + missed(near, self._budget)
        if near is not None and near.quality is not None and near.lost(self._budget):
            return "no candidate that fits is good enough; " + missed(near, self._budget)
        why = failed[0] if failed else "the time limit was reached" if self._attempts.late else ""
        return "no candidate was trained" + (f": {why}" if why else "")


def ways_to_compile(problem: Problem) -> Iterator[tuple[str, tuple[Way, ...]]]:
    """Yield the ways to compile in rounds, each for what does not fit after those before: balanced
    kernels first, then those for the limit that is named."""
    asked, toolchain = problem.optimize, problem.toolchain
    for tools in tools_for(toolchain, small=asked == Optimize.SIZE):
        yield "", tuple(Way(tool, asked or Optimize.BALANCED) for tool in tools)
    if asked is None:
        for limit, optimize in AGAINST.items():
            small = optimize == Optimize.SIZE
            tools = tools_for(toolchain, small=small)[0]
            yield limit, tuple(Way(tool, optimize) for tool in tools)


def _first_sizes(space: Space) -> list[dict[str, Any]]:
    """Return the choices to begin with when nothing must go."""
    sizes = itertools.product(("taylor", "l1"), ("bytes", "cycles"), (0.3, 0.6))
    pruned = [space.neutral(**{by: r}, criterion=c) for c, by, r in sizes]
    return [space.neutral(rounding="adaround"), *pruned]


def _first_structures(space: Space) -> list[dict[str, Any]]:
    """Return the choices to begin with when something must go: of each structure no more than must,
    those with blocks gone first; of the first structure then a little more."""
    by_blocks = sorted(space.needs, key=lambda structure: structure.energy < 1.0)
    exact = [space.neutral(structure=structure.name) for structure in by_blocks]
    # Other criteria take other channels, and cost a little more or less.
    slack, more = (dict.fromkeys(space.aims, margin) for margin in (_MARGIN, 5 * _MARGIN))
    return [
        *exact[:_EXACT],
        space.neutral(**slack, criterion="l1"),
        space.neutral(**slack, criterion="taylor", sensitivity=0.5),
        space.neutral(**more),
    ]


def _first_scaled(space: Space) -> list[dict[str, Any]]:
    """Return the widths to begin with."""
    pruned = [space.neutral(width=width, prune="bytes") for width in (0.75, 0.5)]
    return [*(space.neutral(width=width) for width in (0.75, 0.5, 0.35, 0.25)), *pruned]
