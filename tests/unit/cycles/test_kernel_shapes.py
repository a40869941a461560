"""The layers of ``benchmarks/kernels.py``: 120, all different, all run by a kernel."""

from __future__ import annotations

import pytest

from edgebuild.ops.support import check_supported


@pytest.fixture(scope="module")
def shapes(bench):
    """The module ``benchmarks/kernel_shapes.py``."""
    import kernel_shapes

    return kernel_shapes


def test_there_are_120_different_shapes_of_named_networks(shapes):
    names = [shape.name for shape in shapes.SHAPES]
    assert len(names) == len(set(names)) == 120
    assert all(shape.network for shape in shapes.SHAPES)


def test_every_shape_is_supported(shapes):
    for shape in shapes.SHAPES:
        graph = shape.graph()
        check_supported(graph, where=shape.name)


def test_the_peer_program_calls_its_function_for_every_shape(shapes):
    import cmsis_nn

    for kind in {shape.kind for shape in shapes.SHAPES}:
        own = [shape.graph() for shape in shapes.SHAPES if shape.kind == kind][:3]
        text = cmsis_nn.program(own)
        assert text.count(f"{cmsis_nn.FUNCTIONS[kind]}(") == len(own), kind


def test_a_small_layer_is_measured_and_equals_the_reference(shapes):
    import kernels

    layer = next(s for s in shapes.SHAPES if s.network == "hello world")
    (row,) = kernels.measure([layer], kernels.roomy(kernels.CORE), None)
    assert row.macs == 256
    assert 500 < row.cycles < 2000
