"""Accuracy of what is shipped, class by class and slice by slice, with what it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.cli.main import run
from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.report.accuracy import AccuracyReport
from edgebuild.report.advice import check_failure
from edgebuild.report.model import Report, report_from_json
from edgebuild.tflite.writer import write_tflite
from edgebuild.versions import JSON_SCHEMA
from tests.conftest import ROOT
from tests.gate_tasks import WITHOUT_REMEDIES

NAMES = ["left", "right", "faint"]
EACH = 200


def dense(weights: np.ndarray, *, softmax: bool) -> bytes:
    """Return a float ``.tflite`` of one dense layer."""
    outputs, inputs = weights.shape
    real = DType.FLOAT32
    tensors = [
        Tensor(0, "x", (1, inputs), real),
        Tensor(1, "w", weights.shape, real, None, weights.astype(np.float32)),
        Tensor(2, "b", (outputs,), real, None, np.zeros(outputs, np.float32)),
        Tensor(3, "y", (1, outputs), real),
        Tensor(4, "p", (1, outputs), real),
    ]
    ops = [Op("FULLY_CONNECTED", (0, 1, 2), (3,)), Op("SOFTMAX", (3,), (4,), {"beta": 1.0})]
    kept = len(tensors) if softmax else 4
    return write_tflite(
        Graph(
            "net",
            (0,),
            (kept - 1,),
            tuple(ops[: kept - 3]),
            {t.index: t for t in tensors[:kept]},
        )
    )


@pytest.fixture(scope="module")
def hurt(tmp_path_factory) -> Path:
    """A classifier that is always right in float, and a data set.

    The class ``faint`` is told by a value of 0.3 at an input that shares its int8 scale with one of
    +-100: in int8 it is 0. Of the others every 20th is labelled wrongly, for both models.
    """
    folder = tmp_path_factory.mktemp("hurt")
    weights = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 10.0]])
    (folder / "net.tflite").write_bytes(dense(weights, softmax=True))
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], EACH)
    x = np.zeros((3 * EACH, 2), np.float32)
    x[y == 0, 0], x[y == 1, 0] = rng.uniform(10, 100, EACH), -rng.uniform(10, 100, EACH)
    x[y == 2, 1] = 0.3
    labels = y.copy()
    labels[: 2 * EACH : 20] = 1 - labels[: 2 * EACH : 20]
    place = np.where(np.arange(3 * EACH) % 2 == 0, "indoors", "outdoors").astype("U16")
    place[7] = "under water"
    np.savez(
        folder / "set.npz", x=x, y=np.eye(3)[labels], slice_place=place, slice_model=y // 2,
        classes=NAMES,
    )  # fmt: skip
    return folder


def build(
    folder: Path, out: Path, data: str = "set.npz", *, gate: bool = True, **budget: float
) -> Report:
    return edgebuild.build(
        folder / "net.tflite",
        target="host",
        run="none",
        out=out,
        data=str(folder / data),
        budget=Budget(**budget),
        accuracy_gate=gate,
        **WITHOUT_REMEDIES,
    )


def known(report: Report) -> AccuracyReport:
    assert report.accuracy is not None
    return report.accuracy


def test_the_class_that_quantization_hurts_is_named(hurt, tmp_path):
    report = build(hurt, tmp_path, max_accuracy_drop=0.4, max_class_drop=0.05)
    accuracy = known(report)
    shares = {
        g.name: (g.samples, g.float_baseline.value, g.shipped.value) for g in accuracy.classes
    }
    assert shares == {"left": (200, 0.95, 0.95), "right": (200, 0.95, 0.95), "faint": (200, 1, 0)}
    worst = accuracy.worst
    assert worst is not None and worst.label == "class 'faint'" and worst.significant
    assert (worst.drop.lost, worst.drop.gained, worst.drop.value) == (200, 0, 1.0)
    assert worst.drop.interval.low > 0.96
    assert not any(g.significant for g in accuracy.classes[:2])
    # The overall drop is a third, and 600 samples tell that it is at most 40 points.
    assert accuracy.drop.value == pytest.approx(1 / 3) == report.metrics.accuracy_drop.value
    assert 0.29 < accuracy.drop.interval.low < 1 / 3 < accuracy.drop.interval.high < 0.38
    assert accuracy.intervals["shipped"].low < 0.6333 < accuracy.intervals["shipped"].high
    (violation,) = report.violations
    assert (violation.budget, violation.value.value) == ("class-drop", 1.0)
    assert "class 'faint', 200 samples" in violation.value.source


def test_the_gate_needs_no_asking(hurt, tmp_path, capsys):
    """A third of the samples is lost: exit 1, also from the cache, and 0 where it is turned off."""
    arguments = [
        *("build", str(hurt / "net.tflite"), "--target", "host", "--out", str(tmp_path)),
        *("--data", str(hurt / "set.npz"), "--run", "none", "--no-ladder"),
    ]
    for cached in (False, True):
        assert run(arguments) == 1
        captured = capsys.readouterr()
        assert ("cached" in captured.out) == cached and "DOES NOT PASS" in captured.out
        error = " ".join(captured.err.split())
        assert "net for host: 33.33 points of accuracy are lost (95 %: 29." in error
        assert "lost most: class 'faint' 100 points" in error
        assert "--max-accuracy-drop sets another limit; --no-accuracy-gate turns" in error
    assert run([*arguments, "--json"]) == 1
    (value,) = json.loads(capsys.readouterr().out)["reports"]
    assert value["cached"] and not value["passed"]
    assert value["gate"]["losses"][0]["kind"] == "accuracy-drop"
    assert run([*arguments, "--no-accuracy-gate"]) == 0
    assert "(the accuracy gate is off)" in " ".join(capsys.readouterr().out.split())
    assert run([*arguments, "--max-accuracy-drop", "40%"]) == 0


def test_slices_and_what_they_cannot_tell(hurt, tmp_path):
    accuracy = known(build(hurt, tmp_path, max_class_drop=0.5))
    rows = {(g.slice, g.name): g for g in accuracy.slices}
    assert {key: g.samples for key, g in rows.items()} == {
        ("place", "indoors"): 300,
        ("place", "outdoors"): 299,
        ("place", "under water"): 1,
        ("model", "0"): 400,
        ("model", "1"): 200,
    }
    assert rows["model", "1"].drop.value == 1.0 and rows["model", "0"].drop.value == 0.0
    single = rows["place", "under water"]
    assert single.too_few and single.samples_needed > 1 and not single.significant
    assert single.drop.interval.width > 1
    assert accuracy.warnings == (
        "600 samples are too few to measure the accuracy drop to within 1 point (95 %: 29.68 to "
        "37.20): about 8,600 are needed",
        "too few samples in 1 of 5 slices to tell whether the drop is at most 50 points: place "
        "'under water' has the fewest (1, about 4 are needed)",
    )


def test_the_report_comes_back_from_its_json(hurt, tmp_path):
    report = build(hurt, tmp_path)
    value = json.loads((tmp_path / "net-host" / "report.json").read_text())
    assert value["schema"] == JSON_SCHEMA and len(value["accuracy"]["classes"]) == 3
    again = report_from_json(value)
    assert again.accuracy == report.accuracy and again.similarity is None
    for name in ("intervals", "drop", "classes", "slices", "warnings"):  # as older ones are
        del value["accuracy"][name]
    del value["similarity"], value["metrics"]["class_drop"], value["budget"]["max_class_drop"]
    older = report_from_json(value)
    assert older.accuracy.shipped == report.accuracy.shipped
    assert older.accuracy.worst is None


def test_the_terminal_has_what_matters(hurt, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = [
        *("build", str(hurt / "net.tflite"), "--target", "host", "--out", str(tmp_path)),
        *("--data", str(hurt / "set.npz"), "--no-ladder"),
    ]
    assert run([*arguments, "--max-class-drop", "5%"]) == 1
    captured = capsys.readouterr()
    report = captured.out.splitlines()
    assert max(len(line) for line in report if not line.startswith("written to")) <= 80
    text = " ".join((captured.out + captured.err).split())
    for part in (
        "class drop 100.00% 5.00%",
        "accuracy drop 33.33 points (95 %: 29.",
        "600 samples)",
        "worst class 'faint': 100.00 points (96.",
        "200 samples), significant",
        "worst slice model '1': 100.00 points (96.",
        "warning: too few samples in 1 of 5 slices to tell whether the drop is at most 5 points: "
        "place 'under water' has the fewest (1, about",
        "class accuracy budget missed by 95 points",
        "lost most: class 'faint' 100 points (200 samples), model '1' 100 points (200 samples)",
        "--max-class-drop",
    ):
        assert part in text
    assert run([*arguments, "--max-class-drop", "100%"]) == 0


def test_too_few_samples_for_the_budget(hurt, tmp_path):
    """3 samples are lost of 90: the budget of 5 points is kept, and may not be."""
    with np.load(hurt / "set.npz") as archive:
        chosen = np.r_[1:20, 21:40, 41:60, 201:220, 221:232, 597:600]
        np.savez(hurt / "few.npz", x=archive["x"][chosen], y=archive["y"][chosen])
    report = build(hurt, tmp_path, "few.npz", max_accuracy_drop=0.05)
    assert report.passed
    accuracy = known(report)
    assert (accuracy.drop.lost, accuracy.samples) == (3, 90)
    assert accuracy.warnings[0].startswith(
        "90 samples are too few to tell whether the accuracy drop is at most 5 points (95 %: "
        "-0.90 to 9.35)"
    )
    assert "): about " in accuracy.warnings[0] and "too few samples in" in accuracy.warnings[1]
    # Without names a class has its number.
    assert [g.name for g in accuracy.classes] == ["0", "1", "2"]
    kept = build(hurt, tmp_path, "few.npz", max_accuracy_drop=0.2)
    assert not any("too few to tell" in warning for warning in known(kept).warnings)


def test_a_class_without_samples(hurt, tmp_path):
    with np.load(hurt / "set.npz") as archive:
        keep = slice(0, 2 * EACH)
        np.savez(
            hurt / "two.npz", x=archive["x"][keep], y=archive["y"][keep], classes=archive["classes"]
        )
    accuracy = known(build(hurt, tmp_path, "two.npz"))
    assert [g.name for g in accuracy.classes] == ["left", "right"]
    assert accuracy.drop.value == 0.0
    assert accuracy.warnings == ("1 of 3 classes has no samples: 'faint'",)


def test_without_labels_the_outputs_are_compared(hurt, tmp_path):
    with np.load(hurt / "set.npz") as archive:
        np.savez(hurt / "x.npz", x=archive["x"], slice_place=archive["slice_place"])
    report = build(hurt, tmp_path, "x.npz")
    assert report.accuracy is None and report.metrics.accuracy_drop is None
    similarity = report.similarity
    assert similarity is not None and not similarity.is_random
    (row,) = similarity.outputs
    assert row.measure == "agreement with the original" and row.samples == 600
    assert row.value == pytest.approx(2 / 3)
    assert [(r.name, r.samples) for r in similarity.slices] == [
        ("indoors", 300), ("outdoors", 299), ("under water", 1),
    ]  # fmt: skip
    again = report_from_json(json.loads((tmp_path / "net-host" / "report.json").read_text()))
    assert again.similarity == similarity


def test_a_regression_is_judged_by_its_errors_and_by_similarity(tmp_path):
    """The night's small values suffer most from the common scale."""
    weights = np.array([[1.0, 0.5], [0.0, 2.0]])
    (tmp_path / "net.tflite").write_bytes(dense(weights, softmax=False))
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    night = np.arange(300) % 3 == 0
    light = np.where(night, "night", "day")
    y = x @ weights.T + rng.normal(0, 0.1, (300, 2))
    np.savez(tmp_path / "set.npz", x=x, y=y, slice_light=light)
    report = build(tmp_path, tmp_path / "out", max_error_increase=0.2, min_similarity=0.999)
    assert report.passed and report.accuracy is None and report.similarity is not None
    (row,) = report.similarity.outputs
    assert row.measure == "similarity to the original"
    assert 0.999 < row.value < 1 and row.interval.low < row.value < row.interval.high
    assert [(r.name, r.samples) for r in report.similarity.slices] == [("day", 200), ("night", 100)]
    assert report.similarity.worst in report.similarity.slices
    assert report.metrics.similarity.value > 0.999
    (whole,) = report.regression.outputs
    assert whole.float_baseline.rmse == pytest.approx(0.1, abs=0.01) and whole.shipped.r2 > 0.99
    assert 0 < report.metrics.error_increase.value < 0.2
    assert "output 'y', channel " in report.metrics.error_increase.source
    again = report_from_json(json.loads((tmp_path / "out/net-host/report.json").read_text()))
    assert again.regression == report.regression and again.similarity == report.similarity
    missed = build(tmp_path, tmp_path / "out", max_error_increase=0.001, max_accuracy_drop=0.01)
    rose, unknown = reversed(missed.violations)
    assert (rose.budget, unknown.budget, unknown.value) == ("error-increase", "accuracy-drop", None)
    failure = check_failure(missed)
    assert failure.hint.startswith("the labels are values, not classes: --max-error-increase or")
    assert any(line.startswith("rose most: output 'y', channel ") for line in failure.details)


def test_labels_that_fit_no_output_are_refused(tmp_path):
    (tmp_path / "net.tflite").write_bytes(dense(np.eye(2), softmax=False))
    x = np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32)
    np.savez(tmp_path / "set.npz", x=x, y=x.sum(1) * 0.37)
    with pytest.raises(InputError, match=r"labels y have fractions, .* \(output 'y': \[2\]\)"):
        build(tmp_path, tmp_path / "out")


def test_the_python_in_the_documentation(hurt, capsys, monkeypatch, tmp_path):
    code = (ROOT / "docs" / "accuracy.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "test.npz").write_bytes((hurt / "set.npz").read_bytes())
    monkeypatch.chdir(tmp_path)
    code = code.replace("model.keras", str(hurt / "net.tflite")).replace("cortex-m4", "host")
    exec(code, {"edgebuild": edgebuild})
    assert "class 'faint' 30 1.0 Drop(value=0.0" in capsys.readouterr().out


def test_several_outputs_are_compared_each_with_its_own(tmp_path):
    """The second sees little of its input's int8 steps, the first a lot."""
    real = DType.FLOAT32
    steep, flat = (np.array([[w, w], [w, -w]], np.float32) for w in (3.0, 0.5))
    tensors = [
        Tensor(0, "x", (1, 2), real),
        Tensor(1, "w0", (2, 2), real, None, steep),
        Tensor(2, "b0", (2,), real, None, np.zeros(2, np.float32)),
        Tensor(3, "first", (1, 2), real),
        Tensor(4, "w1", (2, 2), real, None, flat),
        Tensor(5, "b1", (2,), real, None, np.array([5.0, -5.0], np.float32)),
        Tensor(6, "second", (1, 2), real),
    ]
    ops = (Op("FULLY_CONNECTED", (0, 1, 2), (3,)), Op("FULLY_CONNECTED", (0, 4, 5), (6,)))
    graph = Graph("net", (0,), (3, 6), ops, {t.index: t for t in tensors})
    (tmp_path / "net.tflite").write_bytes(write_tflite(graph))
    x = np.random.default_rng(2).uniform(-1, 1, (100, 2)).astype(np.float32)
    np.savez(tmp_path / "set.npz", x=x, slice_side=np.where(x[:, 0] > 0, "right", "left"))
    similarity = build(tmp_path, tmp_path / "out").similarity
    assert similarity is not None and len(similarity.outputs) == 2 and len(similarity.slices) == 4
    assert all(row.measure == "similarity to the original" for row in similarity.outputs)
    assert all(0.999 < row.value < 1 for row in similarity.outputs)


def test_one_output_of_two_classes(tmp_path):
    """Labels of a sigmoid are 0 and 1."""
    real = DType.FLOAT32
    tensors = [
        Tensor(0, "x", (1, 2), real),
        Tensor(1, "w", (1, 2), real, None, np.array([[4.0, 1.0]], np.float32)),
        Tensor(2, "b", (1,), real, None, np.zeros(1, np.float32)),
        Tensor(3, "y", (1, 1), real),
        Tensor(4, "p", (1, 1), real),
    ]
    ops = (Op("FULLY_CONNECTED", (0, 1, 2), (3,)), Op("LOGISTIC", (3,), (4,)))
    graph = Graph("net", (0,), (4,), ops, {t.index: t for t in tensors})
    (tmp_path / "net.tflite").write_bytes(write_tflite(graph))
    x = np.random.default_rng(2).normal(size=(400, 2)).astype(np.float32)
    y = (4 * x[:, :1] + x[:, 1:] > 0).astype(np.float32)
    np.savez(tmp_path / "set.npz", x=x, y=y, classes=["off", "on"])
    accuracy = known(build(tmp_path, tmp_path / "out"))
    assert accuracy.float_baseline is not None and accuracy.float_baseline.value == 1
    assert [g.label for g in accuracy.classes] == ["class 'off'", "class 'on'"]
    assert sum(g.samples for g in accuracy.classes) == 400
    assert accuracy.shipped.value > 0.97
