"""The MLPerf Tiny models on every core: equal to TFLite Micro byte for byte, within the bars."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import edgebuild
from edgebuild.report.model import Report
from edgebuild.tflite.reader import read_tflite_file
from edgebuild.verification import make_samples
from tests.made_models import (
    MODELS,
    TFLM_ARENA_BYTES,
    TFLM_INSTRUCTIONS_ON_M4,
    TFLM_INSTRUCTIONS_ON_M55,
)

OUTPUT_BYTES = {"ad01": 640, "kws": 12, "resnet8": 10, "vww96": 2}
CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m0plus", "cortex-m3")
MEASURED_AS = {"cortex-m33": "cortex-m4", "cortex-m0plus": "cortex-m3"}
"""Nobody measured such a core; the arena differs with the DSP extension only."""
SAMPLES = 8


def _matrix():
    """Yield made models on every core; public ones on the cortex-m4, and nightly on the others."""
    public = pytest.mark.models
    for core in CORES:
        marks = (public,) if core == "cortex-m4" else (public, pytest.mark.slow)
        for model in MODELS:
            yield pytest.param("made", model, core, marks=pytest.mark.keras)
            yield pytest.param("public", model, core, marks=marks)


MATRIX = pytest.mark.parametrize(
    ("mlperf_dir", "model", "target"), _matrix(), indirect=["mlperf_dir"]
)


@pytest.fixture(scope="module")
def build(mlperf_dir, tmp_path_factory):
    """Build a model for a target once for all tests of this module."""
    out = tmp_path_factory.mktemp("mlperf_tiny")

    def call(model: str, target: str) -> Report:
        # A second call with the same model and target is answered from the build's own cache.
        return edgebuild.build(
            mlperf_dir / f"{model}_int8.tflite", target=target, out=out, samples=SAMPLES
        )

    return call


@pytest.mark.parametrize("model", MODELS)
def test_the_samples(mlperf_dir, model):
    """Zero, all 127, all -128, then random ones, no two alike."""
    graph = read_tflite_file(mlperf_dir / f"{model}_int8.tflite")
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
def test_arena_is_below_tflite_micros(build, model, target):
    memory = build(model, target).memory
    core = MEASURED_AS.get(target, target)
    assert memory["arena"].value < TFLM_ARENA_BYTES[core][model]
    assert memory["arena lower bound"].value <= memory["arena"].value


@pytest.mark.parametrize("model", MODELS)
def test_tflite_micros_arena_is_enough_and_at_most_35_percent_above(build, model):
    arena = build(model, "cortex-m4").tflm_arena.value
    need = TFLM_ARENA_BYTES["cortex-m4"][model]
    assert need <= arena <= 1.35 * need


@pytest.mark.parametrize("model", ["resnet8", "vww96"])
def test_instructions_on_cortex_m4(build, model):
    instructions = build(model, "cortex-m4").run["instructions"].value
    assert instructions <= TFLM_INSTRUCTIONS_ON_M4[model]


def test_code_of_kws(build):
    flash = build("kws", "cortex-m4").flash
    assert flash["code"].value + flash["runtime"].value < 20_000


@pytest.mark.parametrize("optimize", ["speed", "balanced"])
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_the_stack_of_resnet8_is_within_its_bound(mlperf_dir, tmp_path, target, optimize):
    """Winograd's kernel calls functions of other files through pointers."""
    memory = edgebuild.build(
        mlperf_dir / "resnet8_int8.tflite",
        target=target,
        optimize=optimize,
        out=tmp_path,
        samples=1,
    ).memory
    stack, bound = memory["stack"].value, memory["stack bound"].value
    assert stack <= bound < 1.3 * stack


def needs_qemu():
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")


@pytest.mark.qemu
@pytest.mark.parametrize("target", ["mps2-an386", "mps3-an547"])
@pytest.mark.parametrize("model", MODELS)
def test_qemu_over_the_serial_protocol(mlperf_dir, tmp_path, model, target):
    """The board in QEMU speaks over a pseudo-terminal that pyserial opens."""
    needs_qemu()
    report = edgebuild.build(
        mlperf_dir / f"{model}_int8.tflite",
        target=target,
        out=tmp_path,
        run="qemu",
        samples=SAMPLES,
    )
    comparison = report.comparison
    assert comparison.device == f"qemu {target}"
    assert (comparison.samples, comparison.different_bytes) == (SAMPLES, 0)
    assert comparison.compared_bytes == SAMPLES * OUTPUT_BYTES[model]
    assert report.passed
    instructions = report.run["instructions"].value
    if target == "mps3-an547":  # an instruction makes up to 16 products
        assert report.model["macs"] / 16 < instructions <= TFLM_INSTRUCTIONS_ON_M55[model]
    else:
        assert instructions > report.model["macs"] / 2
    assert 0 < report.memory["stack"].value < 4096
