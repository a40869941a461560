"""The accuracy gate on real builds: each kind of spoiling is caught, with its cause.

`benchmarks/accuracy_gate.py` spoils three tasks in fifteen ways each; these are some of them, and
the kinds of failure that were found in public reports.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import edgebuild
from edgebuild.models import causes
from edgebuild.report.advice import check_failure
from edgebuild.report.model import report_from_json
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.gate_tasks import SPOILED, TASKS


@pytest.mark.parametrize("name", TASKS)
def test_no_false_alarm(tmp_path, name):
    report = TASKS[name]().build(tmp_path)
    assert report.passed and report.gate.losses == () and report.gate.departure is None


@pytest.mark.parametrize(
    ("task", "way", "loss", "tensor"),
    [
        ("classes", "one value", "accuracy-drop", "x"),
        ("classes", "a large channel", "accuracy-drop", "hidden"),
        ("values", "an input's unit", "similarity", "x"),
        ("values", "too small", "similarity", "x"),
        ("boxes", "joined outputs", "similarity", "box"),
        ("boxes", "a large weight", "similarity", "box"),
        ("values", "one value everywhere", "error", "x"),
        ("values", "the same, no labels", "similarity", "x"),
        ("boxes", "four bad samples", "similarity", "x"),
    ],
    ids=[
        "outlier",
        "outlier_channels",
        "regression_scales",
        "narrow",
        "box_score_concat",
        "weights",
        "bad_judging_sample",
        "bad_judging_sample_without_labels",
        "bad_judging_samples",
    ],
)
def test_what_spoils_a_task_is_caught_and_named(tmp_path, task, way, loss, tensor):
    spoil, cause = SPOILED[way]
    report = spoil(TASKS[task]()).build(tmp_path)
    assert not report.passed
    assert loss in {found.kind for found in report.gate.losses}
    assert cause in {found.kind for found in report.gate.causes}
    assert report.gate.departure is not None
    if tensor is not None:
        assert report.gate.departure.tensor == tensor
    failure = check_failure(report)
    assert failure.exit_code == 1 and "--no-accuracy-gate turns the check off" in failure.hint
    assert any(found.sentence in failure.details for found in report.gate.causes)


def test_one_bad_sample_is_named_with_its_place_and_value(tmp_path):
    """Also where one data set calibrates and judges: the sample is among those that are drawn."""
    task = TASKS["classes"]()
    task.calibration[7, 2] = 1e4
    report = task.build(tmp_path)
    (cause,) = report.gate.causes
    assert cause.kind == causes.OUTLIER
    assert cause.sentence.startswith("sample 7 of the calibration data has 10000 at [2] of input")
    assert "quantize:calibration=percentile" in cause.remedy


@pytest.mark.parametrize(
    ("limit", "budget", "named"),
    [
        ("min_similarity", 0.99, "similarity"),
        ("max_error_increase", 0.05, "error-increase"),
    ],
)
def test_a_bad_sample_that_judges_hides_nothing_from_a_budget(tmp_path, limit, budget, named):
    """On all samples the similarity is 1.0000 and the error does not rise."""
    spoil, cause = SPOILED["one value everywhere"]
    report = spoil(TASKS["values"]()).build(tmp_path, budget={limit: budget})
    assert report.similarity.least[0] > 0.99 and abs(report.regression.worst.increase) < 0.05
    assert [violation.budget for violation in report.violations] == [named]
    assert "without the outlying sample 7" in report.violations[0].value.source
    assert cause in {found.kind for found in report.gate.causes}


def test_a_bad_sample_that_only_judges_is_the_cause_and_named(tmp_path):
    task = TASKS["values"]()
    task.x[9, 2] = 1e5
    report = task.build(tmp_path)
    (cause,) = report.gate.causes
    assert not report.passed and cause.kind == causes.OUTLIER
    assert cause.sentence.startswith("in the evaluation data sample 9 has 100000 at [2]; without")
    assert "without the outlying sample 9 the similarity is 0.99" in cause.sentence
    assert check_failure(report).hint.startswith("correct or remove that sample")


def test_the_ladder_mends_what_one_bad_sample_spoils_in_one_data_set(tmp_path):
    """A sample in the part that calibrates; the baseline is right but for it."""
    task = TASKS["values"]()
    task.x[5, 2] = 1e5
    (tmp_path / "net.tflite").write_bytes(task.model())
    np.savez(tmp_path / "data.npz", x=task.x.astype(np.float32), **task.labels)
    options = {"target": "host", "run": "none", "data": str(tmp_path / "data.npz")}
    report = edgebuild.build(tmp_path / "net.tflite", out=tmp_path / "build", **options)
    assert report.ladder.reasons[0].startswith("without the outlying sample 5, output")
    assert report.passed and report.metrics.similarity.value > 0.98
    assert report.baseline.bad[0].startswith("sample 5 has 100000 at [2]; without it the range")
    assert report.baseline.usual > 0.5 and report.baseline.scale == ""
    assert report_from_json(json.loads(json.dumps(report.to_json()))).baseline == report.baseline


def test_a_gate_that_is_off_says_what_it_would_have_said(tmp_path):
    spoil, cause = SPOILED["one value"]
    report = spoil(TASKS["classes"]()).build(tmp_path, accuracy_gate=False)
    assert report.passed and report.gate.losses
    assert cause in {found.kind for found in report.gate.causes}


def test_the_same_on_a_phone(tmp_path):
    """LiteRT runs what is shipped there; its float formats lose nothing."""
    spoil, cause = SPOILED["one value"]
    task = spoil(TASKS["classes"]())
    report = task.build(tmp_path, target="android-cpu", format="int8")
    assert not report.passed and cause in {found.kind for found in report.gate.causes}
    assert task.build(tmp_path, target="android-cpu", format="float16").passed


def test_labels_of_each_output_judge_it(tmp_path):
    report = TASKS["boxes"]().build(tmp_path)
    assert report.accuracy.output == "kind" and report.accuracy.drop.value < 0.02
    assert [row.output for row in report.regression.outputs] == ["box"]
    assert {row.output for row in report.similarity.channels} == {"box"}
    assert len(report.regression.channels) == 4
    assert np.isfinite(report.metrics.error_increase.value)


def test_the_baseline_of_every_output_is_reviewed(tmp_path):
    """The second output's labels belong to other samples."""
    task = TASKS["boxes"]()
    labels = {**task.labels, "kind": np.random.default_rng(0).permutation(task.labels["kind"])}
    report = dataclasses.replace(task, labels=labels).build(tmp_path)
    assert (report.baseline.output, report.baseline.measure) == ("kind", "accuracy")
    assert report.baseline.sentence.startswith("output 'kind': the float model's accuracy of 3")
    assert report.baseline.others == ()


def test_a_dead_output_is_told_and_nothing_contradicts_it(tmp_path):
    """XNNPACK refuses scales as small as its; LiteRT's own kernels, and generated C, run them."""
    task = TASKS["values"]()
    w, b, _ = task.heads["y"]
    graph = read_tflite(dataclasses.replace(task, heads={"y": (w, b - 1e3, "")}).model())
    fused = {"fused_activation_function": "RELU"}
    ops = tuple(dataclasses.replace(op, attrs={**op.attrs, **fused}) for op in graph.ops)
    (tmp_path / "net.tflite").write_bytes(write_tflite(graph.replace(ops=ops)))
    np.savez(tmp_path / "data.npz", x=task.x.astype(np.float32))
    options = {"target": "host", "run": "none", "data": str(tmp_path / "data.npz")}
    report = edgebuild.build(tmp_path / "net.tflite", out=tmp_path / "build", **options)
    assert report.passed and report.ladder is None
    assert report.baseline.measure == "constant"
    assert report.metrics.similarity.value == 1.0
