"""The search's logic over candidates whose costs are formulas."""

import dataclasses
import json
import re

import pytest

from edgebuild.budget import Budget
from edgebuild.errors import InputError, ModelError
from edgebuild.search.attempts import FINALISTS, MOVES, SMALLEST
from edgebuild.search.crew import LostError
from edgebuild.search.moves import moves
from edgebuild.search.problem import Task
from edgebuild.search.profiling import profile
from edgebuild.search.run import Search

from .formulas import (
    EFFORT,
    PROFILE,
    Crew,
    Ticket,
    TimedCrew,
    candidate,
    problem,
    run,
    study,
    trials,
)


def test_a_budget_that_the_model_keeps_is_explored(tmp_path):
    budget = Budget(flash_bytes=60_000, ram_bytes=60_000)
    found = run(tmp_path, budget)
    assert len(found.front) >= 4
    assert found.best.quality >= found.baseline.quality
    assert min(point.flash_bytes for point in found.front) < 30_000
    assert trials(tmp_path, budget).different == EFFORT.trials
    widths = run(tmp_path, budget, name="nas", architecture=True)
    assert len(widths.points) > EFFORT.trials


def test_a_baseline_that_lost_too_much_is_not_chosen(tmp_path):
    budget = Budget(max_accuracy_drop=0.02)
    crew = Crew()
    found = run(tmp_path, budget, crew, baseline_missed=True)
    assert found.best.sha256 != found.baseline.sha256
    assert found.best in found.points
    whole = [task.recipe[0] for task in crew.tasks if len(task.recipe) == 1]
    assert any(row["rounding"] == "adaround" for row in whole)
    assert any(row.get("epochs") == 4 for row in whole)


def test_all_three_limits_are_met_with_little_to_spare(tmp_path):
    budget = Budget(flash_bytes=30_000, ram_bytes=6_000, latency_us=9_000)
    found = run(tmp_path, budget)
    assert found.best.fits(budget)
    # With just what is needed, 45 % of RAM and bytes and 54 % of MACs, quality is 0.888.
    assert found.best.quality > 0.88
    assert found.best.flash_bytes > 29_000
    assert found.best.epochs == EFFORT.epochs


def test_the_last_third_of_the_trials_moves_from_the_best_shape(tmp_path):
    budget = Budget(flash_bytes=30_000, ram_bytes=6_000)
    run(tmp_path, budget, effort=dataclasses.replace(EFFORT, trials=30))
    opened = trials(tmp_path, budget)
    sampled = [outcome for _, outcome in opened.finished()]
    moved = opened.kept(MOVES)
    assert len(sampled) == 20
    fitting = [outcome for outcome in moved if outcome.quality is not None]
    assert 4 <= len(fitting) <= 10 <= len(moved) <= 40
    best = max(o.quality or 0.0 for o in sampled)
    assert max(outcome.quality for outcome in fitting) > best


def test_what_cannot_fit_is_proved_by_the_smallest_network(tmp_path):
    crew = Crew()
    found = run(tmp_path, Budget(flash_bytes=8_001), crew)
    assert found.best is None
    assert found.proved
    assert found.reason == (
        "not even the smallest network of the search (one channel in each layer, every removable "
        "block gone) fits in int8 with zig, zig -Os, kernels for size among them; "
        "it needs 8,004 B of flash (limit 8,001 B)"
    )
    # Beside the original: the smallest network, with its layers whole and as factors, in two ways.
    smaller = [task for task in crew.tasks if len(task.recipe) > 1]
    assert [task.recipe[1]["pass"] for task in smaller] == 2 * ["prune", *["low_rank"] * 3]
    assert [task.optimize for task in smaller] == ["balanced"] * 4 + ["size"] * 4


def by_compiler(task):
    """Some compilers make the same network smaller."""
    found = candidate(task)
    saved = {"zig": 0, "gcc": 2_000, "zig -Os": 3_000, "gcc -Os": 4_000}[task.tool]
    smaller = dataclasses.replace(
        found, flash_bytes=found.flash_bytes - saved, tool=task.tool, quality=None, epochs=0
    )
    if task.epochs and smaller.fits(task.limits):
        quality = found.quality or candidate(dataclasses.replace(task, limits=Budget())).quality
        smaller = dataclasses.replace(smaller, quality=quality, epochs=task.epochs)
    return smaller


@pytest.fixture
def several(monkeypatch):
    """Two compilers, and a problem that takes either."""
    monkeypatch.setattr("edgebuild.toolchain.choice.installed", lambda: ("zig", "gcc"))
    auto = dataclasses.replace(problem(), toolchain="auto")
    monkeypatch.setattr("tests.unit.search.formulas.problem", lambda: auto)
    crew = Crew()
    crew.candidate = by_compiler
    return crew


def test_a_proof_is_one_over_all_compilers(tmp_path, several):
    """8,004 B with zig, 4,004 B with gcc -Os."""
    found = run(tmp_path, Budget(flash_bytes=4_001), several)
    assert found.proved and found.nearest.tool == "gcc -Os"
    assert "fits in int8 with zig, gcc, zig -Os, gcc -Os, kernels for size among" in found.reason
    found = run(tmp_path, Budget(flash_bytes=4_500), several)
    assert found.best.flash_bytes <= 4_500 and found.best.tool == "gcc -Os"


def by_kernels(task):
    """Kernels for size take half of the flash and twice the time."""
    found = by_compiler(task)
    if task.optimize == "size":
        found = dataclasses.replace(found, flash_bytes=found.flash_bytes // 2, optimize="size")
    return found


def test_kernels_for_size_come_before_a_smaller_network(tmp_path, several):
    several.candidate = by_kernels
    found = run(tmp_path, Budget(flash_bytes=30_000, ram_bytes=10**6), several)
    assert found.baseline.way == ("zig -Os", "size") and found.best is not None
    assert found.best.optimize == "size" and found.best.flash_bytes > 20_000
    # Those for RAM could not help.
    assert {task.optimize for task in several.tasks} == {"balanced", "size"}
    found = run(tmp_path, Budget(flash_bytes=1_000), several)
    assert found.proved and "kernels for size among them" in found.reason


def test_kernels_that_were_asked_for_are_kept(tmp_path, several, monkeypatch):
    asked = dataclasses.replace(problem(), toolchain="auto", optimize="ram")
    monkeypatch.setattr("tests.unit.search.formulas.problem", lambda: asked)
    run(tmp_path, Budget(flash_bytes=30_000), several)
    assert {task.optimize for task in several.tasks} == {"ram"}


def test_a_compiler_with_which_the_original_fits_needs_no_search_of_others(tmp_path, several):
    found = run(tmp_path, Budget(flash_bytes=46_500), several)
    assert found.baseline.tool == found.best.tool == "gcc"
    assert {task.tool for task in several.tasks} == {"zig", "gcc"}
    found = run(tmp_path, Budget(flash_bytes=30_000), several)
    assert found.best.tool == found.baseline.tool == "gcc -Os"


def test_factors_that_fit_are_no_proof_of_the_contrary(tmp_path):
    def grouped(task):
        """Of a layer whose channels may not go, only factors make less."""
        found = candidate(task)
        whole = all(row["pass"] != "low_rank" for row in task.recipe)
        more = dataclasses.replace(found, flash_bytes=found.flash_bytes + 20_000 * whole)
        fits = task.epochs and more.fits(task.limits)
        return more if fits else dataclasses.replace(more, epochs=0, quality=None)

    crew = Crew()
    crew.candidate = grouped
    found = run(tmp_path, Budget(flash_bytes=20_000), crew)
    assert not found.proved
    assert found.best.flash_bytes > 19_000
    assert any(row["pass"] == "low_rank" for row in found.best.recipe)
    found = run(tmp_path, Budget(flash_bytes=8_000), crew)
    assert found.proved
    assert found.nearest.flash_bytes == 8_004


@pytest.mark.parametrize("flash_bytes", [9_900, 9_000, 8_100])
def test_little_more_than_the_smallest_network_is_enough(tmp_path, flash_bytes):
    """More than 95 % has to go; for 8,100 B that is 99.75 %."""
    found = run(tmp_path, Budget(flash_bytes=flash_bytes))
    assert not found.proved
    assert 0.97 * flash_bytes < found.best.flash_bytes <= flash_bytes
    assert found.best.epochs == EFFORT.epochs
    assert all(row["multiple"] == 1 for row in found.best.recipe if row["pass"] == "prune")


def test_where_only_the_smallest_network_fits_it_is_tried_and_moved_from(tmp_path):
    def whole(task):
        """Pruning by a measure misses the limit by far; what has named layers does not."""
        found = candidate(task)
        named = not task.recipe[:-1] or task.recipe[-2].get("by") == "channels"
        return found if named else dataclasses.replace(found, flash_bytes=40_000, quality=None)

    crew, budget = Crew(), Budget(flash_bytes=10_000)
    crew.candidate = whole
    found = run(tmp_path, budget, crew)
    assert 8_004 < found.best.flash_bytes <= 10_000
    opened = trials(tmp_path, budget)
    assert [outcome.flash_bytes for outcome in opened.kept(SMALLEST)] == [8_004]
    assert opened.kept(MOVES)
    none = run(tmp_path, budget, crew, dataclasses.replace(EFFORT, trials=0), name="none")
    assert none.reason == "no candidate was trained"


def test_an_unknown_latency_cannot_be_promised(tmp_path):
    crew = Crew()
    unknown = dataclasses.replace(candidate(Task(())), latency_us=None, quality=0.9)
    crew.result = lambda ticket: PROFILE if ticket.value is PROFILE else unknown
    found = run(tmp_path, Budget(latency_us=5.0), crew)
    assert found.best is None
    assert "latency on this target is not known" in found.reason


def test_too_much_loss_of_accuracy_is_said_with_how_much(tmp_path):
    found = run(tmp_path, Budget(flash_bytes=16_000, max_accuracy_drop=0.001))
    assert found.best is None
    assert not found.proved
    assert "points of accuracy on the validation samples, 0.10 are allowed" in found.reason
    assert found.nearest.fits(found.budget)


def test_without_limits_it_explores(tmp_path):
    found = run(tmp_path, Budget())
    assert len(found.front) >= 4
    assert found.best.quality == max(p.quality for p in found.points)
    assert sorted(found.front, key=lambda p: -p.quality) == list(found.front)


def test_the_best_is_quantized_in_other_ways_too(tmp_path):
    crew = Crew()
    found = run(tmp_path, Budget(flash_bytes=30_000), crew)
    ways = [task.recipe[-1] for task in crew.tasks[-2:]]
    assert ways[0]["rounding"] == "adaround"
    assert ways[1]["epochs"] == 4
    assert found.best.recipe[-1]["rounding"] == "adaround"


def test_progress_has_the_best_so_far_also_of_finalists(tmp_path):
    said = []
    opened, budget = study(tmp_path), Budget(flash_bytes=30_000)
    Search(problem(), Crew(), opened, budget, EFFORT, said.append).run()
    best = r"; best \d\d\.\d\d %, [\d,]+ B of flash"
    assert re.fullmatch(f"training the best 3 for 20 epochs{best}", said[-2])
    assert re.fullmatch(f"quantizing the best in other ways{best}", said[-1])


def test_a_candidate_that_cannot_be_built_is_left_out(tmp_path):
    def fails(task):
        faulty = any(row.get("criterion") == "l1" for row in task.recipe)
        return InputError("l1: does not work here") if faulty and task.epochs else None

    found = run(tmp_path, Budget(flash_bytes=30_000), Crew(fails=fails))
    assert found.failed == ("l1: does not work here",)
    assert found.best is not None


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"timeout_s": 0.0}, "no candidate was trained: the time limit was reached"),
        ({"trials": 0}, "no candidate was trained"),
    ],
)
def test_without_a_trial_the_closest_is_what_was_costed(tmp_path, limit, reason):
    budget = Budget(flash_bytes=30_000)
    found = run(tmp_path, budget, effort=dataclasses.replace(EFFORT, **limit))
    assert trials(tmp_path, budget).ended == 0
    assert found.best is None
    assert found.reason == reason
    assert 25_000 < found.nearest.flash_bytes <= 30_000


def test_time_counts_from_the_start_and_leaves_some_to_finalists(tmp_path, monkeypatch):
    def begun(timeout_s, name):
        crew = TimedCrew(monkeypatch)
        effort = dataclasses.replace(EFFORT, timeout_s=timeout_s)
        run(tmp_path, Budget(flash_bytes=60_000), crew, effort, name)
        short = [task for task in crew.tasks[1:] if task.epochs == EFFORT.short_epochs]
        return len(short), len([task for task in crew.tasks if task.epochs == EFFORT.epochs])

    assert begun(6.0, "six") == (3, 2)  # the baseline takes the first of the four seconds
    assert begun(1e6, "long") == (EFFORT.trials, EFFORT.finalists)


def test_costing_leaves_its_time_to_training(tmp_path, monkeypatch):
    """More structures are costed the more time there is, and something is trained in any case."""
    counts = []
    for timeout_s in (17.0, 80.0, 800.0):
        crew = TimedCrew(monkeypatch)
        effort = dataclasses.replace(EFFORT, timeout_s=timeout_s)
        found = run(tmp_path, Budget(flash_bytes=30_000), crew, effort, name=str(timeout_s))
        assert found.best.epochs == EFFORT.epochs and found.best.fits(found.budget)
        assert crew.now < timeout_s
        counts.append(sum(not task.epochs for task in crew.tasks))
    assert counts == sorted(set(counts))
    assert not found.failed


def test_structures_that_cannot_fit_are_no_candidates(tmp_path, monkeypatch):
    """Factors are large here; the first search has no time to find out, the second has."""

    def large(task, found):
        if not ranks(task):
            return found
        return dataclasses.replace(found, flash_bytes=found.flash_bytes + 40_000, quality=None)

    for timeout_s in (17.0, None):
        crew = TimedCrew(monkeypatch)
        timed = crew.candidate
        crew.candidate = lambda task, timed=timed: large(task, timed(task))
        effort = dataclasses.replace(EFFORT, timeout_s=timeout_s)
        found = run(tmp_path, Budget(flash_bytes=30_000), crew, effort)
        assert found.best is not None and not found.failed
        assert not [task for task in crew.tasks if ranks(task) and task.epochs]


def test_a_network_that_was_tried_before_is_no_trial(tmp_path):
    """Every choice comes to one of two networks: both are found, and the search ends."""

    def two(task):
        found = candidate(Task(task.recipe[-1:], task.epochs, task.limits))
        fits = bool(task.recipe[:-1])
        return dataclasses.replace(found, flash_bytes=10 if fits else 48_000, quality=0.9)

    crew = Crew()
    crew.submit = lambda work, *given: (
        Ticket(PROFILE) if work is profile else Ticket([] if work is moves else two(given[0]))
    )
    run(tmp_path, Budget(flash_bytes=100), crew)
    opened = trials(tmp_path, Budget(flash_bytes=100))
    assert opened.different < 8 <= opened.ended <= 16 + crew.size


def test_a_finalist_that_does_not_fit_makes_room_for_the_next(tmp_path):
    def tables(task):
        """What is trained for long keeps long tables when little is pruned."""
        found = candidate(Task(task.recipe, task.epochs))
        settles = found.flash_bytes < 29_900
        return dataclasses.replace(
            found,
            flash_bytes=found.flash_bytes + 100 * (not settles or task.epochs < EFFORT.epochs),
            table_bytes=600 if task.recipe[:-1] else 500,
        )

    crew = Crew()
    crew.candidate = tables
    budget = Budget(flash_bytes=30_000)
    found = run(tmp_path, budget, crew)
    long = [outcome for outcome in trials(tmp_path, budget).kept(FINALISTS) if outcome.epochs]
    assert found.best.fits(budget)
    assert any(outcome.flash_bytes > 30_000 for outcome in long)
    assert sum(outcome.flash_bytes <= 30_000 for outcome in long) >= 3


def test_networks_with_blocks_gone_lose_no_more_than_they_must(tmp_path):
    """Without its block the network fits as it is, with it much must go."""

    def removable(task):
        body = tuple(row for row in task.recipe if row["pass"] != "remove_blocks")
        found = candidate(Task(body, task.epochs))
        if body == task.recipe:
            return found
        quality = None if found.quality is None else found.quality - 0.005
        return dataclasses.replace(
            found, recipe=task.recipe, flash_bytes=found.flash_bytes - 20_000, quality=quality
        )

    crew = Crew()
    crew.candidate = removable
    budget = Budget(flash_bytes=28_000)
    found = run(tmp_path, budget, crew)
    sizes = [point.flash_bytes for point in found.points if point.recipe[0]["pass"] != "quantize"]
    tried = {point.recipe[0]["pass"] for point in found.points}
    assert tried >= {"remove_blocks", "prune"}
    assert min(sizes) > 28_000 - 7_000  # 15 % more of 40,000 B than must
    assert found.best.recipe[0]["pass"] == "remove_blocks"
    assert not [row for row in found.best.recipe if row["pass"] == "prune"]


def ranks(task):
    """The energies of low rank in a task's recipe."""
    return [row["energy"] for row in task.recipe if row["pass"] == "low_rank"]


@pytest.mark.parametrize("error", [ModelError("it cannot be done"), LostError("a worker died")])
@pytest.mark.parametrize("energies", [[0.95], [0.99, 0.95, 0.9]])
def test_structures_that_cannot_be_costed_are_left_out(tmp_path, error, energies):
    def fails(task):
        pruned = any(row.get("by") == "bytes" for row in task.recipe)
        return error if set(ranks(task)) & set(energies) and pruned and not task.epochs else None

    budget = Budget(flash_bytes=30_000)
    found = run(tmp_path, budget, Crew(fails=fails))
    assert found.best is not None
    (message,) = found.failed
    assert message.startswith(str(error))
    tried = [rank for point in found.points for rank in ranks(point)]
    assert not set(tried) & set(energies)
    assert bool(tried) == (len(energies) < 3)
    assert trials(tmp_path, budget).different == 8


def test_a_smallest_network_that_cannot_be_costed_is_no_proof(tmp_path):
    def fails(task):
        return ModelError("it cannot be done") if ranks(task) == [0.95] else None

    found = run(tmp_path, Budget(flash_bytes=7_000), Crew(fails=fails))
    assert found.best is None and not found.proved
    assert "not even the smallest network" in found.reason
    assert found.failed == ("it cannot be done",)
    with pytest.raises(ModelError, match="no small network can be costed: it cannot be done"):
        all_fail = Crew(fails=lambda t: ModelError("it cannot be done") if t.recipe[:-1] else None)
        run(tmp_path, Budget(flash_bytes=7_000), all_fail, name="all")


class Unsure(Crew):
    """No training shortens the table of what has lost much to the original's 500 B; what is not
    trained has one of 6,000 B."""

    def __init__(self):
        super().__init__()
        self.candidate = self._unsure

    def _unsure(self, task):
        pruned = bool(task.recipe[:-1])
        found = candidate(Task(task.recipe, task.epochs))
        table = 4_500 if pruned else 500
        untrained = 6_000 if pruned else 500
        shape = dataclasses.replace(
            found,
            flash_bytes=found.flash_bytes + untrained - 500,
            table_bytes=untrained,
            epochs=0,
            quality=None,
        )
        if not task.epochs or not shape.settled(task.table_bytes).fits(task.limits):
            return shape
        return dataclasses.replace(
            found, flash_bytes=found.flash_bytes + table - 500, table_bytes=table
        )


def test_finalists_that_keep_long_tables_make_those_come_next_that_fit_with_them(tmp_path):
    crew, budget = Unsure(), Budget(flash_bytes=30_000)
    found = run(tmp_path, budget, crew)
    finals = trials(tmp_path, budget).kept(FINALISTS)
    assert all(outcome.epochs == EFFORT.epochs for outcome in finals)
    assert not any(outcome.fits(budget) for outcome in finals[:2])
    assert found.best.fits(budget) and found.best.epochs == EFFORT.epochs


def test_a_finalist_that_fails_makes_room_for_the_next(tmp_path):
    budget = Budget(flash_bytes=30_000)
    first = run(tmp_path, budget, name="whole").best.recipe[:-1]

    def fails(task):
        long = task.epochs == EFFORT.epochs
        return InputError("it fell over") if long and task.recipe[:-1] == first else None

    found = run(tmp_path, budget, Crew(fails=fails))
    assert found.failed == ("it fell over",)
    assert found.best.epochs == EFFORT.epochs
    long = {json.dumps(outcome.recipe[:-1]) for outcome in trials(tmp_path, budget).kept(FINALISTS)}
    assert len(long) == 3

    def all_fail(task):
        return InputError("it fell over") if task.epochs == EFFORT.epochs else None

    with pytest.raises(ModelError, match="no finalist can be trained: it fell over"):
        run(tmp_path, budget, Crew(fails=all_fail), name="none")
