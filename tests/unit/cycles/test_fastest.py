"""Of the kernels that may run a layer, the one with the fewest predicted cycles does."""

import pytest

from edgebuild.cycles import predict
from edgebuild.cycles.kernels import kernel_name
from edgebuild.cycles.predict import fastest
from edgebuild.ops import OPS
from edgebuild.profile import CORES
from edgebuild.targets import CpuFeatures

M4, M55, PORTABLE = CORES["cortex-m4"], CORES["cortex-m55"], CpuFeatures()


@pytest.fixture
def make(bench):
    return bench.Layers(1)


def chosen(graph, cpu=M4):
    return kernel_name(fastest(graph.node(0), cpu))


def test_a_single_output_does_not_pay_for_prepared_weights(make):
    """A streaming layer: 23 rows of one pixel, of which one output is left."""
    streaming = make.depthwise((1, 23, 1, 64), (23, 1), padding="VALID")
    assert chosen(streaming) == "depthwise_conv2d_s8"
    assert OPS["DEPTHWISE_CONV_2D"].kernel(streaming.node(0), M4).function.endswith("_dsp")
    assert chosen(make.depthwise((1, 23, 20, 64), (5, 5), padding="SAME")).endswith("_dsp")


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_layers_of_many_outputs_run_the_usual_kernel(make, kind):
    graph = make.conv((1, 8, 8, 16), 16) if kind == "conv" else make.dense((1, 128), 64)
    node = graph.node(0)
    assert fastest(node, M4).function == OPS[node.kind].kernel(node, M4).function
    assert len(OPS[node.kind].candidates(node, M4)) >= 2


def test_other_cores_have_no_choice(make):
    node = make.depthwise((1, 23, 1, 64), (23, 1), padding="VALID").node(0)
    for cpu, ending in ((M55, "_mve"), (PORTABLE, "_s8")):
        (only,) = OPS[node.kind].candidates(node, cpu)
        assert only.function.endswith(ending) and fastest(node, cpu).function == only.function


def test_without_a_fit_the_usual_kernel_runs(make, monkeypatch):
    node = make.depthwise((1, 23, 1, 64), (23, 1), padding="VALID").node(0)
    monkeypatch.setattr(predict, "load_weights", lambda core: None)
    assert fastest(node, M4).function == "eb_depthwise_conv2d_s8_dsp"


@pytest.mark.parametrize("cpu", [M4, PORTABLE])
def test_a_depthwise_layer_of_one_channel_is_a_convolution(make, cpu):
    graph = make.depthwise((1, 12, 10, 1), (5, 4), multiplier=8, padding="SAME")
    assert chosen(graph, cpu).startswith("conv2d_s8")
    assert chosen(make.depthwise((1, 12, 10, 2), (5, 4), multiplier=4, padding="SAME"), cpu) == (
        "depthwise_conv2d_s8"
    )
