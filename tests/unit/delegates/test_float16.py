"""Float16 weights: what TFLite's FP16GraphPartitionHelper makes of their DEQUANTIZEs."""

from __future__ import annotations

import dataclasses

import pytest

from edgebuild.delegates.float16 import LEFT
from edgebuild.delegates.gpu import check as gpu
from edgebuild.delegates.nnapi import check as nnapi
from edgebuild.graph import Graph, Op
from edgebuild.profile import Delegate
from tests.single_ops import S4, base, t, w
from tests.xnnpack_cases import unpacked

DRIVER = "a phone's driver refuses one operator of a model with float16 weights"


def check(delegate: str, graph: Graph):
    """``delegate`` is gpu, or nnapi with a feature level."""
    kind, _, level = delegate.partition("-")
    if kind == "gpu":
        return gpu(graph, Delegate("gpu"))
    return nnapi(graph, Delegate("nnapi", feature_level=int(level)))


def two_adds(between: str) -> Graph:
    """Return ADD, ``between`` and ADD, both reading one float16 constant through a DEQUANTIZE."""
    tensors = {i: dataclasses.replace(t(S4), index=i, name=f"t{i}") for i in range(5)}
    tensors[5] = dataclasses.replace(w((4,), "float16"), index=5, name="packed")
    tensors[6] = dataclasses.replace(t((4,)), index=6, name="unpacked")
    ops = (
        Op("DEQUANTIZE", (5,), (6,), version=3),
        Op("ADD", (0, 6), (1,)),
        Op(between, (1,), (2,)),
        Op("ADD", (2, 6), (3,)),
    )
    return Graph("adds", (0,), (3,), ops, {i: tensors[i] for i in (0, 1, 2, 3, 5, 6)})


@pytest.mark.parametrize("delegate", ["gpu", "nnapi-27", "nnapi-28", "nnapi-30"])
def test_all_is_delegated_where_the_readers_are(delegate):
    found = check(delegate, unpacked(base("FULLY_CONNECTED"), "float16"))
    assert [v.kind for v in found.verdicts] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert (found.fallbacks, found.delegated_partitions, found.crossing_bytes) == ((), 1, 0)
    assert check(delegate, two_adds("LOGISTIC")).fallbacks == ()


@pytest.mark.parametrize("delegate", ["nnapi-27", "nnapi-30"])
def test_what_is_taken_reads_the_constants_where_an_operator_is_left(delegate):
    found = check(delegate, two_adds("ROUND"))
    assert [v.reason for v in found.verdicts] == [LEFT, "", "NNAPI has no ROUND", ""]
    assert found.delegated_partitions == 2
    activation = t(S4).nbytes
    # Into ROUND and out of it; nothing of the unpacked constant, which only the CPU would read.
    assert found.crossing_bytes == 2 * activation


def test_the_gpu_counts_no_unpacking_when_it_picks_the_largest_partition():
    found = check("gpu", two_adds("ROUND"))
    assert [v.delegated for v in found.verdicts] == [False, True, False, False]
    assert found.verdicts[0].reason == LEFT


def test_a_constant_is_no_operand_of_the_delegate_when_its_reader_is_left():
    found = check("gpu", unpacked(base("EQUAL"), "float16"))
    assert [v.delegated for v in found.verdicts] == [False, False]


def test_a_float16_activation_is_unpacked_by_the_delegate_itself():
    graph = base("DEQUANTIZE", "float16").graph()
    assert check("nnapi-30", graph).fallbacks == ()
    assert check("nnapi-29", graph).fallbacks[0].reason != LEFT


def test_a_driver_that_refuses_something_is_told_from_android_10_on():
    graph = two_adds("LOGISTIC")
    assert any(DRIVER in note for note in check("nnapi-29", graph).notes)
    assert not any(DRIVER in note for note in check("nnapi-28", graph).notes)
    plain = base("ADD").graph()
    assert not any(DRIVER in note for note in check("nnapi-29", plain).notes)
