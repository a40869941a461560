"""What a missed budget or a difference is explained with."""

from __future__ import annotations

import dataclasses

import pytest

from edgebuild.budget import Budget, Metrics
from edgebuild.compress.ladder import Ladder, LadderRung
from edgebuild.report.accuracy import SimilarityReport
from edgebuild.report.advice import check_failure, gate_hint, weighs_most
from edgebuild.report.gate import AccuracyGate, Cause, Loss
from edgebuild.report.model import Comparison, CompilerTrial
from tests.unit.report.reports import figure, layer, report


def missed(**limits):
    return report(Budget(**limits).named("edgebuild.toml"))


def test_nothing_to_explain():
    assert check_failure(report()) is None


@pytest.mark.parametrize(
    ("limits", "message", "largest", "hint"),
    [
        (
            {"flash_bytes": 19_000},
            "flash budget missed by 1,000 B: needs 20,000 B (linked: zig 1: weights, code and "
            "runtime), budget 19,000 B from edgebuild.toml",
            "largest: layer 2 CONV_2D 200 B of weights, layer 1 CONV_2D 100 B of weights",
            "--max-flash",
        ),
        (
            {"ram_bytes": 4_000},
            "RAM budget missed by 1,000 B",
            "largest: layer 2 CONV_2D 502 B live, layer 1 CONV_2D 501 B live, "
            "layer 0 CONV_2D 500 B live",
            "--max-ram",
        ),
        (
            {"latency_us": 10_000.0},
            "latency budget missed by 2.35 ms",
            "largest: layer 2 CONV_2D 40 % of the time",
            "--max-latency",
        ),
        (
            {"max_accuracy_drop": 0.01},
            "accuracy budget missed by 0.25",
            None,
            "--max-accuracy-drop",
        ),
    ],
)
def test_a_missed_budget(limits, message, largest, hint):
    failure = check_failure(missed(**limits))
    assert failure.exit_code == 1
    assert failure.message.startswith(f"net for cortex-m4: {message}")
    if largest is None:
        assert failure.details == ()
    else:
        assert failure.details[0].startswith(largest)
    assert hint in failure.hint


def test_several_missed_budgets_are_all_told():
    failure = check_failure(missed(flash_bytes=1, ram_bytes=1, latency_us=1.0))
    text = str(failure)
    assert text.index("flash budget") < text.index("RAM budget") < text.index("latency budget")
    assert "--max-flash" in failure.hint


@pytest.mark.parametrize(
    ("limits", "hint"),
    [
        ({"latency_us": 1.0}, "--run simulator"),
        ({"max_accuracy_drop": 0.01}, "data with labels"),
        ({"flash_bytes": 1}, "choose a target whose profile has memory regions"),
    ],
)
def test_a_budget_that_cannot_be_checked(limits, hint):
    failure = check_failure(report(Budget(**limits), metrics=Metrics(),
                                   violations=Budget(**limits).check(Metrics())))  # fmt: skip
    assert "cannot be checked: the value is unknown" in failure.message
    assert hint in failure.hint


def test_a_difference_comes_first():
    comparison = Comparison("tflite-micro 1", "host", 8, 80, 3, "layer 1, CONV_2D (operator 1)")
    given = report(Budget(flash_bytes=1), comparison=comparison)
    failure = check_failure(given)
    assert failure.message == (
        "net for cortex-m4: 3 of 80 output bytes differ from those of tflite-micro 1"
    )
    assert failure.details[0] == "layer 1, CONV_2D (operator 1)"
    assert failure.details[1].startswith("flash budget missed")
    assert failure.hint == "report this as a bug, with the model"


def test_layers_that_cost_nothing_are_not_blamed():
    layers = (layer(0, parameter_bytes=0), layer(1, "ADD", parameter_bytes=0))
    given = report(Budget(flash_bytes=1), layers=layers)
    (violation,) = given.violations
    assert weighs_most(given, violation) == []


def test_a_flash_budget_that_code_misses_does_not_blame_the_weights():
    large = {"weights": figure(3_000), "code": figure(16_000), "runtime": figure(1_000)}
    budget = Budget(flash_bytes=19_000).named("edgebuild.toml")
    failure = check_failure(report(budget, flash=large))
    assert failure.details == (
        "code takes 17,000 B of it, weights 3,000 B; largest: eb_conv2d_s8 1,000 B",
    )
    assert failure.hint == (
        "install gcc (its code is often smaller; --toolchain auto tries both), fewer kinds of "
        "operators: each brings its own kernel, or --max-flash 20KiB"
    )
    tried = (CompilerTrial("zig", figure(20_000), kept=True), CompilerTrial("gcc", figure(21_000)))
    assert "install gcc" not in check_failure(report(budget, flash=large, compilers=tried)).hint


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        ("accuracy-drop", "--max-accuracy-drop sets another limit"),
        ("error", "--max-error-increase sets another limit"),
        ("similarity", "--min-similarity sets another limit"),
        ("constant", ""),
        ("not-finite", ""),
    ],
)
def test_each_kind_of_loss_has_a_way_on(kind, limit):
    hint = gate_hint(AccuracyGate(True, (Loss(kind, "y is lost"),)))
    assert (limit in hint) if limit else ("another limit" not in hint)
    assert "calibration data" in hint and hint.endswith("--no-accuracy-gate turns the check off")


def test_a_budget_of_accuracy_without_labels_asks_for_them():
    alike = SimilarityReport(100, ())
    given = report(Budget(max_accuracy_drop=0.01), similarity=alike)
    metrics = dataclasses.replace(given.metrics, accuracy_drop=None)
    unlabelled = dataclasses.replace(
        given,
        metrics=metrics,
        accuracy=None,
        regression=None,
        violations=given.budget.check(metrics),
    )
    assert "add an array y" in check_failure(unlabelled).hint
    without_data = dataclasses.replace(unlabelled, similarity=None)
    assert "--data set.npz with x and y" in check_failure(without_data).hint


def test_layers_that_cost_next_to_nothing_are_not_named():
    layers = tuple(layer(i, parameter_bytes=size) for i, size in enumerate((5_000, 90, 4_000)))
    given = report(Budget(flash_bytes=1_000), layers=layers, flash={})
    (line,) = weighs_most(given, given.violations[0])
    assert "5,000 B" in line and "4,000 B" in line and "90 B" not in line


def test_what_the_ladder_tried_in_vain_is_not_advised():
    """A remedy that was not tried stays, and one that has nothing left is dropped."""
    gate = AccuracyGate(True, (Loss("similarity", "lost"),))
    ladder = Ladder(("lost",), rungs=(LadderRung("percentile 99.99", 0.1, 0.1),))
    rounded = LadderRung("adaptive rounding", 0.1, 0.1)
    assert "more and typical" in gate_hint(gate) and "rounding=adaround" in gate_hint(gate)
    hint = gate_hint(gate, ladder)
    assert "more and typical" not in hint and "rounding=adaround" in hint
    ladder = dataclasses.replace(ladder, rungs=(*ladder.rungs, rounded))
    assert gate_hint(gate, ladder).startswith("training with integers: --compress quantize:epochs")
    skipped = dataclasses.replace(ladder, rungs=(LadderRung("adaptive rounding", note="minutes"),))
    assert "rounding=adaround" in gate_hint(gate, skipped)
    remedy = "correct or remove that sample, or --compress quantize:calibration=percentile"
    gate = dataclasses.replace(gate, causes=(Cause("outlier", "sample 7", remedy),))
    assert gate_hint(gate, ladder).startswith("correct or remove that sample; --min-similarity")


def test_a_missed_budget_of_quality_is_met_with_its_causes():
    missed_one = report(Budget(max_accuracy_drop=0.01).named("edgebuild.toml"))
    gate = AccuracyGate(True, causes=(Cause("joined", "two parts", "make them separate outputs"),))
    failure = check_failure(dataclasses.replace(missed_one, gate=gate))
    assert failure.hint == "make them separate outputs; or raise --max-accuracy-drop"
