"""Every kind of source model, built and run: Keras, legacy .h5, SavedModel, float .tflite."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.report.model import Report
from edgebuild.tflite.reader import read_tflite_file
from edgebuild.tflite.writer import write_tflite
from tests.made_models import MACS

CALIBRATION = 16


@pytest.fixture(scope="module")
def needs_tensorflow() -> None:
    """Skip where TensorFlow is not installed."""
    if util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed (pip install edgebuild[keras])")


def build(model: Path, out: Path, target: str = "cortex-m4", data: str = "random") -> Report:
    """Build ``model`` with few calibration samples."""
    return edgebuild.build(
        model, target=target, out=out, data=data, calibration_samples=CALIBRATION
    )


def assert_verified(report: Report, out: Path, macs: int) -> None:
    """The build is full int8, ran, and equals TFLite Micro; ``macs`` are those of the original, of
    which channels that cannot change are left out."""
    assert report.passed and report.comparison is not None
    assert report.comparison.samples == 8 and report.comparison.different_bytes == 0
    assert 0.4 * macs < report.model["macs"] <= macs
    place = out / f"{report.name}-{report.target['name']}"
    graph = read_tflite_file(place / "model.tflite")
    assert {t.dtype for t in (*graph.input_tensors, *graph.output_tensors)} == {"int8"}
    assert (place / "model_data.cc").is_file() and (place / "lib" / f"{report.name}.c").is_file()


@pytest.mark.parametrize(
    "name",
    ["kws", "ad01", "vww96", pytest.param("resnet8", marks=pytest.mark.slow)],
)
def test_float_tflite(mlperf_dir, tmp_path, name):
    model = mlperf_dir / f"{name}_float.tflite"
    assert_verified(build(model, tmp_path), tmp_path, MACS[name])


@pytest.mark.keras
@pytest.mark.parametrize(
    "name", ["vww96", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ad01", "resnet8"))]
)
def test_legacy_h5(mlperf_dir, needs_tensorflow, tmp_path, name):
    """Keras 2 wrote them; vww96 has DepthwiseConv2D(groups=1), which Keras 3 refuses."""
    model = mlperf_dir / f"{name}.h5"
    assert_verified(build(model, tmp_path), tmp_path, MACS[name])


@pytest.mark.keras
def test_saved_model(mlperf_dir, needs_tensorflow, tmp_path):
    model = mlperf_dir / "kws_saved_model"
    assert_verified(build(model, tmp_path), tmp_path, MACS["kws"])


def test_a_float_tflite_with_labels(tmp_path):
    """Without TensorFlow: a classifier of three inputs that picks the largest."""
    real = DType.FLOAT32
    tensors = [
        Tensor(0, "x", (1, 3), real),
        Tensor(1, "w", (3, 3), real, None, np.eye(3, dtype=np.float32)),
        Tensor(2, "b", (3,), real, None, np.zeros(3, np.float32)),
        Tensor(3, "y", (1, 3), real),
        Tensor(4, "p", (1, 3), real),
    ]
    ops = (Op("FULLY_CONNECTED", (0, 1, 2), (3,)), Op("SOFTMAX", (3,), (4,), {"beta": 1.0}))
    graph = Graph("net", (0,), (4,), ops, {t.index: t for t in tensors})
    (tmp_path / "net.tflite").write_bytes(write_tflite(graph))
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    y = x.argmax(axis=1)
    y[:20] = (y[:20] + 1) % 3
    np.savez(tmp_path / "set.npz", x=x, y=y)
    report = build(tmp_path / "net.tflite", tmp_path, "cortex-m3", str(tmp_path / "set.npz"))
    assert_verified(report, tmp_path, 9)
    accuracy = report.accuracy
    assert accuracy is not None and accuracy.samples == 200
    assert accuracy.float_baseline is not None and accuracy.shipped is not None
    assert accuracy.float_baseline.value == 0.9
    assert accuracy.float_baseline.source == "float model, tflite"
    assert abs(accuracy.shipped.value - 0.9) < 0.03
    drop = report.metrics.accuracy_drop
    assert drop is not None and drop.value == 0.9 - accuracy.shipped.value
    assert report.notes == (f"quantized to int8, calibrated with {CALIBRATION} of 200 samples",)


@pytest.mark.keras
def test_keras(needs_tensorflow, tmp_path):
    """With labels: accuracy of the float model, the int8 reference and the generated C."""
    import keras

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.save(tmp_path / "net.keras")
    x = np.random.default_rng(0).random((64, 8, 8, 1)).astype(np.float32)
    y = np.argmax(model.predict(x, verbose=0), axis=1)  # the float model is always right
    np.savez(tmp_path / "set.npz", x=x, y=y)
    report = build(tmp_path / "net.keras", tmp_path, "cortex-m0plus", str(tmp_path / "set.npz"))
    assert_verified(report, tmp_path, 6 * 6 * 4 * 9 + 144 * 2)
    accuracy = report.accuracy
    assert accuracy is not None and accuracy.samples == 64
    assert accuracy.float_baseline.value == 1
    assert accuracy.shipped.value > 0.85
    drop = report.metrics.accuracy_drop.value
    assert drop == pytest.approx(1 - accuracy.shipped.value)
    again = build(tmp_path / "net.keras", tmp_path, "cortex-m0plus", str(tmp_path / "set.npz"))
    assert again.cached
    np.savez(tmp_path / "set.npz", x=x, y=1 - y)
    worse = build(tmp_path / "net.keras", tmp_path, "cortex-m0plus", str(tmp_path / "set.npz"))
    assert not worse.cached and worse.accuracy.float_baseline.value == 0


@pytest.mark.keras
def test_a_float_model_needs_data(needs_tensorflow, tmp_path):
    import keras

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "net.keras")
    with pytest.raises(InputError, match="calibration") as caught:
        edgebuild.build(tmp_path / "net.keras", target="cortex-m4", out=tmp_path / "out")
    assert "--data" in str(caught.value)
    assert not any((tmp_path / "out").glob("*"))
