"""What a search remembers, and of what."""

import dataclasses
import sqlite3

import pytest

from edgebuild.budget import Budget
from edgebuild.errors import InputError
from edgebuild.search.attempts import MOVES
from edgebuild.search.problem import Outcome, Task
from edgebuild.search.study import open_study

from .formulas import EFFORT, Crew, candidate, run, study, trials


@pytest.mark.parametrize("first", [20_000, 40_000])
def test_every_budget_has_trials_of_its_own(tmp_path, first):
    budget = Budget(flash_bytes=30_000)
    run(tmp_path, Budget(flash_bytes=first), effort=dataclasses.replace(EFFORT, trials=3))
    crew, alone = Crew(), Crew()
    found = run(tmp_path, budget, crew)
    other = run(tmp_path, budget, alone, name="alone")
    assert found.best == other.best
    assert found.points == other.points
    # What came of candidates is true for every budget: those that both try are tried once.
    assert len(crew.tasks) < len(alone.tasks)


def test_longer_trials_are_other_trials(tmp_path):
    budget = Budget(flash_bytes=30_000)
    run(tmp_path, budget)
    found = run(tmp_path, budget, effort=dataclasses.replace(EFFORT, short_epochs=5))
    assert not any(point.epochs == 2 for point in found.points)


def test_a_candidate_is_tried_again_for_a_budget_that_it_keeps(tmp_path):
    opened = study(tmp_path)
    recipe = ({"pass": "quantize"},)
    tight, loose = (Task(recipe, 2, Budget(flash_bytes=limit)) for limit in (40_000, 50_000))
    opened.keep_outcome(tight, candidate(tight))
    assert opened.outcome(tight).quality is None
    assert opened.outcome(loose) is None
    opened.keep_outcome(loose, candidate(loose))
    assert opened.outcome(tight) == opened.outcome(loose) == candidate(loose)


def test_a_study_of_another_problem_is_refused(tmp_path):
    study(tmp_path)
    message = "belongs to another model, data set, target, training or edgebuild version"
    with pytest.raises(InputError, match=message):
        open_study(f"sqlite:///{tmp_path / 's.db'}", "study", "other", sampler="tpe", seed=0)


def test_an_unusable_database_is_explained(tmp_path):
    with pytest.raises(InputError, match="cannot be kept in nonsense://x"):
        open_study("nonsense://x", "study", "key", sampler="tpe", seed=0)
    with pytest.raises(InputError, match="unknown sampler 'tpo'; did you mean 'tpe'"):
        open_study("sqlite://", "study", "key", sampler="tpo", seed=0)


def test_no_value_is_too_long_for_a_database_that_takes_64_kib(tmp_path):
    row = {"pass": "prune", "layers": "+".join(f"layer_{i}:{i}" for i in range(1, 100))}
    outcomes = [Outcome((row,), i, flash_bytes=i) for i in range(100)]
    opened = trials(tmp_path, Budget())
    opened.keep(MOVES, outcomes[:60])
    opened.keep(MOVES, outcomes)
    assert opened.kept(MOVES) == outcomes
    opened.keep(MOVES, outcomes[1:3])
    assert opened.kept(MOVES) == outcomes[1:3]
    with sqlite3.connect(tmp_path / "s.db") as database:
        values = database.execute("SELECT value_json FROM study_user_attributes").fetchall()
    assert len(values) > 100 and max(len(value) for (value,) in values) < 1 << 16
