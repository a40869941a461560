"""The MLPerf Tiny models on every core: equal to TFLite Micro byte for byte, within the bars."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.report.model import Report
from edgebuild.tflite.reader import read_tflite_file
from edgebuild.verification import make_samples

pytestmark = pytest.mark.models

MODELS = ("ad01", "kws", "resnet8", "vww96")
OUTPUT_BYTES = {"ad01": 640, "kws": 12, "resnet8": 10, "vww96": 2}
CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m0plus", "cortex-m3")
MEASURED_AS = {"cortex-m33": "cortex-m4", "cortex-m0plus": "cortex-m3"}
"""The facts have no such core; the arena differs with the DSP extension only."""
SAMPLES = 8

MATRIX = pytest.mark.parametrize(("model", "target"), [(m, c) for c in CORES for m in MODELS])


@pytest.fixture(scope="module")
def build(shared_dir, tmp_path_factory):
    """Build a model for a target once for all tests of this module."""
    out = tmp_path_factory.mktemp("mlperf_tiny")

    def call(model: str, target: str) -> Report:
        # A second call with the same model and target is answered from the build's own cache.
        return edgebuild.build(path(shared_dir, model), target=target, out=out, samples=SAMPLES)

    return call


def path(shared: Path, model: str) -> Path:
    """Return the int8 ``.tflite`` of ``model``."""
    return shared / "models" / "mlperf_tiny" / f"{model}_int8.tflite"


@pytest.fixture(scope="module")
def facts(shared_dir):
    """The rows measured with TFLite Micro and CMSIS-NN."""
    return json.loads((shared_dir / "facts" / "tflm_cmsis_nn.json").read_text())["rows"]


@pytest.mark.parametrize("model", MODELS)
def test_the_samples(shared_dir, model):
    """Zero, all 127, all -128, then random ones, no two alike."""
    graph = read_tflite_file(path(shared_dir, model))
    samples = [
        [np.frombuffer(part, np.int8) for part in sample]
        for sample in make_samples(graph, SAMPLES, seed=0)
    ]
    assert len(samples) == SAMPLES
    sizes = [tensor.nbytes for tensor in graph.input_tensors]
    assert all([len(part) for part in sample] == sizes for sample in samples)
    for sample, value in zip(samples, (0, 127, -128), strict=False):
        assert all((part == value).all() for part in sample)
    for sample in samples[3:]:
        assert all(len(np.unique(part)) > 200 for part in sample)
    assert len({sample[0].tobytes() for sample in samples}) == SAMPLES


@MATRIX
def test_simulator_equals_tflite_micro(build, model, target):
    report = build(model, target)
    comparison = report.comparison
    assert comparison.device == f"simulated {target}"
    assert (comparison.samples, comparison.different_bytes) == (SAMPLES, 0)
    assert comparison.compared_bytes == SAMPLES * OUTPUT_BYTES[model]
    assert report.passed
    layers = report.layers
    assert all(layer.cycles is not None for layer in layers)
    # What run() does outside of its layers is next to nothing.
    assert 0 <= report.run["cycles"].value - sum(layer.cycles for layer in layers) < 100


@MATRIX
def test_arena_is_below_tflite_micros(build, facts, model, target):
    core = MEASURED_AS.get(target, target)
    known = [
        row["arena_bytes"]
        for row in facts
        if (row["model"], row["core"]) == (f"{model}_int8", core)
    ]
    memory = build(model, target).memory
    assert memory["arena"].value < min(known)
    assert memory["arena lower bound"].value <= memory["arena"].value


@pytest.mark.parametrize("model", MODELS)
def test_tflite_micros_arena_is_enough_and_at_most_35_percent_above(build, facts, model):
    arena = build(model, "cortex-m4").tflm_arena.value
    needs = {
        row["arena_bytes"]
        for row in facts
        if row["model"] == f"{model}_int8" and row["core"] == "cortex-m4"
    }
    assert max(needs) <= arena <= 1.35 * max(needs)


@pytest.mark.parametrize("model", ["resnet8", "vww96"])
def test_instructions_on_cortex_m4(build, facts, model):
    best = min(
        row["instructions"]
        for row in facts
        if row["model"] == f"{model}_int8" and row["core"] == "cortex-m4"
    )
    assert build(model, "cortex-m4").run["instructions"].value <= best


def test_code_of_kws(build):
    flash = build("kws", "cortex-m4").flash
    assert flash["code"].value + flash["runtime"].value < 20_000


def needs_qemu():
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")


@pytest.mark.qemu
@pytest.mark.parametrize("target", ["mps2-an386", "mps3-an547"])
@pytest.mark.parametrize("model", MODELS)
def test_qemu_over_the_serial_protocol(shared_dir, tmp_path, model, target):
    """The board in QEMU speaks over a pseudo-terminal that pyserial opens."""
    needs_qemu()
    report = edgebuild.build(
        path(shared_dir, model), target=target, out=tmp_path, run="qemu", samples=SAMPLES
    )
    comparison = report.comparison
    assert comparison.device == f"qemu {target}"
    assert (comparison.samples, comparison.different_bytes) == (SAMPLES, 0)
    assert comparison.compared_bytes == SAMPLES * OUTPUT_BYTES[model]
    assert report.passed
    assert report.run["instructions"].value > report.model["macs"] / 2
    assert 0 < report.memory["stack"].value < 4096
