"""PAD in front of convolutions: when the convolutions pad themselves, and when not."""

import dataclasses

import pytest

import edgebuild
from edgebuild.graph import DType
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.passes import FoldPadding, RemoveUnused, run_passes
from edgebuild.tflite.writer import write_tflite
from tests.chains import wired

AROUND = [(0, 0), (1, 1), (1, 1), (0, 0)]


def framed(layers, pairs=AROUND, value=None):
    """Return PAD or, with a ``value``, PADV2 and ``layers``, which all read what it writes."""
    given = layers[0].input_tensors[0]
    shape = [d - sum(pair) for d, pair in zip(given.shape, pairs, strict=True)]
    inputs = [activation(shape, given.scale, given.zero_point), constant(pairs, dtype=DType.INT32)]
    if value is not None:
        inputs.append(constant([value], given.scale, given.zero_point))
    kind = "PAD" if value is None else "PADV2"
    outputs = [activation(given.shape, given.scale, given.zero_point)]
    pad = one_op("pad", kind, inputs, outputs).graph
    return wired([pad, *layers], [[-1], *([0] for _ in layers)])


def kinds(graph):
    folded = run_passes(graph, (FoldPadding(), RemoveUnused())).graph
    return [op.kind for op in folded.ops]


@pytest.fixture
def conv(bench):
    return bench.Layers(1).conv((1, 10, 10, 4), 8, (3, 3), padding="VALID", stride=(2, 2))


def test_a_convolution_pads_itself(conv):
    graph = framed([conv])
    (op,) = run_passes(graph, (FoldPadding(), RemoveUnused())).graph.ops
    assert op.inputs[0] == graph.inputs[0]
    assert (op.attrs["padding"], op.attrs["pads"]) == ("EXPLICIT", ((1, 1), (1, 1)))


def test_so_do_all_that_read_the_frame(conv, bench):
    depthwise = bench.Layers(2).depthwise((1, 10, 10, 4), (3, 3), padding="VALID")
    both = framed([conv, depthwise])
    both = both.replace(outputs=tuple(op.outputs[0] for op in both.ops[1:]))
    assert kinds(both) == ["CONV_2D", "DEPTHWISE_CONV_2D"]


def test_a_value_that_convolutions_pad_with(conv):
    zero = conv.input_tensors[0].zero_point
    assert kinds(framed([conv], value=zero)) == ["CONV_2D"]
    assert kinds(framed([conv], value=zero + 1)) == ["PADV2", "CONV_2D"]


def test_what_stays(conv, bench):
    graph = framed([conv])
    also_output = graph.replace(outputs=(*graph.outputs, graph.ops[0].outputs[0]))
    assert kinds(also_output) == ["PAD", "CONV_2D"]
    same = bench.Layers(1).conv((1, 10, 10, 4), 8, (3, 3), padding="SAME")
    assert kinds(framed([same])) == ["PAD", "CONV_2D"]
    channels = [(0, 0), (1, 1), (1, 1), (0, 2)]
    assert kinds(framed([conv], channels)) == ["PAD", "CONV_2D"]
    whole_kernels = [(0, 0), (3, 0), (1, 1), (0, 0)]
    assert kinds(framed([conv], whole_kernels)) == ["PAD", "CONV_2D"]
    pool = bench.Layers(1).pool("MAX_POOL_2D", (1, 10, 10, 4), (2, 2))
    assert kinds(framed([pool])) == ["PAD", "MAX_POOL_2D"]


def test_another_scale_stays(conv):
    graph = framed([conv])
    source = graph.tensors[graph.inputs[0]]
    quantization = dataclasses.replace(source.quantization, scales=(0.5,))
    changed = dataclasses.replace(source, quantization=quantization)
    assert kinds(graph.replace(tensors={**graph.tensors, source.index: changed}))[0] == "PAD"


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_the_build_equals_the_oracle(conv, target, tmp_path):
    path = tmp_path / "framed.tflite"
    path.write_bytes(write_tflite(framed([conv])))
    report = edgebuild.build(path, target=target, out=tmp_path / "out", samples=8)
    assert report.comparison.equal
    assert not list((tmp_path / "out").rglob("pad.c"))
