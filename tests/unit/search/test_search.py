"""The search's logic over candidates whose costs are formulas: no training, no compiler."""

import dataclasses
import hashlib
import json
import re
import sqlite3

import numpy as np
import pytest

from edgebuild.budget import Budget
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError, ModelError, ToolError
from edgebuild.search.attempts import FINALISTS, MOVES, SMALLEST, Effort
from edgebuild.search.crew import LostError
from edgebuild.search.evaluate import evaluate
from edgebuild.search.moves import moves
from edgebuild.search.problem import Outcome, Problem, Task
from edgebuild.search.profiling import ModelProfile, profile
from edgebuild.search.ranking import best_of, pareto
from edgebuild.search.run import Search
from edgebuild.search.space import Space
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
            return _Ticket(error=LostError("a worker died"))
        if work is profile:
            return _Ticket(PROFILE)
        if work is moves:
            return _Ticket(fewer(arguments[0]))
        assert work is evaluate
        self.tasks.append(arguments[0])
        error = self._fails(arguments[0])
        return _Ticket(self.candidate(arguments[0]), error)

    def wait(self, tickets, timeout_s):
        return {next(iter(tickets))}

    def result(self, ticket):
        if ticket.error is not None:
            raise ticket.error
        return ticket.value


class _Ticket:
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


def test_a_budget_that_the_model_keeps_is_explored(tmp_path):
    budget = Budget(flash_bytes=60_000, ram_bytes=60_000)
    found = run(tmp_path, budget)
    assert len(found.front) >= 4
    assert found.best.quality >= found.baseline.quality
    assert min(point.flash_bytes for point in found.front) < 30_000
    assert trials(tmp_path, budget).different == EFFORT.trials
    widths = run(tmp_path, budget, name="nas", architecture=True)
    assert len(widths.points) > EFFORT.trials


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
        "block gone) fits; it needs flash 8,004 B of 8,001 B"
    )
    # Beside the original: the smallest network, with its layers whole and as factors.
    assert [task.recipe[1]["pass"] for task in crew.tasks[1:]] == ["prune", *["low_rank"] * 3]


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


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"timeout_s": 0.0}, "no candidate was trained: the time was over"),
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
    """Every task takes a second of a clock that only tasks move."""
    clock = [0.0]
    monkeypatch.setattr("edgebuild.search.attempts.time.monotonic", lambda: clock[0])

    def slow(task):
        clock[0] += 1.0
        return candidate(task)

    def begun(timeout_s, name):
        crew = Crew(size=1)
        crew.candidate, clock[0] = slow, 0.0
        effort = dataclasses.replace(EFFORT, timeout_s=timeout_s)
        run(tmp_path, Budget(flash_bytes=60_000), crew, effort, name)
        short = [task for task in crew.tasks[1:] if task.epochs == EFFORT.short_epochs]
        return len(short), len([task for task in crew.tasks if task.epochs == EFFORT.epochs])

    assert begun(6.0, "six") == (3, 2)  # the baseline takes the first of the four seconds
    assert begun(1e6, "long") == (EFFORT.trials, EFFORT.finalists)


def scales(recipe):
    return any(row["pass"] == "scale" for row in recipe)


def test_architecture_is_one_more_stage(tmp_path):
    """Half of what is sampled is scaled; all is in one front, and finalists are of both."""
    crew, budget = Crew(), Budget(flash_bytes=30_000)
    found = run(tmp_path, budget, crew, architecture=True)
    short = [t.recipe for t in crew.tasks[1:] if t.epochs == EFFORT.short_epochs]
    assert any(r[0]["pass"] == "prune" for r in short)
    assert any(r[0]["pass"] == "scale" and r[0]["width"] < 1 for r in short)
    opened = study(tmp_path)
    for stage in ("nas", "scaled"):
        sampled = opened.trials(budget, EFFORT.short_epochs, stage)
        assert sampled.different == 4
        assert all(scales(o.recipe) == (stage == "scaled") for _, o in sampled.finished())
    assert {scales(point.recipe) for point in found.points[1:]} == {False, True}
    finals = opened.trials(budget, EFFORT.short_epochs, "nas").kept(FINALISTS)
    assert {scales(o.recipe) for o in finals} == {False, True}
    again = Crew()
    assert run(tmp_path, budget, again, architecture=True) == found
    assert not again.tasks


def test_without_limits_architecture_is_half_of_the_trials(tmp_path):
    run(tmp_path, Budget(), architecture=True)
    opened = study(tmp_path)
    for stage in ("nas", "scaled"):
        assert opened.trials(Budget(), EFFORT.short_epochs, stage).different == 6


def test_both_stages_have_their_time(tmp_path, monkeypatch):
    """Every task takes a second of a clock that only tasks move."""
    clock = [0.0]
    monkeypatch.setattr("edgebuild.search.attempts.time.monotonic", lambda: clock[0])

    def slow(task):
        clock[0] += 1.0
        return candidate(task)

    crew = Crew(size=1)
    crew.candidate = slow
    effort = dataclasses.replace(EFFORT, timeout_s=13.5)  # a baseline and eight trials
    run(tmp_path, Budget(), crew, effort, architecture=True)
    short = [scales(t.recipe) for t in crew.tasks[1:] if t.epochs == EFFORT.short_epochs]
    assert short == [False] * 4 + [True] * 4


def test_scaled_networks_are_pruned_and_moved_from(tmp_path):
    def narrow(task):
        """Networks that are narrower and pruned are better here."""
        found = candidate(task)
        both = scales(task.recipe) and len(task.recipe) == 3
        better = 0.0 if found.quality is None else found.quality + 0.2 * both
        return dataclasses.replace(found, quality=better or None)

    crew, budget = Crew(), Budget(flash_bytes=30_000)
    crew.candidate = narrow
    effort = dataclasses.replace(EFFORT, trials=24)
    found = run(tmp_path, budget, crew, effort, architecture=True)
    moved = study(tmp_path).trials(budget, EFFORT.short_epochs, "nas").kept(MOVES)
    assert any(scales(o.recipe) and o.quality is not None for o in moved)
    assert scales(found.best.recipe)
    assert found.best.fits(budget)


def test_a_study_of_another_problem_is_refused(tmp_path):
    study(tmp_path)
    message = "is of another model, data set, target, training or edgebuild"
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


def test_pareto_keeps_what_nothing_beats():
    a = Outcome((), 1, flash_bytes=10, ram_bytes=10, latency_us=1.0, quality=0.9)
    worse = dataclasses.replace(a, flash_bytes=11)
    smaller = dataclasses.replace(a, flash_bytes=5, quality=0.8)
    untrained = dataclasses.replace(a, quality=None)
    assert pareto([worse, smaller, a, untrained, a]) == (a, smaller)
    assert best_of([worse, smaller, a, untrained], Budget()) == a
    assert best_of([a], Budget(flash_bytes=9)) is None


def test_effort_follows_the_size_of_the_data_set():
    small = Effort().for_samples(300, 16)
    large = Effort().for_samples(50_000, 128)
    assert (small.short_epochs, small.epochs) == (17, 100)
    assert (large.short_epochs, large.epochs) == (1, 11)
    assert Effort(epochs=3, short_epochs=2).for_samples(300, 16).epochs == 3


def test_recipes_hold_only_what_is_chosen():
    space = Space(blocks=2, wide_layers=True, normalized=True)
    assert space.recipe(space.neutral()) == (
        {"pass": "quantize", "calibration": "min-max", "rounding": "nearest"},
    )
    steps = [row["pass"] for row in space.recipe(space.neutral(bytes=0.5, blocks=1, energy=0.9))]
    assert steps == ["remove_blocks", "low_rank", "prune", "quantize"]
    assert [k.name for k in Space().knobs] == [
        "ram", "bytes", "cycles", "criterion", "sensitivity", "calibration", "rounding",
    ]  # fmt: skip


def test_recipes_of_an_architecture_scale_prune_and_quantize():
    space = Space(architecture=True)
    choice = space.neutral(width=0.5)
    assert [row["pass"] for row in space.recipe(choice)] == ["scale", "quantize"]
    assert space.recipe({**choice, "prune": "ram"})[1] == {
        "pass": "prune", "by": "ram", "ratio": 0.3,
    }  # fmt: skip
    (whole,) = space.reductions()
    assert [row["pass"] for row in space.smallest(whole)] == ["scale", "prune", "quantize"]


def test_excess_is_a_share_of_the_limit():
    outcome = Outcome((), 0, flash_bytes=110, ram_bytes=50)
    found = outcome.excess(Budget(flash_bytes=100, ram_bytes=100, latency_us=1.0))
    assert found == pytest.approx({"flash": 0.1, "ram": -0.5, "latency": 1.0})
    assert Outcome((), 0, too_large="no").excess(Budget()) == {"link": 1.0}


def test_a_network_that_was_tried_before_is_no_trial(tmp_path):
    """Every choice comes to one of two networks: both are found, and the search ends."""

    def two(task):
        found = candidate(Task(task.recipe[-1:], task.epochs, task.limits))
        fits = bool(task.recipe[:-1])
        return dataclasses.replace(found, flash_bytes=10 if fits else 48_000, quality=0.9)

    crew = Crew()
    crew.submit = lambda work, *given: (
        _Ticket(PROFILE) if work is profile else _Ticket([] if work is moves else two(given[0]))
    )
    run(tmp_path, Budget(flash_bytes=100), crew)
    opened = trials(tmp_path, Budget(flash_bytes=100))
    assert opened.different < 8 <= opened.ended <= 16 + crew.size


def test_tables_of_softmax_are_expected_to_become_those_of_the_original():
    """A candidate that fits only with shorter tables is trained all the same."""
    flat = Outcome((), 0, flash_bytes=1000, table_bytes=400)
    assert flat.settled(None) is flat
    assert flat.settled(300).flash_bytes == 900
    assert flat.settled(500).flash_bytes == 1000
    assert flat.settled(0).fits(Budget(flash_bytes=600))


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
