"""Remedies that are tried by themselves where plain quantization loses too much."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.pipeline.bench import BenchRequest, _samples, read_build
from edgebuild.pipeline.runners.base import Reference
from edgebuild.report.model import Report, report_from_json
from edgebuild.tflite.metadata import read_metadata
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.ladder_cases import outlier_channels_depthwise
from tests.unit.compress.conftest import blobs

pytestmark = pytest.mark.keras


def build(folder: Path, target: str = "host", **options: object) -> Report:
    settings = {"data": str(folder / "data.npz"), "run": "none", **options}
    return edgebuild.build(
        next(folder.glob("net.*")), target=target, out=folder / "build", **settings
    )


@pytest.fixture(scope="module")
def outliers(keras, tmp_path_factory) -> Path:
    """A classifier with a few channels much larger than the others, and data."""
    folder = tmp_path_factory.mktemp("outliers")
    outlier_channels_depthwise().save(folder)[0].rename(folder / "net.keras")
    return folder


@pytest.mark.parametrize("target", ["host", "android-cpu", "coral-usb"])
def test_outlier_channels_are_remedied(outliers, target):
    report = build(outliers, target)
    ladder = report.ladder
    assert report.passed and report.metrics.accuracy_drop.value < 0.02
    assert ladder.reasons[0].endswith("the gate allows 5 points")
    assert ladder.chosen.startswith("equalization") and ladder.rungs[0].name == "min-max"
    assert ladder.rungs[0].lost > 0.1 and ladder.shipped.lost <= 0.02
    assert ladder.divided and ladder.judged == report.accuracy.samples < 80
    # The part that judges had no part in the choice.
    assert not [found for found in report.calibration if found.kind == "judges-itself"]
    again = report_from_json(json.loads(json.dumps(report.to_json())))
    assert again.ladder.rungs == ladder.rungs and again.passed


def test_without_the_ladder_the_gate_fails(outliers):
    report = build(outliers, ladder=False)
    assert not report.passed and report.ladder is None
    assert report.metrics.accuracy_drop.value > 0.1 and report.accuracy.samples == 497
    assert [found.kind for found in report.calibration] == ["judges-itself"]


def test_other_data_to_calibrate_with_leave_all_of_data_to_judge(outliers):
    report = build(outliers, train=str(outliers / "train.npz"))
    assert (
        report.passed
        and not report.ladder.divided
        and not any(f.warning for f in report.calibration)
    )
    assert report.ladder.judged == report.accuracy.samples == 497
    assert report.metrics.accuracy_drop.value < 0.01


def test_what_keeps_a_stricter_budget_of_the_users(outliers):
    report = build(outliers, budget=Budget(max_accuracy_drop=0.03))
    assert report.passed and report.ladder.reasons[0].startswith("accuracy budget missed by")


def test_too_few_samples_to_choose_on(outliers, tmp_path):
    with np.load(outliers / "data.npz") as archive:
        np.savez(tmp_path / "few.npz", x=archive["x"][:30], y=archive["y"][:30])
    report = build(outliers, data=str(tmp_path / "few.npz"))
    assert not report.passed and report.ladder.rungs == ()
    assert report.ladder.notes[0].startswith("30 samples are too few to choose a remedy")


def test_a_bad_sample_is_named_and_left_out(trained, tmp_path):
    trained.save(tmp_path / "net.keras")
    x, y = blobs(400, seed=5)
    x[7, 2, 3, 0] = 1e6
    np.savez(tmp_path / "data.npz", x=x, y=y)
    report = build(tmp_path, calibration_samples=400)
    (outlier,) = (found for found in report.calibration if found.kind == "outlier")
    assert (outlier.sample, outlier.position, outlier.value) == (7, (2, 3, 0), 1e6)
    assert report.passed and report.metrics.accuracy_drop.value < 0.01
    if report.ladder.rungs[0].lost > 0.1:  # the sample is among those that calibrate
        assert report.ladder.chosen != "min-max"


@pytest.fixture(scope="module")
def unlike(keras, tmp_path_factory) -> Path:
    """A regression of features with ranges from 0.01 to 100,000, which a Normalization scales."""
    folder = tmp_path_factory.mktemp("unlike")
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(500, 4)).astype(np.float32)
    x = (unit * [1000, 6, 0.004, 1] + [1e5, 20, 0.01, 3]).astype(np.float32)
    y = (unit @ np.array([3, -2, 4, 1]) + unit[:, 0] * unit[:, 2]).astype(np.float32)
    scaling = keras.layers.Normalization(name="scaling")
    scaling.adapt(x)
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(16, activation="relu")(scaling(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="value")(hidden))
    model.compile("adam", "mse")
    model.fit(x, y, epochs=20, verbose=0)
    model.save(folder / "net.keras")
    np.savez(folder / "data.npz", x=x, y=y)
    np.savez(folder / "alone.npz", x=x)
    return folder


def test_a_normalization_is_taken_out_as_c(unlike, keras):
    """The C function computes what Keras's layer does, and what the build is judged with."""
    report = build(unlike, run="host")
    assert report.passed and report.comparison.equal
    assert report.ladder.chosen == "input scaling taken out"
    assert report.similarity.worst_channel.similarity > 0.98
    library = unlike / "build" / "net-host" / "lib"
    header = (library / "net.h").read_text()
    assert "void net_preprocess(const float *values, int8_t *input);" in header
    assert "Input 0 holds prepared values: call net_preprocess()" in header
    (step,) = [note for note in report.notes if "float32 step" in note]
    assert step.startswith("the inputs need a float32 step before the model: net_preprocess() in ")
    shared = ctypes.CDLL(str(next((unlike / "build" / "net-host").glob("*.so"))))
    with np.load(unlike / "data.npz") as archive:
        x = archive["x"]
    found = np.zeros(x.shape, np.int8)
    for values, out in zip(np.ascontiguousarray(x), found, strict=True):
        shared.net_preprocess(
            values.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
        )
    model = keras.saving.load_model(unlike / "net.keras")
    scaled = np.asarray(model.get_layer("scaling")(x))
    tensor = read_tflite((unlike / "build/net-host/model.tflite").read_bytes()).input_tensors[0]
    wanted = np.clip(np.rint(scaled / tensor.scale) + tensor.zero_point, -128, 127)
    assert np.abs(found - wanted).max() <= 1  # a last digit of the division decides a half
    assert np.mean(found == wanted) > 0.999 and len(np.unique(found)) > 200


def test_data_without_labels_take_the_same_way(unlike):
    report = build(unlike, "android-cpu", data=str(unlike / "alone.npz"))
    assert report.passed and report.ladder.chosen == "input scaling taken out"


def test_what_prepares_inputs_is_part_of_the_flash_figure(unlike):
    """The user's firmware has it, though the benchmark's calls nothing of it."""
    report = build(unlike, "cortex-m4", run="simulator")
    assert report.passed and report.comparison.equal and report.ladder.preprocessing
    (function,) = [symbol for symbol in report.symbols if symbol.name == "net_preprocess"]
    assert function.size > 100
    code = report.flash["code"]
    assert code.source.endswith("layers and kernels, net_preprocess()")
    assert code.value > function.size
    parts = [report.flash[name].value for name in ("weights", "code", "runtime")]
    assert report.metrics.flash_bytes.value == sum(parts)
    assert any("whose time is not part of the latency" in note for note in report.notes)


def test_data_are_prepared_once(unlike, keras):
    """In a build, in a measurement of it, and by what metadata tell an app to do."""
    build(unlike, run="host")
    with np.load(unlike / "data.npz") as archive:
        x = archive["x"]
    scaled = np.asarray(keras.saving.load_model(unlike / "net.keras").get_layer("scaling")(x))
    made = read_build(unlike / "build" / "net-host")
    request = BenchRequest(made, (), samples=8, data=str(unlike / "data.npz"))
    graph, samples = _samples(request, Reference.TFLITE_MICRO)
    (tensor,) = graph.input_tensors
    wanted = np.clip(np.rint(scaled / tensor.scale) + tensor.zero_point, -128, 127)
    given = np.array([np.frombuffer(sample[0], np.int8) for sample in samples])
    assert np.abs(given[3:].astype(int) - wanted[:5]).max() <= 1 and len(np.unique(given[3:])) > 10

    build(unlike, "android-cpu")
    shipped = (unlike / "build" / "net-android-cpu" / "model.tflite").read_bytes()
    (said,) = read_metadata(shipped).inputs
    np.testing.assert_allclose((x - said.mean) / said.std, scaled, atol=1e-3)


def boxes_and_scores(folder: Path) -> Path:
    """Write a float ``.tflite`` whose output joins values up to 320 with others up to 1."""
    rng = np.random.default_rng(0)
    real = DType.FLOAT32
    tensors = [Tensor(0, "x", (1, 8), real)]
    for name in ("boxes", "scores"):
        n = len(tensors)
        weights = rng.normal(size=(4, 8)).astype(np.float32)
        tensors += [
            Tensor(n, f"{name}/w", (4, 8), real, None, weights),
            Tensor(n + 1, f"{name}/b", (4,), real, None, np.zeros(4, np.float32)),
            Tensor(n + 2, f"{name}/logits", (1, 4), real),
            Tensor(n + 3, name, (1, 4), real),
        ]
    tensors += [
        Tensor(9, "size", (1,), real, None, np.array([320], np.float32)),
        Tensor(10, "large", (1, 4), real),
        Tensor(11, "found", (1, 8), real),
    ]
    ops = (
        Op("FULLY_CONNECTED", (0, 1, 2), (3,)),
        Op("LOGISTIC", (3,), (4,)),
        Op("FULLY_CONNECTED", (0, 5, 6), (7,)),
        Op("LOGISTIC", (7,), (8,)),
        Op("MUL", (4, 9), (10,)),
        Op("CONCATENATION", (10, 8), (11,), {"axis": 1}),
    )
    graph = Graph("net", (0,), (11,), ops, {t.index: t for t in tensors})
    (folder / "net.tflite").write_bytes(write_tflite(graph))
    np.savez(folder / "data.npz", x=rng.normal(size=(200, 8)).astype(np.float32))
    return folder


def test_boxes_beside_scores_get_16_bits_where_the_target_runs_them(tmp_path):
    report = build(boxes_and_scores(tmp_path), "android-cpu")
    assert report.passed and report.ladder.chosen == "int16 activations where needed"
    assert report.ladder.rungs[0].noise > 0.05 and report.ladder.shipped.noise < 0.01


def test_boxes_beside_scores_have_an_exact_reason_elsewhere(tmp_path):
    report = build(boxes_and_scores(tmp_path))
    assert not report.passed
    (note,) = report.ladder.notes
    assert note.startswith("#5 CONCATENATION 'found' joins 'large' (") and "one scale" in note
    assert "'scores' (0" in note and "separate outputs" in note
    wide = next(rung for rung in report.ladder.rungs if rung.name == "int16 activations")
    assert not wide.tried and wide.note.startswith("the target has no kernels: ")
