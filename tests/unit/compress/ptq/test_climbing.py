"""The ladder's climb: which rung mends what, where it ends, and what it is bound to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.budget import Budget
from edgebuild.compress.ladder import MIN_MAX, Climbed, Terms, climbed_from_json, terms_from_json
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.ptq.candidates import LITTLE_NOISE, NO_LOSS
from edgebuild.compress.ptq.climbing import climb
from edgebuild.compress.splits import Split
from edgebuild.tflite.reader import read_tflite
from tests.gate_tasks import SPOILED, TASKS, Task

NO_INT16 = "not tried: this target is given int8 alone"


def climbed(task: Task, said: list[str] | None = None, **terms: object) -> Climbed:
    """Climb with the task's calibration samples, choosing on 150 of those that judge."""
    y = list(task.labels.values())
    validation = Split(
        (task.x[:150].astype(np.float32),),
        y[0][:150] if y else None,
        more={i: labels[:150] for i, labels in enumerate(y) if i},
    )
    train = Split((task.calibration.astype(np.float32),), None)
    progress = (said if said is not None else []).append
    return climb(task.model(), train, validation, Terms(**{"int16": NO_INT16, **terms}), progress)


def rungs(found: Climbed) -> dict[str, object]:
    return {rung.name: rung for rung in found.rungs}


@pytest.mark.parametrize("name", TASKS)
def test_what_loses_nothing_needs_one_rung(name):
    said: list[str] = []
    found = climbed(TASKS[name](), said)
    assert [rung.name for rung in found.rungs] == [found.chosen] == [MIN_MAX]
    assert found.rungs[0].lost <= NO_LOSS and found.rungs[0].noise <= LITTLE_NOISE
    assert not found.preprocessing and found.notes == () and said == ["trying min-max"]
    assert (found.calibrated, found.validated) == (200, 150)
    measure = {"classes": "accuracy", "values": "R2", "boxes": "R2 and accuracy"}[name]
    assert found.measure == measure and 0.7 < found.baseline <= 1.0


@pytest.mark.parametrize(
    ("name", "way", "chosen"),
    [
        ("classes", "one value", "without 1 outlying sample"),
        ("values", "one sample", "without 1 outlying sample"),
        ("classes", "a large channel", "equalization, min-max"),
        ("values", "an input's unit", "input channels scaled"),
        ("classes", "input offset", "input channels scaled"),
    ],
)
def test_what_spoils_a_task_is_mended_by_its_rung(name, way, chosen):
    found = climbed(SPOILED[way][0](TASKS[name]()))
    first, shipped = found.rungs[0], rungs(found)[found.chosen]
    assert found.chosen == chosen
    assert first.name == MIN_MAX and (first.lost > 0.1 or first.noise > 0.1)
    assert shipped.lost <= 2 / 150 and shipped.noise < 0.05
    assert bool(found.preprocessing) == (chosen == "input channels scaled")


def test_the_shipped_bytes_are_those_that_were_measured():
    """Behind the preparation that they ask for; and they are the same each time."""
    task = SPOILED["an input's unit"][0](TASKS["values"]())
    found = climbed(task)
    x = found.preprocessing.apply((task.x[:150].astype(np.float32),))
    (ours,), (wanted,) = (
        run_reals(content, given)
        for content, given in (
            (found.content, x),
            (task.model(), (task.x[:150].astype(np.float32),)),
        )
    )
    noise = np.mean((ours - wanted) ** 2, axis=0) / wanted.var(axis=0)
    # The other channel has less than a hundredth of the variance, and is not judged.
    assert noise[1] == pytest.approx(rungs(found)[found.chosen].noise, rel=1e-3)
    assert {t.dtype.numpy for t in read_tflite(found.content).input_tensors} == {np.dtype(np.int8)}
    again = climbed(task)
    assert again.content == found.content and again.rungs == found.rungs


@pytest.mark.parametrize(
    "budget",
    [Budget(min_similarity=0.99999), Budget(max_error_increase=0.0)],
    ids=["similarity", "error"],
)
def test_a_limit_of_the_users_makes_it_go_on(budget):
    """As long as there are rungs: what is good enough by itself is not for the user."""
    task = TASKS["values"]()
    found = climbed(task, budget=budget)
    assert found.rungs[0].name == MIN_MAX and len(found.rungs) > 5
    assert rungs(found)["int16 activations"].note == NO_INT16
    tried = [rung for rung in found.rungs if rung.tried]
    assert rungs(found)[found.chosen].noise <= min(rung.noise for rung in tried) / 0.9
    loose = Budget(min_similarity=0.9, max_error_increase=9.0)
    assert len(climbed(task, budget=loose).rungs) == 1


def test_an_error_that_multiplies_is_worth_a_remedy_without_a_limit():
    """A float model that is all but right: int8's own step is most of the error."""
    whole = TASKS["values"]()
    weights, bias, last = whole.heads["y"]
    task = dataclasses.replace(whole, heads={"y": (weights[1:], bias[1:], last)})
    (exact,) = run_reals(task.model(), (task.x.astype(np.float32),))
    task = dataclasses.replace(task, labels={"y": exact})
    found = climbed(task)
    assert found.rungs[0].lost <= NO_LOSS and found.rungs[0].noise <= LITTLE_NOISE
    assert len(found.rungs) > 1
    assert len(climbed(task, budget=Budget(max_error_increase=1e3)).rungs) == 1


def test_unlike_parts_of_an_output_get_16_bits_where_those_run():
    task = SPOILED["joined outputs"][0](TASKS["boxes"]())
    found = climbed(task, int16="litert")
    assert found.chosen.startswith("int16 activations")
    assert found.rungs[0].noise > 0.05 > 0.01 >= rungs(found)[found.chosen].noise
    refused = climbed(task)
    (note,) = refused.notes
    assert "CONCATENATION" in note and "separate outputs" in note
    assert rungs(refused)["int16 activations"].note == NO_INT16


def test_it_travels_as_json():
    terms = Terms(100, 3, "litert", Budget(min_similarity=0.9))
    assert terms_from_json(terms.to_json()) == terms
    found = climbed(SPOILED["an input's unit"][0](TASKS["values"]()))
    again = climbed_from_json(found.to_json(), found.content)
    assert again.to_json() == found.to_json() and again.content == found.content
    assert again.preprocessing.steps.keys() == found.preprocessing.steps.keys() == {0}
