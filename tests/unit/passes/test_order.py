"""Branches run in the order that keeps least memory alive."""

import itertools

import numpy as np
import pytest

from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.graph.verify import verify
from edgebuild.passes.order import MOST_OPERATORS, OrderOperators


def made(sizes, ops, inputs=(0,), outputs=None):
    """Tensors of ``sizes`` bytes; ``ops`` are (inputs, outputs)."""
    tensors = {
        i: Tensor(i, f"t{i}", (size,), DType.INT8, None, None) for i, size in enumerate(sizes)
    }
    operators = tuple(Op("ADD", tuple(before), tuple(after)) for before, after in ops)
    last = (len(sizes) - 1,) if outputs is None else outputs
    return Graph("g", inputs, last, operators, tensors)


def cost(graph):
    """Peak and sum of the bytes that are alive in each step."""
    alive, steps = set(graph.inputs), []
    for i, op in enumerate(graph.ops):
        alive |= set(op.outputs)
        steps.append(sum(graph.tensors[t].nbytes for t in alive))
        needed = {t for later in graph.ops[i + 1 :] for t in later.inputs} | set(graph.outputs)
        alive &= needed
    return max(steps), sum(steps)


def orders(graph):
    for order in itertools.permutations(graph.ops):
        there = set(graph.inputs)
        for op in order:
            if not set(op.inputs) <= there:
                break
            there |= set(op.outputs)
        else:
            yield graph.replace(ops=order)


def test_a_chain_stays():
    graph = made([10, 20, 30, 5], [([0], [1]), ([1], [2]), ([2], [3])])
    result = OrderOperators().apply(graph)
    assert not result.changed and result.graph is graph


def test_the_short_branch_of_a_residual_goes_first():
    # 0 -> 1 -> 2; 0 -> 3; 2 + 3 -> 4: with 3 before 2 the input is free while 2 is computed.
    graph = made([160, 80, 80, 80, 80], [([0], [1]), ([1], [2]), ([0], [3]), ([2, 3], [4])])
    result = OrderOperators().apply(graph)
    assert result.changed
    assert [op.outputs for op in result.graph.ops] == [(1,), (3,), (2,), (4,)]


@pytest.mark.parametrize("seed", range(15))
def test_no_order_is_better(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 8))
    sizes = [int(rng.integers(1, 100)) for _ in range(count + 1)]
    ops = [
        (sorted({int(rng.integers(0, i + 1)) for _ in range(int(rng.integers(1, 3)))}), [i + 1])
        for i in range(count)
    ]
    read = {t for before, _ in ops for t in before}
    graph = made(sizes, ops, outputs=tuple(t for t in range(1, count + 1) if t not in read))
    result = OrderOperators().apply(graph)
    verify(result.graph, where="the order")
    assert sorted(op.outputs for op in result.graph.ops) == sorted(op.outputs for op in graph.ops)
    assert cost(result.graph) == min(map(cost, orders(graph)))
    assert result.changed == (cost(graph) != cost(result.graph))


def test_many_branches_and_operators_end_soon():
    # 60 branches from one input: more sets than can be looked at.
    ops = [([0], [i + 1]) for i in range(60)] + [(list(range(1, 61)), [61])]
    graph = made([100] + [10] * 61, ops)
    verify(OrderOperators().apply(graph).graph, where="the order")
    long = made([1] * (MOST_OPERATORS + 2), [([i], [i + 1]) for i in range(MOST_OPERATORS + 1)])
    assert not OrderOperators().apply(long).changed
