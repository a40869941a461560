"""Partitions are made as TFLite makes them, and their bytes add up."""

from __future__ import annotations

from edgebuild.delegates.base import compatibility, partition_nodes
from edgebuild.graph import DType, Graph, Op, Tensor


def chain(*shape_of_each):
    """A graph of NEG operators, one behind the other, over int8 vectors of the given lengths."""
    tensors = {i: Tensor(i, f"t{i}", (n,), DType.INT8) for i, n in enumerate(shape_of_each)}
    ops = tuple(Op("NEG", (i,), (i + 1,), source_index=i) for i in range(len(tensors) - 1))
    return Graph("chain", (0,), (len(tensors) - 1,), ops, tensors)


def diamond():
    """in -> 0 -> (1, 2 -> 3) -> 4: two branches that meet."""
    tensors = {i: Tensor(i, f"t{i}", (10,), DType.INT8) for i in range(6)}
    ops = (
        Op("A", (0,), (1,)),
        Op("B", (1,), (2,)),
        Op("C", (1,), (3,)),
        Op("D", (3,), (4,)),
        Op("E", (2, 4), (5,)),
    )
    return Graph("diamond", (0,), (5,), ops, tensors)


def test_one_partition_where_everything_is_taken():
    found = compatibility(chain(8, 4, 2), "xnnpack", ["", ""])
    (part,) = found.partitions
    assert (part.positions, part.bytes_in, part.bytes_out) == ((0, 1), 8, 2)
    assert (found.crossing_bytes, found.delegated_partitions, found.fallbacks) == (0, 1, ())


def test_a_refused_operator_parts_the_model():
    found = compatibility(chain(8, 4, 2, 1), "gpu", ["", "no kernel", ""])
    assert [p.positions for p in found.partitions] == [(0,), (1,), (2,)]
    assert found.crossing_bytes == 4 + 2
    assert [(v.position, v.reason) for v in found.fallbacks] == [(1, "no kernel")]
    assert found.table() == [("NEG", 2, ""), ("NEG", 1, "no kernel")]


def test_a_partition_reaches_behind_what_it_does_not_depend_on():
    # B is refused, yet C and D stand in A's partition.
    parts = partition_nodes(diamond(), [True, False, True, True, True])
    assert parts == [(True, (0, 2, 3)), (False, (1,)), (True, (4,))]


def test_a_tensor_that_several_partitions_read_crosses_once():
    found = compatibility(diamond(), "gpu", ["", "x", "x", "", ""])
    # 1 goes to B and C on the CPU; 3 comes back to D; 2 comes back to E.
    assert found.crossing_bytes == 30


def test_a_delegate_may_keep_only_its_largest_partitions():
    found = compatibility(chain(1, 1, 1, 1, 1), "gpu", ["", "x", "", ""], max_partitions=1)
    assert [v.delegated for v in found.verdicts] == [False, False, True, True]
    assert found.verdicts[0].reason.startswith("only 1 partition")
    assert [p.positions for p in found.partitions] == [(0, 1), (2, 3)]
