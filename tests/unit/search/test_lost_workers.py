"""Searches whose workers die, and searches that are killed and go on."""

import pytest

from edgebuild.budget import Budget
from edgebuild.errors import ToolError
from edgebuild.search.attempts import MOVES
from edgebuild.search.crew import LostError

from .formulas import EFFORT, Crew, run, trials


def test_a_lost_worker_is_replaced(tmp_path):
    whole = run(tmp_path, Budget(flash_bytes=30_000), name="whole")
    found = run(tmp_path, Budget(flash_bytes=30_000), Crew(dies_at={3, 5}), name="lost")
    assert found.best.quality == whole.best.quality


def test_a_trial_whose_worker_died_is_tried_again(tmp_path):
    budget = Budget(flash_bytes=60_000)
    for name, dies_at in (("whole", ()), ("lost", range(3, 27, 3))):
        found = run(tmp_path, budget, Crew(dies_at=dies_at), name=name)
        assert not found.failed
        opened = trials(tmp_path, budget, name)
        assert (opened.ended, opened.errors()) == (EFFORT.trials, [])


def test_a_candidate_that_costs_three_workers_is_left_out(tmp_path):
    def fails(task):
        large = any(row.get("criterion") == "l1" for row in task.recipe)
        return LostError("a worker died") if large and task.epochs else None

    found = run(tmp_path, Budget(flash_bytes=30_000), Crew(fails=fails))
    assert found.failed == ("a worker died (3 times, with one candidate)",)
    assert found.best is not None


def test_workers_that_keep_dying_end_the_search(tmp_path):
    with pytest.raises(ToolError, match="workers died"):
        run(tmp_path, Budget(flash_bytes=30_000), Crew(dies_at=range(2, 40)))


def test_a_killed_search_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    class Dying(Crew):
        def submit(self, work, *arguments):
            if len(self.tasks) == 14:
                raise Killed
            return super().submit(work, *arguments)

    budget = Budget(flash_bytes=30_000, ram_bytes=6_000)
    first, second = Dying(), Crew()
    with pytest.raises(Killed):
        run(tmp_path, budget, first)
    found = run(tmp_path, budget, second)
    whole = Crew()
    run(tmp_path, budget, whole, name="other")
    # Of the first 14, at most what ran at the moment is done again.
    again = [task for task in second.tasks if task in first.tasks]
    assert len(again) <= first.size
    assert found.best.fits(budget)
    assert trials(tmp_path, budget).ended == 8
    moved = trials(tmp_path, budget).kept(MOVES)
    assert sum(outcome.quality is not None for outcome in moved) <= 4


def test_a_finished_search_is_answered_from_the_study(tmp_path):
    budget = Budget(flash_bytes=30_000)
    first = run(tmp_path, budget)
    crew = Crew()
    again = run(tmp_path, budget, crew)
    assert not crew.tasks
    assert again.best == first.best
