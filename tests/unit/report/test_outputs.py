"""Similarity channel by channel, outputs that have become constant, errors by labels."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from edgebuild.budget import Budget
from edgebuild.report.accuracy import similarity_from_json
from edgebuild.report.gate import find_losses
from edgebuild.report.outputs import (
    MOST_CHANNELS,
    constant_parts,
    regression_report,
    similarity_report,
    without_outliers,
)
from edgebuild.report.regression import regression_from_json
from tests.unit.report.test_judge import NONE, data_of

RNG = np.random.default_rng(0)
BOXES = RNG.uniform(0, 300, (60, 9, 4))
SCORES = RNG.uniform(0, 1, (60, 9, 2))
JOINED = np.concatenate([BOXES, SCORES], axis=-1)
STEP = 1.25
COARSE = np.rint(JOINED / STEP) * STEP


def test_pooling_hides_what_a_channel_shows():
    report = similarity_report([("out", COARSE, JOINED)], data_of(60), [(4,)])
    assert report.outputs[0].value > 0.9999
    scores = [row for row in report.channels if row.channel >= 4]
    assert all(row.judged and row.similarity < 0.8 for row in scores)
    assert {row.values for row in scores} == {2} and all(row.has_few_values for row in scores)
    assert report.worst_channel in scores
    assert all(row.similarity > 0.999 and not row.has_few_values for row in report.channels[:4])
    (loss,), _ = find_losses(None, None, report, (), NONE)
    assert loss.kind == "similarity"
    assert f"output 'out', channel {report.worst_channel.channel}: similarity -" in loss.sentence
    assert "2 distinct values where the float model's has 540" in loss.sentence


def test_a_channel_that_hardly_varies_is_told_and_not_judged():
    """Without a join the scores are 1e-5 of the output's variance."""
    report = similarity_report([("out", COARSE, JOINED)], data_of(60))
    assert not any(row.judged for row in report.channels if row.channel >= 4)
    assert find_losses(None, None, report, (), NONE) == ((), ())


def test_means_that_differ_hide_no_channel():
    original = RNG.normal((0, 1000, -2000), 1.0, (100, 3))
    ours = original + RNG.normal(0, 0.5, original.shape)
    report = similarity_report([("y", ours, original)], data_of(100))
    assert report.outputs[0].value > 0.9999
    assert all(row.judged and 0.6 < row.similarity < 0.9 for row in report.channels)


def test_dead_channels_do_not_count():
    original = np.zeros((50, 2))
    original[:, 0] = RNG.normal(size=50)
    ours = np.add(original, [0.0, 0.001])
    rows = similarity_report([("y", ours, original)], data_of(50)).channels
    assert rows[1].similarity == 0.0 and not rows[1].judged and rows[1].values == 1
    assert similarity_report([("y", original, original)], data_of(50)).channels[1].similarity == 1


def test_of_very_many_channels_the_worst_are_kept():
    original = RNG.normal(size=(20, MOST_CHANNELS + 100))
    ours = original.copy()
    ours[:, 4150] += 1.0
    rows = similarity_report([("y", ours, original)], data_of(20)).channels
    assert len(rows) == MOST_CHANNELS
    assert min(rows, key=lambda row: row.similarity).channel == 4150


def test_probabilities_are_compared_by_their_classes():
    scores = RNG.dirichlet(np.ones(4), size=(80, 5))
    swapped = scores.copy()
    swapped[:20] = scores[:20][..., ::-1]
    report = similarity_report([("mask", swapped, scores)], data_of(80))
    assert report.outputs[0].measure == "agreement with the original"
    assert 0.7 < report.outputs[0].value < 0.85
    assert not any(row.judged for row in report.channels)
    (loss,), _ = find_losses(None, None, report, (), NONE)
    assert "another class than the float model for 2" in loss.sentence
    few = similarity_report([("mask", swapped[19:29], scores[19:29])], data_of(10))
    assert find_losses(None, None, few, (), NONE) == ((), ())  # 10 samples do not tell


def test_too_few_samples_only_warn():
    original = RNG.normal(size=(9, 2))
    report = similarity_report([("y", -original, original)], data_of(9))
    losses, (warning,) = find_losses(None, None, report, (), NONE)
    assert losses == () and warning.startswith("9 samples are too few for the accuracy gate")


@pytest.mark.parametrize("budget", [Budget(min_similarity=0.1), Budget(max_error_increase=9.0)])
def test_a_budget_takes_the_gates_place(budget):
    original = RNG.normal(size=(50, 2))
    report = similarity_report([("y", 0.5 * original, original)], data_of(50))
    assert find_losses(None, None, report, (), NONE)[0]
    assert find_losses(None, None, report, (), budget) == ((), ())


def test_what_has_become_constant():
    original = np.concatenate([BOXES, SCORES], axis=-1)
    still = original.copy()
    still[..., 4:] = 0.5
    (loss,) = constant_parts([("out", still, original)], [(4,)], [0.1])
    assert loss.sentence == "output 'out', channels 4 to 5, has become constant"
    assert (loss.output, loss.channels) == ("out", (4, 5))
    assert constant_parts([("out", still, original)], [()], [0.1]) == []
    whole = np.broadcast_to(original[0], original.shape)
    (loss,) = constant_parts([("out", whole, original)], [()], [0.1])
    assert loss.sentence == "output 'out' has become constant"
    # What varies by less than a step of the numbers was never to be seen.
    assert constant_parts([("out", whole / 9e3, original / 9e3)], [()], [0.1]) == []
    assert constant_parts([("out", whole[:1], original[:1])], [()], [0.1]) == []


def test_errors_of_each_channel():
    labels = RNG.normal(size=(400, 1, 2)) * [1, 100]
    before = labels + RNG.normal(0, 0.1, labels.shape) * [1, 100]
    after = before + RNG.normal(0, 0.3, labels.shape) * [1, 0]
    report = regression_report([("y", after, before, labels)], data_of(400), NONE)
    (whole,), channels = report.outputs, report.channels
    assert report.worst == channels[0] and channels[0].label == "output 'y', channel 0"
    assert channels[0].increase == pytest.approx(np.sqrt(0.1) / 0.1 - 1, rel=0.1)
    assert channels[0].interval.low < channels[0].increase < channels[0].interval.high
    assert channels[1].increase == 0.0 and abs(whole.increase) < 0.01
    assert channels[1].shipped.rmse == pytest.approx(10, rel=0.1)
    assert channels[1].shipped.r2 == pytest.approx(0.99, abs=0.003)
    assert channels[1].shipped.mae == pytest.approx(np.abs(after - labels)[..., 1].mean())


def test_a_float_model_that_is_always_right_has_an_error_to_compare_with():
    labels = RNG.normal(size=(100, 1, 1))
    report = regression_report([("y", labels + 0.01, labels, labels)], data_of(100), NONE)
    assert report.worst.increase == pytest.approx(0.01 / (1e-3 * labels.std()) - 1)
    constant = np.ones((100, 1, 1))
    row = regression_report([("y", constant, constant, constant)], data_of(100), NONE).outputs[0]
    assert row.shipped.r2 is None and row.increase is None


def regression(rows, budget=NONE):
    """A report of outputs (samples, 1, 1): each ours, the float model's and the labels."""
    judged = [(f"y{i}", *(a.reshape(-1, 1, 1) for a in row)) for i, row in enumerate(rows)]
    return regression_report(judged, data_of(len(rows[0][0])), budget)


def test_an_error_that_rises_much_is_warned_of_though_outputs_are_alike():
    """The float model is so good that int8's own step multiplies its error."""
    rng = np.random.default_rng(1)
    labels = rng.uniform(0, 300, 300)
    before = labels + rng.normal(0, 1, 300)
    report = regression([(before + rng.normal(0, 4, 300), before, labels)])
    alike = similarity_report([("y0", before[:, None] + 4, before[:, None])], data_of(300))
    assert find_losses(None, report, alike, (), NONE) == ((), ())
    (warning,) = report.warnings
    assert warning.startswith("the error of output 'y0', channel 0 rises by 3")
    assert "RMSE 0.9712 to 4.326" in warning and "--max-error-increase 50%" in warning
    assert regression([(before, before, labels)]).warnings == ()
    # A limit of the user's is judged as a budget, and the warning is about its samples.
    assert regression([(before + 4, before, labels)], Budget(max_error_increase=9.0)).warnings == ()


def test_a_channel_that_explains_much_less_of_its_labels_is_lost():
    """Similar to the float model within the gate's limit, and errors that add up."""
    rng = np.random.default_rng(1)
    labels = rng.normal(size=400)
    before = labels + 0.6 * rng.normal(size=400)
    after = before + 0.35 * (before - labels)
    report = regression([(before, before, labels), (after, before, labels)])
    alike = similarity_report([("y1", after[:, None], before[:, None])], data_of(400))
    assert alike.worst_channel.similarity > 0.95
    (loss,), _ = find_losses(None, report, alike, (), NONE)
    assert loss.kind == "error" and loss.sentence.startswith("output 'y1', channel 0 explains less")
    assert (
        "R2 0.5185 to 0.1225" in loss.sentence
        and "the gate allows R2 to fall by 0.05" in loss.sentence
    )
    for budget in (Budget(max_error_increase=9.0), Budget(min_similarity=0.5)):
        assert find_losses(None, report, alike, (), budget) == ((), ())
    # What the float model never explained is not lost.
    poor = regression([(after + 3, before + 3, labels)])
    assert find_losses(None, poor, alike, (), NONE) == ((), ())


def test_what_outliers_hide_is_judged_without_them():
    """One sample of 100 carries all the variance; ours tells no other apart."""
    rng = np.random.default_rng(2)
    original = rng.normal(size=(100, 1))
    original[5] = 1e5
    ours = np.rint(original / 400) * 400
    data, out = data_of(100), (5,)
    report = similarity_report([("y", ours, original)], data, [()], [np.zeros(1)])
    assert find_losses(None, None, report, (), NONE)[0][0].kind == "few-values"
    usual = without_outliers([("y", ours, original)], data, [()], [np.zeros(1)], out)
    report = dataclasses.replace(report, usual=usual)
    assert report.least[0] > 0.9999 and usual.least[0] < 0.1
    (loss,), _ = find_losses(None, None, report, (), NONE)
    assert loss.kind == "similarity" and (loss.output, loss.channels) == ("y", (0,))
    assert loss.sentence.startswith("without the outlying sample 5, outputs are no longer the")
    assert similarity_from_json(json.loads(json.dumps(dataclasses.asdict(report)))) == report
    # What a sigmoid gives below a step of int8 was never to be seen.
    scores = 1e-3 * rng.uniform(size=(100, 1))
    scores[5] = 1.0
    rows = [("y", np.rint(scores), scores)]
    assert without_outliers(rows, data, [()], [np.ones(1) / 256], out) is None
    two = [("y", *(np.hstack([a, original]) for a in (np.rint(scores), scores)))]
    kept = without_outliers(two, data, [(1,)], [np.array([1 / 256, 0.0])], out)
    assert [row.judged for row in kept.channels] == [False, True]


def test_errors_that_an_outlier_hides():
    rng = np.random.default_rng(2)
    labels = rng.normal(size=(200, 1, 1))
    before = labels + 0.3 * rng.normal(size=labels.shape)
    after = np.zeros_like(labels)
    before[3] = after[3] = 1e5
    report = regression_report([("y", after, before, labels)], data_of(200), NONE, (3,))
    assert abs(report.worst.increase) < 1e-3 and report.usual.worst.increase > 2
    alike = similarity_report([("y", before[:, 0], before[:, 0])], data_of(200))
    (loss,), _ = find_losses(None, report, alike, (), NONE)
    assert loss.kind == "error" and "without the outlying sample 3, output 'y'" in loss.sentence
    assert report.usual.warnings[0].startswith("without the outlying sample 3, the error of")
    assert regression_from_json(json.loads(json.dumps(dataclasses.asdict(report)))) == report
