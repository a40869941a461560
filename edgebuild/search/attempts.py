"""What the steps of a search share: trying candidates with the crew, remembered by the study."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.budget import Budget
from edgebuild.errors import EdgebuildError, ModelError
from edgebuild.search.crew import Crew, CrewError, LostCrewError, LostError, Work
from edgebuild.search.problem import Outcome, Task, Way
from edgebuild.search.ranking import best_of, over
from edgebuild.search.study import Study

SMALLEST, MOVES, FINALISTS = "smallest", "moves", "finalists"
"""Under which names the study keeps the outcomes of these steps."""

_SHORT_STEPS, _LONG_STEPS = 300, 4000
_TRIALS_SHARE = 2 / 3
"""Of the time that trials and moves have."""
_LOST_LIMIT = 5
"""So many workers may die without a result between."""
_DEATHS = 3
"""A candidate that costs so many workers is left out."""
_WAIT_S = 0.5


@dataclass(frozen=True)
class Effort:
    """How much a search may do.

    ``trials`` is how many are sampled and moved to. After ``timeout_s``, profiling and costing
    included, nothing more begins to train; the last third of it is the finalists'.
    ``short_epochs`` are trained in a trial, ``epochs`` in each of the ``finalists``; 0 takes what
    the size of the data set asks for.
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


class Attempts:
    """Candidates of one search, tried and to try.

    ``trials`` are those that compress the original; with ``architecture``, ``scaled`` are those of
    other widths and depths. What follows from both is kept with ``trials``.
    ``table_bytes`` is the size of the original's softmax tables, once it is known. ``way`` is how
    all is compiled that is tried from now on. After ``trials_end`` no trial or move begins, after
    ``end`` no finalist. ``failed`` are the messages of candidates that were skipped.
    """

    def __init__(
        self,
        crew: Crew,
        study: Study,
        budget: Budget,
        effort: Effort,
        progress: Callable[[str], None],
        *,
        architecture: bool = False,
    ) -> None:
        self.crew, self.study = crew, study
        stages = ("nas", "scaled") if architecture else ("",)
        self.sampled = [study.trials(budget, effort.short_epochs, stage) for stage in stages]
        self.trials = self.sampled[0]
        self.scaled = self.sampled[1] if architecture else None
        self.budget, self.effort, self.progress = budget, effort, progress
        self.table_bytes: int | None = None
        self.way = Way()
        begun, time_s = time.monotonic(), effort.timeout_s
        self.end = math.inf if time_s is None else begun + time_s
        self.trials_end = math.inf if time_s is None else begun + _TRIALS_SHARE * time_s
        self.failed: list[str] = []
        self._long_tables = 0
        self._lost = 0
        self._deaths: Counter[str] = Counter()

    @property
    def late(self) -> bool:
        """Whether the time for trials and moves is over."""
        return time.monotonic() >= self.trials_end

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.end

    def ask(self, work: Work, *arguments: Any) -> Any:
        """Return what a worker says; another one is asked when it dies."""
        while True:
            ticket = self.crew.submit(work, *arguments)
            while not self.wait([ticket]):
                pass
            try:
                return self.crew.result(ticket)
            except LostError as error:
                self._count_lost(error)

    def wait(self, tickets: Iterable[Any]) -> set[Any]:
        """Return the tickets that are done, after a moment at most."""
        return self.crew.wait(tickets, _WAIT_S)

    def submit(self, task: Task) -> Any:
        """Let a worker try ``task``; return the ticket."""
        from edgebuild.search.evaluate import evaluate

        return self.crew.submit(evaluate, task)

    def result(self, ticket: Any, task: Task, *, needed: bool = False) -> Outcome | None:
        """Return what came of ``task``, or raise what it raised; None when its worker died and it
        is to be submitted again. ModelError when it has cost too many workers and is not
        ``needed``."""
        try:
            outcome: Outcome = self.crew.result(ticket)
        except LostError as error:
            self._count_lost(error)
            key = json.dumps([task.recipe, task.epochs])
            self._deaths[key] += 1
            if self._deaths[key] >= _DEATHS and not needed:
                raise ModelError(f"{error} ({_DEATHS} times, with one candidate)") from error
            return None
        self._lost = 0
        return outcome

    def run(
        self,
        tasks: Sequence[Task],
        *,
        skip_failing: bool = False,
        needed: bool = True,
        until: float = math.inf,
    ) -> list[Outcome]:
        """Return the outcomes of ``tasks``, in order; those that the study has are not tried again,
        and none begins after ``until``.

        What a task raises is raised; or, to ``skip_failing``, it has no outcome and is noted. One
        that costs too many workers fails, unless the search ``needed`` its outcome.
        """
        found = self.run_each(tasks, skip_failing=skip_failing, needed=needed, until=until)
        return [outcome for outcome in found if outcome is not None]

    def run_each(
        self,
        tasks: Sequence[Task],
        *,
        skip_failing: bool = False,
        needed: bool = True,
        until: float = math.inf,
    ) -> list[Outcome | None]:
        """Do what ``run`` does; return None in the place of each task that has no outcome."""
        needed = needed and not skip_failing
        way = self.way._asdict()
        tasks = [task if task.tool else dataclasses.replace(task, **way) for task in tasks]
        failure: EdgebuildError | None = None
        outcomes = {i: self.study.outcome(task) for i, task in enumerate(tasks)}
        left = [i for i, outcome in outcomes.items() if not outcome]
        waiting: dict[int, Any] = {}
        while True:
            while left and len(waiting) < self.crew.size and time.monotonic() < until:
                first = left.pop(0)
                waiting[first] = self.submit(tasks[first])
            if not waiting:
                break
            done = self.wait(waiting.values())
            for i in [i for i, ticket in waiting.items() if ticket in done]:
                try:
                    outcome = self.result(waiting.pop(i), tasks[i], needed=needed)
                except CrewError:
                    raise
                except EdgebuildError as error:
                    if skip_failing:
                        self.failed.append(error.message)
                    else:
                        failure = failure or error
                        left.clear()
                        if not needed:
                            self._lost = 0  # the candidate is to blame, not the workers
                    continue
                if outcome is None:
                    if failure is None:
                        waiting[i] = self.submit(tasks[i])
                    continue
                outcomes[i] = outcome
                self.study.keep_outcome(tasks[i], outcome)
        if failure is not None:
            raise failure
        return list(outcomes.values())

    def _count_lost(self, error: LostError) -> None:
        """Note that a worker died; LostCrewError when too many have."""
        self._lost += 1
        if self._lost > _LOST_LIMIT:
            raise LostCrewError(
                f"{self._lost} workers died: {error}", hint="fewer at once: --jobs 1"
            ) from error

    def short(self, recipe: Sequence[dict[str, Any]]) -> Task:
        """Return the task of a trial: a short training, if the cost fits."""
        return self._task(recipe, self.effort.short_epochs)

    def long(self, recipe: Sequence[dict[str, Any]]) -> Task:
        """Return the task of a finalist."""
        return self._task(recipe, self.effort.epochs)

    def _task(self, recipe: Sequence[dict[str, Any]], epochs: int) -> Task:
        return Task(tuple(recipe), epochs, self.budget, self.table_bytes, *self.way)

    def tried(self) -> list[Outcome]:
        """Return all trials, sampled and moved to, and the smallest network if that was tried."""
        sampled = [outcome for trials in self.sampled for _, outcome in trials.finished()]
        return [*sampled, *self.trials.kept(SMALLEST), *self.trials.kept(MOVES)]

    def trained(self) -> list[Outcome]:
        """Return all candidates that were trained, the finalists too."""
        return [o for o in (*self.tried(), *self.trials.kept(FINALISTS)) if o.quality is not None]

    def expected(self, outcome: Outcome) -> Outcome:
        """Return what a candidate is expected to cost when it is trained long: with the original's
        softmax tables, until finalists tell otherwise."""
        if self.table_bytes is None:
            return outcome
        return outcome.settled(max(self.table_bytes, self._long_tables))

    def expect_tables_of(self, finalists: Iterable[Outcome]) -> None:
        """Expect the longest softmax tables of those that miss the flash, from now on."""
        trained = (outcome for outcome in finalists if outcome.quality is not None)
        missing = [o.table_bytes for o in trained if over(o, self.budget, "flash") > 0.0]
        self._long_tables = max([self._long_tables, *missing])

    def promising(self) -> list[Outcome]:
        """Return the trials that are expected to fit when they are trained long."""
        trained = (outcome for outcome in self.tried() if outcome.quality is not None)
        return [outcome for outcome in trained if self.expected(outcome).fits(self.budget)]

    @property
    def ended(self) -> int:
        """How many sampled trials have ended."""
        return sum(trials.ended for trials in self.sampled)

    def after_share(self, share: float) -> float:
        """Return when so much of the time left for trials and moves will be over."""
        now = time.monotonic()
        return now + share * (self.trials_end - now)

    def say_trial(self, trial: int) -> None:
        """Show which trial is next, and the best so far."""
        self.say(f"trial {trial} of {self.effort.trials}")

    def say(self, what: str) -> None:
        """Show what is done, and the best so far."""
        best = best_of(self.trained(), self.budget)
        said = "none fits yet"
        if best is not None:
            said = f"best {100 * (best.quality or 0):.2f} %"
            if best.flash_bytes is not None:
                said += f", {best.flash_bytes:,} B of flash"
        self.progress(f"{what}; {said}")
