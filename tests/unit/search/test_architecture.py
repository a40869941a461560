"""Searches of other widths and depths."""

import dataclasses

from edgebuild.budget import Budget
from edgebuild.search.attempts import FINALISTS, MOVES

from .formulas import EFFORT, Crew, TimedCrew, candidate, run, study


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
    crew = TimedCrew(monkeypatch)
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
