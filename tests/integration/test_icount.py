"""The simulator's instruction counts against QEMU's, ``-icount``, on the same firmware."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgebuild.backends import backend_for
from edgebuild.backends.base import Compiled
from edgebuild.graph import Graph
from edgebuild.pipeline import BuildRequest, make_plan
from edgebuild.pipeline.resolve import load
from edgebuild.verification import make_samples
from tests.small import small_model

pytestmark = pytest.mark.qemu

TOLERANCE = 1e-4
TICK = 40
"""Instructions of one tick of the boards' 25 MHz counter, where an instruction takes 1 ns."""
TARGETS = ["mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505"]
"""Cortex-M3, M4, M7 and M33 boards."""


def compiled(model: Path, target: str, toolchain: str, out: Path) -> tuple[Compiled, Graph]:
    """Compile the firmware of ``model`` and leave it in ``out``."""
    plan = make_plan(BuildRequest(model, target, toolchain=toolchain))
    loaded = load(plan, lambda _: None)
    backend = backend_for(plan.target.family)
    emitted = backend.emit(loaded.graph, loaded.source_graph, loaded.model, plan.name, plan.target)
    return backend.compile(emitted, plan.target, toolchain, out, lambda _: None), loaded.graph


def assert_equal_counts(model: Path, target: str, toolchain: str, out: Path) -> None:
    """Run one inference in both; QEMU's count includes the layer hooks."""
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    firmware, graph = compiled(model, target, toolchain, out)
    sample = make_samples(graph, 4, seed=0)[3:]
    simulator = firmware.open_device("simulator")
    simulated = simulator.run(sample)
    emulated = firmware.open_device("qemu").run(sample)
    assert simulated.outputs == emulated.outputs
    raw = simulator.raw_instructions  # type: ignore[attr-defined]
    assert emulated.instructions is not None and simulated.instructions is not None
    counted = emulated.instructions.value
    assert abs(counted - raw) <= max(TOLERANCE * raw, TICK)
    # Without the hooks, which are not the model's, the report says a little less.
    assert 0 < raw - simulated.instructions.value < 1000 * len(graph.ops)
    hooks = (raw - simulated.instructions.value) / len(graph.ops)
    for ours, theirs in zip(simulated.layers, emulated.layers, strict=True):
        assert ours.instructions is not None and theirs.instructions is not None
        assert (
            abs(theirs.instructions - ours.instructions - hooks)
            < 2 * TICK + 1e-3 * ours.instructions
        )


@pytest.mark.parametrize("target", TARGETS)
def test_small_model(tmp_path, target):
    model = tmp_path / "small.tflite"
    model.write_bytes(small_model(side=32, channels=32))
    assert_equal_counts(model, target, "zig", tmp_path)


@pytest.mark.gcc
def test_small_model_by_gcc(tmp_path):
    model = tmp_path / "small.tflite"
    model.write_bytes(small_model(side=32, channels=32))
    assert_equal_counts(model, "mps2-an386", "gcc", tmp_path)


@pytest.mark.parametrize("target", ["mps2-an386", "mps2-an500"])
def test_kws(mlperf_dir, tmp_path, target):
    model = mlperf_dir / "kws_int8.tflite"
    assert_equal_counts(model, target, "zig", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ad01", "resnet8", "vww96"])
def test_the_other_models(mlperf_dir, tmp_path, name):
    model = mlperf_dir / f"{name}_int8.tflite"
    assert_equal_counts(model, "mps2-an386", "zig", tmp_path)
