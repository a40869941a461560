"""What is no valid graph is refused with the way on."""

from __future__ import annotations

import pytest

from edgebuild.errors import ModelError
from edgebuild.graph.verify import verify
from tests.small import small_graph


def test_operators_that_are_not_in_order():
    graph = small_graph()
    with pytest.raises(ModelError, match="before anything writes it") as caught:
        verify(graph.replace(ops=graph.ops[::-1]))
    assert "lists its operators in the order in which they run" in caught.value.hint


def test_a_graph_whose_inputs_are_lost():
    with pytest.raises(ModelError, match="before anything writes it") as caught:
        verify(small_graph().replace(inputs=()))
    assert caught.value.hint.startswith("the file lists no inputs: export the model again")
