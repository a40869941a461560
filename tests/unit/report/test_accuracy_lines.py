"""Accuracy on a terminal: what matters in a few lines of 80 columns."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console

from edgebuild.budget import Budget
from edgebuild.report.accuracy_lines import (
    accuracy_lines,
    gate_lines,
    regression_lines,
    similarity_lines,
)
from edgebuild.report.advice import check_failure
from edgebuild.report.gate import AccuracyGate, Cause, Departure, Loss
from edgebuild.report.judge import accuracy_report
from edgebuild.report.model import report_from_json
from edgebuild.report.outputs import regression_report, similarity_report
from edgebuild.report.terminal import render_report
from tests.conftest import ROOT
from tests.unit.report.reports import figure, report
from tests.unit.report.test_judge import NONE, data_of, judged


def shown(parts):
    file = io.StringIO()
    console = Console(file=file, width=80, markup=False, highlight=False, emoji=False)
    for part in parts:
        console.print(part)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    return [line.rstrip() for line in lines]


LABELS = np.repeat([0, 1, 2], [1500, 1500, 30])


def made(after, budget=NONE, before=(7,), **slices):
    names = ("shirt", "coat", "bag")
    return accuracy_report(
        judged(LABELS, before=before, after=after), data_of(3030, names, **slices), budget
    )


def test_a_class_that_surely_lost():
    lines = shown(accuracy_lines(made([*range(60)])))
    assert lines[:4] == [
        "accuracy on 3,030 samples: float 99.97%, generated C 98.02%",
        "accuracy drop 1.95 points (95 %: 1.51 to 2.50, 3,030 samples)",
        "  worst class 'shirt': 3.93 points (3.06 to 5.04, 1,500 samples), significant",
        "warning: too few samples in 1 of 3 classes to measure a drop of 5 points: class",
    ]


def test_a_small_class_hides_no_sure_one():
    lines = shown(accuracy_lines(made([*range(60), 3000, 3001])))
    assert (
        lines[2] == "  worst class 'bag': 6.67 points (-5.44 to 21.32, 30 samples), may be chance"
    )
    assert lines[3] == (
        "  worst beyond chance class 'shirt': 3.93 points (3.06 to 5.04, 1,500 samples)"
    )


def test_slices():
    lines = shown(accuracy_lines(made(range(60), light=["day"] * 3000 + ["night"] * 30)))
    assert any(line.startswith("  worst slice light 'day': 1.97 points (") for line in lines)


def test_the_example_in_the_documentation():
    light = np.full(3030, "day  ")
    light[:3] = light[1500:1917] = "night"
    lines = shown(accuracy_lines(made(range(60), light=np.char.strip(light))))
    block = (ROOT / "docs" / "accuracy.md").read_text().split("```")[1].strip().splitlines()
    assert lines == block


def test_nothing_was_lost():
    lines = shown(accuracy_lines(made([7], light=["day"] * 3030)))
    assert lines[1] == "accuracy drop 0.00 points (95 %: -0.13 to 0.13, 3,030 samples)"
    assert lines[2:4] == ["  no class lost accuracy", "  no slice lost accuracy"]


def test_without_a_baseline_the_accuracy_has_its_interval():
    lines = shown(accuracy_lines(made(range(60), before=None)))
    assert lines == ["accuracy on 3,030 samples: generated C 98.02% (95 %: 97.46 to 98.46 %)"]


def test_names_are_harmless():
    hostile = data_of(3030, ("\x1b[31mred\n" + "x" * 200,))
    found = accuracy_report(judged(LABELS, before=[], after=range(60)), hostile, NONE)
    text = "\n".join(shown(accuracy_lines(found)))
    assert "\x1b" not in text and "\\x1b[31mred" in text and "x" * 80 not in text


def test_similarity():
    rng = np.random.default_rng(0)
    original = rng.normal(size=(40, 3))
    data = data_of(40, light=["day"] * 30 + ["night"] * 10)
    one = similarity_report([("y", original + 0.1, original)], data)
    lines = shown(similarity_lines(one))
    assert len(lines) == 2 and lines[0].startswith("similarity to the original 0.98")
    assert "(95 %: " in lines[0] and lines[0].endswith(", 40 samples)")
    assert lines[1].startswith("  worst slice light '")
    many = similarity_report([(f"y{i}", original, original) for i in range(6)], data_of(40))
    lines = shown(similarity_lines(dataclasses.replace(many, is_random=True)))
    assert lines[0].startswith("output 'y0': similarity to the original 1.0000")
    assert lines[1] == "random samples)"
    assert lines[-1] == "... 2 more outputs in report.json"


@pytest.mark.parametrize("before", [(7,), None])
def test_a_report_with_all_of_it_comes_back_from_json(before):
    similarity = similarity_report(
        [("y", np.ones((2, 1)), np.zeros((2, 1)))], data_of(2, s=["a", "b"])
    )
    given = report(
        accuracy=made(range(60), before=before, unit=[str(i % 7) for i in range(3030)]),
        similarity=similarity,
    )
    again = report_from_json(json.loads(json.dumps(given.to_json(), allow_nan=False)))
    assert again.accuracy == given.accuracy and again.similarity == similarity
    assert again.to_json() == given.to_json()
    text = " ".join(shown(render_report(given)))
    assert ("accuracy drop 1.95" in text) == (before is not None)


def test_a_missed_budget_names_who_lost_most():
    budget = Budget(max_accuracy_drop=0.01, max_class_drop=0.03)
    given = report(budget, accuracy=made(range(60), budget))
    metrics = dataclasses.replace(given.metrics, class_drop=figure(0.0393, "ratio"))
    given = dataclasses.replace(given, metrics=metrics, violations=budget.check(metrics))
    assert any(line.startswith(" class drop") for line in shown(render_report(given)))
    failure = check_failure(given)
    assert "lost most: class 'shirt' 3.933 points (1,500 samples)" in failure.details
    assert failure.hint.endswith("--max-accuracy-drop")
    only = check_failure(dataclasses.replace(given, violations=given.violations[1:]))
    assert "class accuracy budget missed by 0.93 points" in only.message
    assert only.hint.endswith("--max-class-drop")
    unknown = Budget(max_class_drop=0.1)
    assert "data with labels" in check_failure(report(unknown, accuracy=None)).hint


def test_a_channel_of_few_values_is_told():
    rng = np.random.default_rng(0)
    original = rng.normal(size=(90, 2))
    ours = np.stack([original[:, 0], np.sign(original[:, 1])], axis=1)
    lines = shown(similarity_lines(similarity_report([("y", ours, original)], data_of(90))))
    assert lines[-2].startswith("  worst channel: channel 1, similarity 0.")
    assert lines[-1] == "  output 'y', channel 1 takes 2 distinct values, the float model's 90"


def test_errors_before_and_after():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(300, 1, 2))
    before, after = (labels + rng.normal(0, noise, labels.shape) for noise in (0.1, 0.2))
    found = regression_report([("y", after, before, labels)], data_of(300), Budget())
    text = " ".join(" ".join(shown(regression_lines(found))).split())
    assert text.startswith("error on 300 samples: MAE 0.0") and "R2 0.99" in text
    assert "; RMSE +" in text and "worst channel: output 'y', channel " in text
    alone = regression_report([("y", after, None, labels)], data_of(300), Budget())
    assert shown(regression_lines(alone))[0].startswith("error on 300 samples: MAE 0.1")
    many = Budget(max_error_increase=found.worst.increase)
    (warning,) = regression_report([("y", after, before, labels)], data_of(300), many).warnings
    assert warning.startswith("300 samples are too few to tell whether the error rises by at most")


LOST = AccuracyGate(
    True,
    (Loss("accuracy-drop", "50 points of accuracy are lost"), Loss("constant", "y is constant")),
    Departure("conv", "CONV_2D", 0.3, 0.99),
    (Cause("channels", "channel 3 is large", "quantize:equalize=true"),),
)


def test_what_the_gate_holds_against_a_build_is_the_error_and_not_repeated_above():
    given = report(gate=LOST)
    assert not given.passed and list(gate_lines(LOST)) == []
    failure = check_failure(given)
    assert failure.message == "net for cortex-m4: 50 points of accuracy are lost"
    assert failure.details == (
        "y is constant",
        "the tensor 'conv', made by CONV_2D, is where it is lost: similarity to the float model's "
        "0.300, of what it is computed from 0.990",
        "channel 3 is large",
    )
    assert failure.hint == (
        "quantize:equalize=true; --max-accuracy-drop sets another limit; --no-accuracy-gate turns "
        "the check off"
    )
    again = report_from_json(json.loads(json.dumps(given.to_json(), allow_nan=False)))
    assert again.gate == LOST and not again.passed


def test_a_gate_that_is_off_warns():
    given = report(gate=dataclasses.replace(LOST, enabled=False))
    assert given.passed and check_failure(given) is None
    lines = shown(render_report(given))
    assert "warning: y is constant (the accuracy gate is off)" in lines
