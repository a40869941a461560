"""What a report says of accuracy, from what models said of each sample."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.budget import Budget
from edgebuild.models.accuracy import Judged
from edgebuild.models.data import DataSet
from edgebuild.models.statistics import drop_interval, mcnemar, wilson
from edgebuild.report.accuracy import points, worst_of
from edgebuild.report.judge import accuracy_report
from edgebuild.report.outputs import similarity_report

NONE = Budget()


def data_of(samples, classes=(), **slices):
    arrays = {name: np.array(values) for name, values in slices.items()}
    return DataSet((np.zeros((samples, 1)),), None, "set", slices=arrays, classes=classes)


def judged(labels, *, before=None, after=(), classes=3):
    """Models that are wrong on the samples ``before`` (None for no baseline) and ``after``."""
    labels = np.asarray(labels)

    def model(wrong):
        found = labels.copy()
        found[list(wrong)] = (found[list(wrong)] + 1) % classes
        return Judged(found, labels, classes)

    made = {"shipped": (model(after), "generated C on the host")}
    if before is not None:
        made["float_baseline"] = (model(before), "float model, keras")
    return made


LABELS = [0] * 40 + [1] * 40 + [2] * 20


def test_every_share_and_drop():
    models = judged(LABELS, before=[0, 1, 50], after=[1, 50, 51, 52, *range(80, 90)])
    data = data_of(100, ("cat", "dog"), light=["day"] * 90 + ["night"] * 10)
    report = accuracy_report(models, data, NONE)
    assert report.samples == 100 and report.int8_reference is None
    assert (report.float_baseline.value, report.shipped.value) == (0.97, 0.86)
    assert report.float_baseline.source == "float model, keras"
    assert report.intervals == {
        "float_baseline": wilson(97, 100),
        "shipped": wilson(86, 100),
    }
    assert (report.drop.lost, report.drop.gained) == (12, 1)
    assert report.drop.value == pytest.approx(0.11) and report.drop.p_value == mcnemar(12, 1)
    assert report.drop.interval == drop_interval(12, 1, 100)
    rows = {g.label: (g.samples, g.drop.lost, g.drop.gained) for g in report.classes}
    assert rows == {
        "class 'cat'": (40, 0, 1),
        "class 'dog'": (40, 2, 0),
        "class '2'": (20, 10, 0),  # the third has no name
    }
    assert [(g.label, g.samples, g.drop.lost) for g in report.slices] == [
        ("light 'day'", 90, 12),
        ("light 'night'", 10, 0),
    ]
    assert report.worst.label == "class '2'" and report.worst.drop.value == 0.5
    assert report.classes[2].float_baseline.value == 1 and report.classes[2].shipped.correct == 10


def test_significance_is_of_all_groups_together():
    """8 losses of 8 are not chance for one group (p = 0.008), but may be among many."""
    models = judged(LABELS, before=[], after=range(80, 88))
    alone = accuracy_report(models, data_of(100), NONE)
    assert alone.classes[2].significant and not alone.classes[0].significant
    many = data_of(100, unit=[str(i % 10) for i in range(100)])
    among = accuracy_report(models, many, NONE)
    assert not among.classes[2].significant
    assert worst_of(among.classes) == among.classes[2]
    assert worst_of(among.classes, significant=True) is None


def test_of_equal_drops_the_largest_group_is_the_worst():
    models = judged([0] * 10 + [1] * 40 + [2] * 10, before=[], after=[0, *range(10, 14)])
    report = accuracy_report(models, data_of(60), NONE)
    assert report.worst.label == "class '1'" and report.worst.samples == 40


def test_without_a_baseline():
    report = accuracy_report(judged(LABELS, after=[1]), data_of(100, s=["1"] * 100), NONE)
    assert report.drop is None and report.worst is None and report.warnings == ()
    assert report.classes[0].float_baseline is None and report.classes[0].drop is None
    assert report.slices[0].shipped.interval == wilson(99, 100)


def test_slices_are_in_the_order_of_their_numbers():
    data = data_of(100, board=[str(n) for n in (10, -1, 9, 100)] * 24 + ["b", "a", "9", "9"])
    report = accuracy_report(judged(LABELS, before=[]), data, NONE)
    assert [g.name for g in report.slices] == ["-1", "9", "10", "100", "a", "b"]


def warnings(models, budget=NONE, samples=100):
    return accuracy_report(models, data_of(samples), budget).warnings


def test_warnings_without_limits():
    overall, classes = warnings(judged(LABELS, before=[]))
    assert overall == (
        "100 samples are too few to measure the accuracy drop to within 1 point (95 %: -3.70 to "
        "3.70): about 390 are needed"
    )
    assert classes == (
        "too few samples in 3 of 3 classes to measure a drop of 5 points: class '2' has the "
        "fewest (20, about 73 are needed)"
    )
    many = judged(np.arange(3000) % 3, before=[], after=[])
    assert warnings(many, samples=3000) == ()


def test_warnings_against_a_budget():
    models = judged(np.arange(3000) % 3, before=[], after=range(30))
    kept, missed, near = (
        warnings(models, Budget(max_accuracy_drop=limit), 3000) for limit in (0.02, 0.001, 0.01)
    )
    assert kept == () and missed == ()  # surely at most 2 points, surely above 0.1
    assert near == (
        "3,000 samples are too few to tell whether the accuracy drop is at most 1 point "
        "(95 %: 0.70 to 1.42): more than 10,000,000 are needed",
    )
    classes = warnings(models, Budget(max_accuracy_drop=0.02, max_class_drop=0.012), 3000)
    assert classes == (
        "too few samples in 3 of 3 classes to tell whether the drop is at most 1.2 points: "
        "class '0' has the fewest (1,000, about 12,000 are needed)",
    )


def test_a_class_that_no_sample_has():
    models = judged([0] * 300 + [5] * 300, before=[], after=[], classes=7)
    assert warnings(models, samples=600) == ("5 of 7 classes have no samples: '1', '2', '3', ...",)


def test_one_sample():
    overall, classes, missing = warnings(judged([1], before=[]), samples=1)
    assert overall.startswith("1 sample is too few") and "79.35" in overall
    assert "class '1' has the fewest (1" in classes and "2 of 3 classes" in missing


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0125, "1.25"), (-1e-9, "0.00"), (-0.011, "-1.10"), (1.0, "100.00")]
)
def test_points(ratio, text):
    assert points(ratio) == text


def test_similarity_of_each_output_and_slice():
    rng = np.random.default_rng(0)
    original = rng.normal(size=(50, 4))
    worse = original.copy()
    worse[:10] += 0.5
    data = data_of(50, light=["night"] * 10 + ["day"] * 39 + ["dusk"])
    report = similarity_report([("a", original, original), ("b", worse, original)], data)
    first = report.outputs[0]
    assert (first.label, first.value, first.samples) == ("output 'a'", 1.0, 50)
    assert 0.9 < report.outputs[1].value < 0.99
    assert len(report.slices) == 6
    assert report.worst.label == "output 'b', light 'night'"
    single = next(r for r in report.slices if r.name == "dusk")
    assert single.samples == 1 and single.interval is None
