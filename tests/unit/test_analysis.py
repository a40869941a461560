"""What is said of a model without compiling it."""

from __future__ import annotations

import json
import time

import pytest

from edgebuild.analysis import analyze
from edgebuild.errors import InputError, ModelError, UnsupportedOperatorError
from edgebuild.graph import Op
from edgebuild.tflite.writer import write_tflite
from tests.small import small_graph, small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("analysis") / "small.tflite"
    path.write_bytes(small_model())
    return path


def test_what_is_known(model):
    found = analyze(model, "cortex-m4")
    assert found.target == "cortex-m4"
    assert [layer.kind for layer in found.layers] == [op.kind for op in small_graph().ops]
    assert found.macs == 4608 + 4608 + 5120
    assert found.parameter_bytes == 2 * (72 + 32) + 8 + 5120 + 40
    assert found.lower_bound_bytes <= found.arena_bytes
    assert found.constant_bytes > found.parameter_bytes - 8
    assert found.inputs == ("int8 1x8x8x1, scale 0.00392157, zero point -128 (image)",)
    assert found.outputs == ("int8 1x10, scale 0.00390625, zero point -128 (scores)",)
    assert "conv2d/conv2d_s8_dsp.c" in found.kernel_sources
    value = found.to_json()
    assert json.loads(json.dumps(value)) == json.loads(json.dumps(value, sort_keys=True))
    assert value["arena_bytes"] == found.arena_bytes


def test_the_target_chooses_the_kernels(model):
    plain, dsp = analyze(model, "cortex-m0plus"), analyze(model, "cortex-m4")
    assert "conv2d/conv2d_s8.c" in plain.kernel_sources
    assert not any("dsp" in source for source in plain.kernel_sources)
    assert any("dsp" in source for source in dsp.kernel_sources)
    assert plain.macs == dsp.macs


def test_a_core_without_prediction(model):
    found = analyze(model, "cortex-m55")
    assert found.cycles is None and found.latency_us is None
    assert all(layer.cycles is None for layer in found.layers)


def test_errors(model, tmp_path):
    with pytest.raises(InputError, match="did you mean 'cortex-m"):
        analyze(model, "cortex-m44")
    with pytest.raises(ModelError, match=r"none\.tflite"):
        analyze(tmp_path / "none.tflite", "cortex-m4")
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(model.read_bytes()[:-3000])
    with pytest.raises(ModelError, match=r"bad\.tflite"):
        analyze(bad, "cortex-m4")
    graph = small_graph()
    odd = graph.replace(ops=(*graph.ops[:-1], Op("LOG_SOFTMAX", (11,), (12,))))
    bad.write_bytes(write_tflite(odd))
    with pytest.raises(UnsupportedOperatorError, match=r"bad\.tflite"):
        analyze(bad, "cortex-m4")


def test_the_answer_comes_at_once(model):
    start = time.monotonic()
    analyze(model, "cortex-m4")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", ["kws", "resnet8", "vww96", "ad01"])
def test_real_models(mlperf_dir, name):
    path = mlperf_dir / f"{name}_int8.tflite"
    found = analyze(path, "cortex-m4")
    assert found.macs > 200_000
