"""Which tensors of a float and a quantized model belong together."""

from __future__ import annotations

from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.models.departures import paired_tensors


def network(*kinds: str) -> Graph:
    """A chain of operators over four float values."""
    tensors = {i: Tensor(i, f"t{i}", (1, 4), DType.FLOAT32) for i in range(len(kinds) + 1)}
    ops = tuple(Op(kind, (i,), (i + 1,)) for i, kind in enumerate(kinds))
    return Graph("net", (0,), (len(kinds),), ops, tensors)


def test_operators_are_paired_by_kind_and_order():
    pairs = paired_tensors(network("RELU", "TANH", "ABS"), network("TANH", "ABS"))
    assert pairs == {0: 0, 1: 2, 2: 3}


def test_an_input_that_is_prepared_has_no_partner():
    """The float model reads raw values there, which are no measure of what the other one reads."""
    pairs = paired_tensors(network("RELU", "TANH", "ABS"), network("TANH", "ABS"), {0: ()})
    assert pairs == {1: 2, 2: 3}
