"""Channels that are pruned away keep their bias when a float ``.tflite`` is quantized."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.models.bias import MAX_BIAS
from edgebuild.models.convert import float_predict, litert_outputs, to_int8_tflite
from edgebuild.models.data import DataSet, quantize_input
from edgebuild.models.source import open_model
from edgebuild.ops.support import check_supported
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite

BIAS = np.array([0.5, -0.75, 0.25], np.float32)


def network(kind):
    """One operator with three output channels, the second of which has weights of zero."""
    rng = np.random.default_rng(0)
    if kind == "FULLY_CONNECTED":
        shapes = {"x": (1, 16), "w": (3, 16), "y": (1, 3)}
        weights = rng.normal(size=shapes["w"]).astype(np.float32)
        weights[1] = 0
    else:
        shapes = {"x": (1, 4, 4, 3), "w": (3, 3, 3, 3), "y": (1, 4, 4, 3)}
        if kind == "DEPTHWISE_CONV_2D":
            shapes["w"] = (1, 3, 3, 3)
        weights = rng.normal(size=shapes["w"]).astype(np.float32)
        weights[(1,) if kind == "CONV_2D" else (..., 1)] = 0
    float32 = DType.FLOAT32
    tensors = [
        Tensor(0, "x", shapes["x"], float32),
        Tensor(1, "w", shapes["w"], float32, None, weights),
        Tensor(2, "b", (3,), float32, None, BIAS),
        Tensor(3, "y", shapes["y"], float32),
    ]
    attrs = {}
    if kind != "FULLY_CONNECTED":
        attrs = {"padding": "SAME", "stride_h": 1, "stride_w": 1, "depth_multiplier": 1}
    op = Op(kind, (0, 1, 2), (3,), attrs)
    return Graph("m", (0,), (3,), (op,), {t.index: t for t in tensors})


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_a_channel_without_weights(tmp_path, kind):
    path = tmp_path / "m.tflite"
    path.write_bytes(write_tflite(network(kind)))
    source = open_model(path)
    shape = source.inputs[0].shape[1:]
    x = np.random.default_rng(1).uniform(-1, 1, (20, *shape)).astype(np.float32)
    model = to_int8_tflite(source, DataSet((x,), None, "x")).model
    expected = float_predict(source, (x,))
    source.close()
    graph = read_tflite(model)
    check_supported(graph)
    (node,) = (n for n in graph.nodes() if n.kind == kind)
    bias, weights = node.input(2), node.input(1)
    assert np.abs(bias.data.astype(np.int64)).max() <= MAX_BIAS
    real = bias.data * np.array(bias.quantization.scales)
    assert real == pytest.approx(BIAS, rel=1e-2)
    assert bias.quantization.scales == pytest.approx(
        tuple(node.input(0).scale * s for s in weights.quantization.scales), rel=1e-5
    )
    given, output = graph.input_tensors[0], graph.output_tensors[0]
    raw = litert_outputs(model, [quantize_input(x.reshape(20, *given.shape), given)])[0]
    found = (raw.astype(np.float64) - output.zero_point) * output.scale
    assert np.abs(found.ravel() - expected.ravel()).max() < 6 * output.scale
