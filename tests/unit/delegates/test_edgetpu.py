"""The Edge TPU compiler's mapping, said without it: each constraint, and partitions."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgebuild.delegates.edgetpu import cocompile, compiler_status, edgetpu_compatibility
from edgebuild.delegates.edgetpu_memory import LayerParameters, cache_parameters, cache_together
from edgebuild.delegates.edgetpu_rules import _HOLDS, table
from edgebuild.errors import ModelError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from tests.small import small_graph

Q = Quantization((0.05,), (0,))
STATUS = table()["statuses"]


def const(values, dtype=DType.INT32, quantization=None):
    return np.asarray(values, dtype.numpy), dtype, quantization


def weights(*shape, value=1):
    return const(np.full(shape, value), DType.INT8, Q)


def graph_of(kind, inputs, output, *, dtype=DType.INT8, version=1, out_dtype=None, **attrs):
    """Return a graph of one operator; inputs are shapes (activations) or constants."""
    tensors, ids, activations = {}, [], []
    for i, given in enumerate(inputs):
        if isinstance(given[0], np.ndarray):
            data, kind_of, q = given
            tensors[i] = Tensor(i, f"c{i}", data.shape, kind_of, q, data)
        else:
            tensors[i] = Tensor(i, f"x{i}", tuple(given), dtype, Q)
            activations.append(i)
        ids.append(i)
    n = len(inputs)
    tensors[n] = Tensor(n, "y", tuple(output), out_dtype or dtype, Q)
    op = Op(kind, tuple(ids), (n,), attrs, 0, version)
    return Graph("one", tuple(activations), (n,), (op,), tensors)


IMAGE = (1, 8, 8, 4)
RELU = {"fused_activation_function": "RELU"}
UNEVEN = {"dilation_w_factor": 2, "dilation_h_factor": 1}
SIZE = const([16, 16])

MAPPED = {
    "add": graph_of("ADD", [IMAGE, IMAGE], IMAGE, **RELU),
    "conv": graph_of("CONV_2D", [IMAGE, weights(8, 3, 3, 4), const([0] * 8)], (1, 8, 8, 8)),
    "uint8": graph_of("RELU", [IMAGE], IMAGE, dtype=DType.UINT8),
    "zero padding": graph_of(
        "CONCATENATION", [IMAGE, weights(1, 8, 8, 4, value=0)], (1, 8, 8, 8), axis=3
    ),
    "mean": graph_of("MEAN", [IMAGE, const([1, 2])], (1, 4)),
    "mean of four channels": graph_of("MEAN", [IMAGE, const([-1])], (1, 8, 8)),
    "pad": graph_of("PAD", [IMAGE, const([[0, 0], [1, 1], [1, 1], [0, 0]])], (1, 10, 10, 4)),
    "resize": graph_of("RESIZE_BILINEAR", [IMAGE, SIZE], (1, 16, 16, 4)),
    "softmax": graph_of("SOFTMAX", [(1, 16000)], (1, 16000)),
    "slice": graph_of(
        "STRIDED_SLICE", [IMAGE, const([0] * 4), const([1, 4, 4, 4]), const([1] * 4)], (1, 4, 4, 4)
    ),
    "prelu": graph_of("PRELU", [IMAGE, weights(1, 1, 4)], IMAGE),
    "five dimensions": graph_of("RELU", [(1, 1, 8, 8, 4)], (1, 1, 8, 8, 4)),
    "squeeze": graph_of("SQUEEZE", [(1, 1, 8, 4)], (8, 4)),
    "matrix": graph_of("FULLY_CONNECTED", [(1, 6), weights(5, 6)], (1, 5)),
}

REFUSED = {
    "operator": (graph_of("ARG_MAX", [IMAGE, const(3)], (1, 8, 8)), "operator", ""),
    "leaky": (graph_of("LEAKY_RELU", [IMAGE], IMAGE), "operator", ""),
    "float": (graph_of("ADD", [IMAGE, IMAGE], IMAGE, dtype=DType.FLOAT32), "type", "float32"),
    "int32": (graph_of("MUL", [IMAGE, IMAGE], IMAGE, dtype=DType.INT32), "type", "int32"),
    "float weights": (
        graph_of("FULLY_CONNECTED", [(1, 6), const(np.ones((5, 6)), DType.FLOAT32)], (1, 5)),
        "type",
        "constant of float32",
    ),
    "quantize from float": (
        graph_of("QUANTIZE", [IMAGE], IMAGE, dtype=DType.FLOAT32, out_dtype=DType.INT8),
        "limitation",
        "float32",
    ),
    "dequantize": (
        graph_of("DEQUANTIZE", [IMAGE], IMAGE, out_dtype=DType.FLOAT32),
        "type",
        "float32",
    ),
    "version": (
        graph_of("FULLY_CONNECTED", [(1, 6), weights(5, 6)], (1, 5), version=12),
        "version",
        "",
    ),
    "batch of four dimensions": (graph_of("RELU", [(2, 8, 8, 4)], (2, 8, 8, 4)), "rank", ""),
    "weights": (graph_of("CONV_2D", [IMAGE, (8, 3, 3, 4)], (1, 8, 8, 8)), "constant", "weights"),
    "shape": (graph_of("RESHAPE", [(1, 16), (2,)], (16, 1)), "dynamic", "shapes"),
    "fused pool": (graph_of("MAX_POOL_2D", [IMAGE], (1, 4, 4, 4), **RELU), "limitation", "fused"),
    "fused concatenation": (
        graph_of("CONCATENATION", [IMAGE, IMAGE], (1, 8, 8, 8), axis=3, **RELU),
        "limitation",
        "fused",
    ),
    "constant in concatenation": (
        graph_of("CONCATENATION", [IMAGE, weights(1, 8, 8, 4)], (1, 8, 8, 8), axis=3),
        "limitation",
        "all zeros",
    ),
    "dilation": (
        graph_of("CONV_2D", [IMAGE, weights(8, 3, 3, 4)], (1, 8, 8, 8), **UNEVEN),
        "limitation",
        "dilation",
    ),
    "weights format": (
        graph_of("FULLY_CONNECTED", [(1, 6), weights(5, 6)], (1, 5), weights_format="SHUFFLED"),
        "limitation",
        "default format",
    ),
    "matrix of rows": (
        graph_of("FULLY_CONNECTED", [(3, 6), weights(5, 6)], (3, 5)),
        "limitation",
        "output",
    ),
    "softmax of rows": (graph_of("SOFTMAX", [(3, 6)], (3, 6)), "limitation", "input"),
    "large softmax": (graph_of("SOFTMAX", [(1, 16001)], (1, 16001)), "limitation", "16,000"),
    "mean over batch": (graph_of("MEAN", [IMAGE, const([0])], (8, 8, 4)), "limitation", "batch"),
    "mean of six channels": (
        graph_of("MEAN", [(1, 8, 8, 6), const([3])], (1, 8, 8)),
        "limitation",
        "multiple of four",
    ),
    "pack": (graph_of("PACK", [(4,), (4,)], (2, 4), axis=0), "limitation", "batch"),
    "pad of batch": (
        graph_of("PAD", [(1, 8, 4), const([[0, 1], [0, 0], [0, 0]])], (2, 8, 4)),
        "limitation",
        "batch",
    ),
    "split of batch": (graph_of("SPLIT", [const(0), (4, 4)], (2, 4)), "limitation", "batch"),
    "alpha": (
        graph_of("PRELU", [IMAGE, weights(8, 8, 4)], IMAGE),
        "limitation",
        "alpha",
    ),
    "strides": (
        graph_of(
            "STRIDED_SLICE",
            [IMAGE, const([0] * 4), const([1, 8, 8, 4]), const([1, 2, 2, 1])],
            (1, 4, 4, 4),
        ),
        "limitation",
        "strides",
    ),
    "new axis": (
        graph_of(
            "STRIDED_SLICE",
            [IMAGE, const([0] * 4), const([1, 8, 8, 4]), const([1] * 4)],
            IMAGE,
            new_axis_mask=1,
        ),
        "limitation",
        "new axis",
    ),
    "inner squeeze": (graph_of("SQUEEZE", [(1, 8, 1, 4)], (1, 8, 4)), "limitation", "leading"),
    "large factor": (
        graph_of("RESIZE_BILINEAR", [(1, 1, 1, 4), const([33, 33])], (1, 33, 33, 4)),
        "limitation",
        "eightfold",
    ),
    "large resize": (
        graph_of("RESIZE_NEAREST_NEIGHBOR", [(1, 256, 256, 32), SIZE], (1, 512, 512, 32)),
        "limitation",
        "2 MiB",
    ),
}


@pytest.mark.parametrize("name", MAPPED)
def test_a_supported_form_is_mapped(name):
    found = edgetpu_compatibility(MAPPED[name])
    assert found.fallbacks == ()
    assert [row[2] for row in found.compiler_table()] == [STATUS["mapped"]]


@pytest.mark.parametrize("name", REFUSED)
def test_a_constraint_refuses_with_the_compilers_status(name):
    graph, status, words = REFUSED[name]
    (verdict,) = edgetpu_compatibility(graph).verdicts
    assert compiler_status(verdict.reason) == STATUS[status]
    assert words in verdict.reason
    assert edgetpu_compatibility(graph).cached_bytes.value == 0


def test_every_constraint_is_tested_and_used():
    asked = {name for entry in table()["ops"].values() for name in entry["constraints"]}
    assert asked == set(table()["constraints"]) == set(_HOLDS)
    words = [v.reason for g, _, _ in REFUSED.values() for v in edgetpu_compatibility(g).verdicts]
    untested = [
        name
        for name, constraint in table()["constraints"].items()
        if not any(constraint["words"] in reason for reason in words)
    ]
    assert untested == []


def test_every_source_of_an_operator_is_named():
    sources = {s for entry in table()["ops"].values() for s in entry["sources"]}
    assert sources <= set(table()["sources"])


def chain(*kinds):
    """Return a graph of unary operators in a row."""
    tensors = {i: Tensor(i, f"t{i}", IMAGE, DType.INT8, Q) for i in range(len(kinds) + 1)}
    ops = tuple(Op(kind, (i,), (i + 1,)) for i, kind in enumerate(kinds))
    return Graph("chain", (0,), (len(kinds),), ops, tensors)


def test_the_partition_ends_at_the_first_unsupported_operator():
    graph = chain("RELU", "ABS", "RELU", "TANH")
    reasons = [v.reason for v in edgetpu_compatibility(graph).verdicts]
    assert reasons == ["", STATUS["operator"], STATUS["subgraph"], STATUS["subgraph"]]
    found = edgetpu_compatibility(graph, multiple_subgraphs=True)
    assert [v.delegated for v in found.verdicts] == [True, False, True, True]
    assert found.delegated_partitions == 2


def test_unsupported_operators_in_front_stay_in_front():
    found = edgetpu_compatibility(chain("ABS", "RELU", "TANH"))
    assert [v.delegated for v in found.verdicts] == [False, True, True]


def test_a_path_beside_an_unsupported_operator_stays_mapped():
    graph = chain("RELU", "ABS", "RELU")
    ops = (*graph.ops, Op("TANH", (1,), (9,)))
    tensors = {**graph.tensors, 9: Tensor(9, "t9", IMAGE, DType.INT8, Q)}
    found = edgetpu_compatibility(graph.replace(ops=ops, tensors=tensors, outputs=(3, 9)))
    assert [v.delegated for v in found.verdicts] == [True, False, False, True]


def test_an_operator_without_its_inputs_is_a_model_error():
    graph = graph_of("CONV_2D", [IMAGE, weights(8, 4)], (1, 8, 8, 8))
    with pytest.raises(ModelError, match=r"CONV_2D \(operator 0\): its inputs, shapes or options"):
        edgetpu_compatibility(graph)


def test_parameters_of_a_small_model():
    """By hand: 16*(9*4+12) conv, 8*(9*4+12) depthwise, 16*(512+4) dense, 3*160 softmax to 64."""
    found = edgetpu_compatibility(small_graph())
    sizes = {layer.kind: layer.cacheable for layer in found.layers}
    assert sizes == {
        "CONV_2D": 16 * 48,
        "DEPTHWISE_CONV_2D": 8 * 48,
        "FULLY_CONNECTED": 129 * 64,
        "SOFTMAX": 3 * 192,
    }
    assert found.cached_bytes.value == sum(sizes.values())
    assert found.streamed_bytes.value == 0
    json.dumps(found.to_json())


def test_zero_biases_take_no_memory():
    graph = small_graph()
    tensors = dict(graph.tensors)
    tensors[2] = replace(tensors[2], data=np.zeros_like(tensors[2].data))
    layers = edgetpu_compatibility(graph.replace(tensors=tensors)).layers
    assert layers[0].cacheable == 16 * 44 + 0


def test_layers_that_do_not_fit_are_streamed_whole():
    layers = [LayerParameters(i, "CONV_2D", size, 10) for i, size in enumerate((60, 50, 30, 20))]
    plan = cache_parameters(layers, 100)
    assert (plan.cached_bytes, plan.streamed_bytes, plan.remaining_bytes) == (90, 110, 10)
    assert plan.uncached == (1, 3)


def test_models_compiled_together_share_the_memory_in_order():
    one = [LayerParameters(0, "CONV_2D", 70)]
    two = [LayerParameters(0, "CONV_2D", 20), LayerParameters(1, "CONV_2D", 20)]
    first, second = cache_together([one, two], 100)
    assert (first.cached_bytes, second.cached_bytes, second.streamed_bytes) == (70, 20, 20)
    second, first = cache_together([two, one], 100)
    assert (first.cached_bytes, first.streamed_bytes, second.cached_bytes) == (0, 70, 40)


def large_dense():
    """Return a model of 6 MiB of weights in one operator."""
    return graph_of("FULLY_CONNECTED", [(1, 4096), weights(1536, 4096)], (1, 1536))


def test_two_large_models_do_not_fit_together():
    first, second = cocompile([large_dense(), large_dense()])
    assert first.cached_bytes == 1536 * 4096
    assert (second.cached_bytes, second.streamed_bytes) == (0, 1536 * 4096)
    assert second.uncached == (0,)


def test_a_guess_is_told():
    notes = edgetpu_compatibility(chain("RELU", "L2_NORMALIZATION")).notes
    assert any("parameters of L2_NORMALIZATION: their bytes are a guess" in n for n in notes)
    assert not any("RELU" in note for note in notes)


def per_channel(*shape):
    axis = Quantization((0.1,) * shape[0], (0,) * shape[0], 0)
    return const(np.full(shape, 1), DType.INT8, axis)


@pytest.mark.parametrize(("size", "known"), [(512, 266_240), (1024, 1_056_768)])
def test_dense_layers_that_others_compiled(size, known):
    """LibrEdgeTPU publishes in * out + 8 * out bytes for square layers without bias."""
    graph = graph_of("FULLY_CONNECTED", [(1, size), per_channel(size, size)], (1, size))
    assert edgetpu_compatibility(graph).cached_bytes.value == known


def test_a_convolution_that_others_compiled():
    """coral-usb-oxidized publishes 4,608 bytes for 1x1, 64 to 64 channels, on 32x32."""
    shape = (1, 32, 32, 64)
    graph = graph_of("CONV_2D", [shape, per_channel(64, 1, 1, 64), const([0] * 64)], shape)
    assert edgetpu_compatibility(graph).cached_bytes.value == 4608
