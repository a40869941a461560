"""Samples, comparison with the oracle, the first layer that differs, accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgebuild
from edgebuild.backends import cortex_m
from edgebuild.backends.base import Emitted
from edgebuild.backends.emit import emit_library
from edgebuild.backends.native import compile_for_host
from edgebuild.devices.base import RunResult
from edgebuild.devices.host import HostDevice
from edgebuild.graph import DType, Graph
from edgebuild.ops.cases import activation, one_op
from edgebuild.pipeline import steps
from edgebuild.report.advice import check_failure
from edgebuild.schedule import usual_schedule
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import (
    GeneratedC,
    LiteRt,
    compare,
    compare_with_litert,
    make_samples,
)
from tests.small import small_model

MODEL = small_model()
GRAPH = read_tflite(MODEL, name="small", where="small.tflite")
FAULT = (".pad = -10,", ".pad = 99,")
"""In the depthwise layer's parameters."""

NO_LAYER = "no layer differs when the same C runs on the host: "


def values(samples, dtype=np.int8):
    return [np.frombuffer(sample[0], dtype) for sample in samples]


def test_samples_begin_with_the_extremes():
    samples = make_samples(GRAPH, 8, seed=0)
    arrays = values(samples)
    assert [len(a) for a in arrays] == [64] * 8
    assert [set(a.tolist()) for a in arrays[:3]] == [{0}, {127}, {-128}]
    assert all(len(set(a.tolist())) > 20 for a in arrays[3:])
    assert min(a.min() for a in arrays[3:]) < -120 and max(a.max() for a in arrays[3:]) > 120
    assert len(set(samples)) == 8
    assert samples == make_samples(GRAPH, 8, seed=0) != make_samples(GRAPH, 8, seed=1)
    assert make_samples(GRAPH, 2, seed=0) == samples[:2]


def test_samples_take_real_data_after_the_extremes():
    real = [[np.full((1, 8, 8, 1), n, np.int8)] for n in (5, 6)]
    arrays = values(make_samples(GRAPH, 6, seed=0, real=real))
    assert [set(a.tolist()) for a in arrays[:5]] == [{0}, {127}, {-128}, {5}, {6}]
    assert len(set(arrays[5].tolist())) > 20
    many = [[np.full((1, 8, 8, 1), n, np.int8)] for n in range(20)]
    assert len(make_samples(GRAPH, 4, seed=0, real=many)) == 4


def test_samples_of_several_inputs_and_types():
    inputs = [activation((1, 4)), activation((2, 3))]
    two = one_op("two", "CONCATENATION", inputs, [activation((1, 4))]).graph
    assert [[len(part) for part in sample] for sample in make_samples(two, 4, 0)] == [[4, 6]] * 4

    def of(dtype: DType) -> list[np.ndarray]:
        graph = one_op("x", "RELU", [activation((50,), dtype=dtype)], [activation((50,))]).graph
        return values(make_samples(graph, 5, 0), dtype.numpy)

    assert [set(a.tolist()) for a in of(DType.FLOAT32)[:3]] == [{0.0}, {1.0}, {-1.0}]
    assert [set(a.tolist()) for a in of(DType.BOOL)[:3]] == [{False}, {True}, {False}]
    assert set(of(DType.BOOL)[3].tolist()) == {False, True}
    assert [set(a.tolist()) for a in of(DType.INT32)[:3]] == [{0}, {2**31 - 1}, {-(2**31)}]
    assert np.isfinite(of(DType.FLOAT32)[3]).all()


class Host:
    """The portable C of a graph, with ``fault`` (old, new) put into its layers."""

    def __init__(self, graph: Graph, folder: Path, fault: tuple[str, str] | None = None) -> None:
        self.graph = graph
        calls = usual_schedule(graph, CpuFeatures()).calls
        self.emitted = emit_library(graph, graph.name, CpuFeatures(), calls=calls)
        if fault is not None:
            self.emitted = with_fault(self.emitted, *fault)
        self.device: HostDevice = compile_for_host(self.emitted, "zig", folder, lambda _: None)

    def trace(self, sample: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """Return every layer's outputs, as the pipeline does."""
        offsets = self.emitted.plan.offsets
        places = [
            [(offsets[t.index], t.nbytes) for t in node.outputs] for node in self.graph.nodes()
        ]
        return self.device.trace(sample, places)


def with_fault(emitted: Emitted, old: str, new: str) -> Emitted:
    """Return ``emitted`` with ``old`` replaced in the layers' parameters."""
    path = f"lib/{emitted.name}.c"
    assert emitted.files[path].count(old) == 1
    return emitted.with_files({path: emitted.files[path].replace(old, new)})


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return Host(GRAPH, tmp_path_factory.mktemp("healthy"))


def test_equal(healthy):
    samples = make_samples(GRAPH, 5, seed=0)
    result = healthy.device.run(samples)
    comparison = compare(GRAPH, MODEL, samples, result, healthy.trace)
    assert comparison.equal
    assert (comparison.samples, comparison.compared_bytes) == (5, 50)
    assert comparison.device == "host" and comparison.oracle.startswith("tflite-micro ")
    assert comparison.first_divergence == ""


@pytest.mark.parametrize(
    ("old", "new", "layer"),
    [
        (".pad = -128,", ".pad = 127,", "layer 0, CONV_2D (operator 0), output 'conv' [1, 8"),
        (*FAULT, "layer 1, DEPTHWISE_CONV_2D (operator 1), output 'dw'"),
        (".depth = 512,", ".depth = 508,", "layer 3, FULLY_CONNECTED (operator 3), output 'l"),
        (".table_length = 139,", ".table_length = 1,", "layer 4, SOFTMAX (operator 4)"),
    ],
)  # fmt: skip
def test_a_fault_in_the_c_is_traced_to_its_layer(tmp_path, old, new, layer):
    host = Host(GRAPH, tmp_path, (old, new))
    samples = make_samples(GRAPH, 6, seed=0)
    comparison = compare(GRAPH, MODEL, samples, host.device.run(samples), host.trace)
    assert not comparison.equal
    assert 0 < comparison.different_bytes <= comparison.compared_bytes == 60
    assert comparison.first_divergence.startswith(layer)
    assert comparison.first_divergence.endswith(" bytes differ")


def test_a_fault_of_the_device_alone(healthy):
    samples = make_samples(GRAPH, 4, seed=0)
    result = healthy.device.run(samples)
    wrong = bytes([result.outputs[2][0][0] ^ 1]) + result.outputs[2][0][1:]
    broken = dataclasses.replace(result, outputs=(*result.outputs[:2], (wrong,), result.outputs[3]))
    comparison = compare(GRAPH, MODEL, samples, broken, healthy.trace)
    assert comparison.different_bytes == 1
    assert comparison.first_divergence.startswith(NO_LAYER)
    assert compare(GRAPH, MODEL, samples, broken).first_divergence == ""


def test_outputs_of_another_length(healthy):
    samples = make_samples(GRAPH, 1, seed=0)
    result = RunResult("host", ((b"\0" * 7,),))
    assert compare(GRAPH, MODEL, samples, result).different_bytes == 10


def test_a_build_says_which_layer_is_wrong(tmp_path, monkeypatch):
    """The same fault in what is flashed and in what is traced: the layer is named."""
    (tmp_path / "small.tflite").write_bytes(MODEL)

    def faulty(*given: Any, **named: Any) -> Emitted:
        return with_fault(emit_library(*given, **named), *FAULT)

    monkeypatch.setattr(cortex_m, "emit_library", faulty)
    monkeypatch.setattr(steps, "emit_library", faulty)
    report = edgebuild.build(
        tmp_path / "small.tflite", target="cortex-m0plus", out=tmp_path, use_cache=False
    )
    assert not report.passed and report.violations == ()
    assert report.comparison.device == "simulated cortex-m0plus"
    failure = check_failure(report)
    assert (
        failure.exit_code == 1
        and "output bytes differ from those of tflite-micro" in failure.message
    )
    assert failure.details[0].startswith("layer 1, DEPTHWISE_CONV_2D (operator 1), output 'dw'")
    assert failure.hint == "report this as a bug, with the model"


def test_a_build_whose_firmware_alone_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "small.tflite").write_bytes(MODEL)
    monkeypatch.setattr(
        cortex_m,
        "emit_library",
        lambda *given, **named: with_fault(emit_library(*given, **named), *FAULT),
    )
    report = edgebuild.build(
        tmp_path / "small.tflite", target="cortex-m0plus", out=tmp_path, use_cache=False
    )
    assert not report.passed
    assert report.comparison.first_divergence.startswith(NO_LAYER)


def test_two_engines_give_the_same_outputs(healthy):
    q = np.random.default_rng(6).integers(-128, 128, (20, 1, 8, 8, 1), dtype=np.int8)
    ours, theirs = (
        e.outputs([q])[0] for e in (GeneratedC(GRAPH, lambda: healthy.device), LiteRt(MODEL))
    )
    assert ours.shape == theirs.shape == (20, 10)
    assert np.abs(ours.astype(int) - theirs).max() <= 2  # LiteRT rounds FULLY_CONNECTED otherwise


@pytest.mark.parametrize(
    ("shift", "tolerance", "different", "close"),
    [(0, 0, 0, 0), (1, 1, 0, 10), (1, 0, 10, 0), (2, 1, 10, 0)],
)
def test_a_device_that_rounds_otherwise(shift, tolerance, different, close):
    sample = make_samples(GRAPH, 1, 0)
    (truth,) = LiteRt(MODEL).outputs([np.frombuffer(sample[0][0], np.int8).reshape(1, 1, 8, 8, 1)])
    ours = np.where(truth > 100, truth - shift, truth + shift).astype(np.int8)
    result = RunResult("chip", ((ours.tobytes(),),))
    found = compare_with_litert(GRAPH, MODEL, sample, result, tolerance=tolerance)
    assert (found.different_bytes, found.close_bytes) == (different, close)
    assert found.equal == (different == 0)
