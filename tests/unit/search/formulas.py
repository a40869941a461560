"""Candidates whose costs are formulas, and a crew that tries them: no training, no compiler."""

import dataclasses
import hashlib
import json

import numpy as np

from edgebuild.compress.splits import Split
from edgebuild.search.attempts import Effort
from edgebuild.search.crew import LostError
from edgebuild.search.evaluate import evaluate
from edgebuild.search.moves import moves
from edgebuild.search.problem import Outcome, Problem
from edgebuild.search.profiling import ModelProfile, profile
from edgebuild.search.run import Search
from edgebuild.search.study import open_study
from edgebuild.targets import load_target

PROFILE = ModelProfile(0.99, "accuracy", 500, 1, True, True, {"conv": 0.2})
EFFORT = Effort(trials=12, epochs=20, short_epochs=2)


def problem():
    x = np.zeros((100, 4), np.float32)
    split = Split((x,), np.zeros(100, np.int64))
    target = load_target("cortex-m4")
    return Problem(b"model", "keras", "net", False, split, split, target, "simulator", "zig", 0)


def candidate(task):
    """Costs fall with what is pruned; quality falls with it too, and rises with training."""
    gone = {row.get("by"): row["ratio"] for row in task.recipe if row["pass"] == "prune"}
    if gone.get("channels"):
        gone = dict.fromkeys(("ram", "bytes", "cycles"), gone["channels"])
    width = next((row.get("width", 1.0) for row in task.recipe if row["pass"] == "scale"), 1.0)
    ram, size, macs = (1 - width * (1 - gone.get(k, 0.0)) for k in ("ram", "bytes", "cycles"))
    quality = 0.99 - 0.05 * (ram + size + macs) ** 2 - (0.01 if task.epochs < 20 else 0.0)
    if task.recipe and task.recipe[-1].get("rounding") == "adaround":
        quality += 0.001
    found = Outcome(
        task.recipe,
        0,
        flash_bytes=round(8000 + 40_000 * (1 - size)),
        ram_bytes=round(500 + 10_000 * (1 - ram)),
        latency_us=1000 + 20_000 * (1 - macs) * (1 - 0.3 * size),
        macs=round(1e6 * (1 - macs) * (1 - size)),
        sha256=hashlib.sha256(json.dumps(task.recipe).encode()).hexdigest(),
    )
    if task.epochs and found.fits(task.limits):
        found = dataclasses.replace(found, epochs=task.epochs, quality=round(quality, 6))
    return found


def fewer(outcome):
    """The recipes next to an outcome's: of one measure goes less."""
    rows = outcome.recipe
    return [
        (*rows[:i], {**row, "ratio": round(row["ratio"] - step, 6)}, *rows[i + 1 :])
        for step in (0.04, 0.002)
        for i, row in enumerate(rows)
        if row["pass"] == "prune" and row["ratio"] > step
    ]


class Crew:
    """Does the work at once; may die at chosen moments."""

    def __init__(self, size=2, dies_at=(), fails=lambda task: None):
        self.size = size
        self.candidate = candidate
        self.tasks = []
        self._dies_at, self._fails, self._count = set(dies_at), fails, 0

    def submit(self, work, *arguments):
        self._count += 1
        if self._count in self._dies_at:
            return Ticket(error=LostError("a worker died"))
        if work is profile:
            return Ticket(PROFILE)
        if work is moves:
            return Ticket(fewer(arguments[0]))
        assert work is evaluate
        self.tasks.append(arguments[0])
        error = self._fails(arguments[0])
        return Ticket(self.candidate(arguments[0]), error)

    def wait(self, tickets, timeout_s):
        return {next(iter(tickets))}

    def result(self, ticket):
        if ticket.error is not None:
            raise ticket.error
        return ticket.value


class TimedCrew(Crew):
    """One worker on a clock that only its tasks move: by a second each."""

    def __init__(self, monkeypatch):
        super().__init__(size=1)
        self.now = 0.0
        self.candidate = self._timed
        monkeypatch.setattr("edgebuild.search.attempts.time.monotonic", lambda: self.now)

    def _timed(self, task):
        self.now += 1.0
        return candidate(task)


class Ticket:
    def __init__(self, value=None, error=None):
        self.value, self.error = value, error


def study(tmp_path, name="study"):
    return open_study(f"sqlite:///{tmp_path / 's.db'}", name, "key", sampler="tpe", seed=0)


def trials(tmp_path, budget, name="study"):
    return study(tmp_path, name).trials(budget, EFFORT.short_epochs)


def run(tmp_path, budget, crew=None, effort=EFFORT, name="study", **options):
    opened = study(tmp_path, name)
    search = Search(problem(), crew or Crew(), opened, budget, effort, lambda _: None, **options)
    return search.run()
