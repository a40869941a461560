"""Where an output was joined of parts."""

from __future__ import annotations

import pytest

from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.models.output_parts import bounded_steps, output_cuts, part_tensors

REAL = DType.FLOAT32


def graph(*ops, shapes, output):
    tensors = {i: Tensor(i, f"t{i}", shape, REAL) for i, shape in enumerate(shapes)}
    return Graph("net", (0,), (output,), ops, tensors)


BOXES, SCORES, ROWS = (1, 6, 6, 4), (1, 6, 6, 3), (1, 36, 7)


@pytest.mark.parametrize("axis", [3, -1])
def test_boxes_and_scores_behind_a_reshape(axis):
    ops = (
        Op("LOGISTIC", (0,), (1,)),
        Op("CONCATENATION", (0, 1), (2,), {"axis": axis}),
        Op("RESHAPE", (2,), (3,)),
    )
    net = graph(*ops, shapes=(BOXES, SCORES, (1, 6, 6, 7), ROWS), output=3)
    assert output_cuts(net, 0) == (4,)


def test_levels_of_a_pyramid_share_their_parts():
    ops = (
        Op("CONCATENATION", (0, 1), (2,), {"axis": 3}),
        Op("RESHAPE", (2,), (3,)),
        Op("CONCATENATION", (3, 3), (4,), {"axis": 1}),
    )
    shapes = (BOXES, SCORES, (1, 6, 6, 7), ROWS, (1, 72, 7))
    assert output_cuts(graph(*ops, shapes=shapes, output=4), 0) == (4,)


def test_a_reshape_that_mixes_channels_ends_the_search():
    ops = (Op("CONCATENATION", (0, 1), (2,), {"axis": 3}), Op("RESHAPE", (2,), (3,)))
    net = graph(*ops, shapes=(BOXES, SCORES, (1, 6, 6, 7), (1, 252)), output=3)
    assert output_cuts(net, 0) == ()


def test_packed_scalars_are_a_part_each():
    ops = (Op("PACK", (0, 1, 0), (2,), {"axis": 1}),)
    assert output_cuts(graph(*ops, shapes=((1,), (1,), (1, 3)), output=2), 0) == (1, 2)


def test_an_output_that_is_an_input_has_none():
    assert output_cuts(graph(shapes=(BOXES,), output=0), 0) == ()


def test_a_part_is_followed_to_where_it_was_computed():
    ops = (
        Op("LOGISTIC", (0,), (1,)),
        Op("QUANTIZE", (1,), (2,)),
        Op("CONCATENATION", (0, 2), (3,), {"axis": 3}),
        Op("RESHAPE", (3,), (4,)),
    )
    net = graph(*ops, shapes=(BOXES, SCORES, SCORES, (1, 6, 6, 7), ROWS), output=4)
    makers = {t.index: node for node in net.nodes() for t in node.outputs}
    assert part_tensors(net, makers, 4, 3) == [0]
    assert part_tensors(net, makers, 4, 4) == [2, 1]
    assert bounded_steps(net, 0).tolist() == [0.0] * 4 + [1 / 256] * 3
