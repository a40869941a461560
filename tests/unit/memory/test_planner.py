"""Plans never let two living buffers overlap, and come close to the lower bound."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.memory.placing import ALIGN, Block, place
from edgebuild.memory.planner import plan_memory
from edgebuild.ops.base import KernelCall


def chain(sizes, *, in_place=False, scratch=0):
    q = Quantization((1.0,), (0,))
    tensors = {i: Tensor(i, f"t{i}", (1, s), DType.INT8, q) for i, s in enumerate(sizes)}
    ops = tuple(Op("RELU", (i,), (i + 1,)) for i in range(len(sizes) - 1))
    graph = Graph("chain", (0,), (len(sizes) - 1,), ops, tensors)
    pairs = ((0, 0),) if in_place else ()
    calls = [KernelCall("f", "h", (), scratch_bytes=scratch, in_place=pairs) for _ in ops]
    return graph, calls


def test_chain_needs_two_neighbours():
    plan = plan_memory(*chain([160, 320, 160, 16]))
    assert plan.arena_bytes == plan.lower_bound_bytes == 480


def test_in_place_shares_memory():
    plan = plan_memory(*chain([160, 160, 160], in_place=True))
    assert plan.arena_bytes == 160
    assert plan.in_place == 2


def test_in_place_needs_room():
    plan = plan_memory(*chain([160, 320], in_place=True))
    assert plan.arena_bytes == 480


def test_scratch_is_planned():
    plan = plan_memory(*chain([160, 160], scratch=100))
    assert plan.arena_bytes == 160 + 160 + 112
    assert plan.scratch_offsets[0] % ALIGN == 0


def test_in_place_input_that_lives_on_is_kept():
    q = Quantization((1.0,), (0,))
    tensors = {i: Tensor(i, f"t{i}", (64,), DType.INT8, q) for i in range(3)}
    ops = (Op("RELU", (0,), (1,)), Op("ADD", (0, 1), (2,)))
    graph = Graph("skip", (0,), (2,), ops, tensors)
    calls = [
        KernelCall("f", "h", (), in_place=((0, 0),)),
        KernelCall("g", "h", (), inputs=(0, 1), in_place=((0, 0), (1, 0))),
    ]
    plan = plan_memory(graph, calls)
    assert plan.offsets[0] != plan.offsets[1]
    assert plan.offsets[2] == plan.offsets[0]
    assert plan.arena_bytes == 128


def test_unused_model_input_has_memory():
    graph, calls = chain([16, 16])
    extra = Tensor(9, "unused", (32,), DType.INT8, Quantization((1.0,), (0,)))
    graph = graph.replace(inputs=(0, 9), tensors={**graph.tensors, 9: extra})
    plan = plan_memory(graph, calls)
    assert plan.offsets[9] != plan.offsets[0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 64), st.integers(0, 20), st.integers(0, 6)),
        min_size=1,
        max_size=24,
    )
)
def test_no_overlap(specs):
    blocks = [Block(size * 16, first, first + length) for size, first, length in specs]
    bound = max(sum(b.size for b in blocks if b.first <= t <= b.last) for t in range(30))
    offsets = place(blocks, lower_bound=bound)
    for i, a in enumerate(blocks):
        for j in range(i):
            if a.overlaps(blocks[j]):
                assert (
                    offsets[i] + a.size <= offsets[j] or offsets[j] + blocks[j].size <= offsets[i]
                )
    assert max(o + b.size for o, b in zip(offsets, blocks, strict=True)) >= bound


def test_random_plans_stay_near_the_bound():
    rng = random.Random(3)
    blocks = []
    for _ in range(60):
        first = rng.randrange(40)
        blocks.append(Block(16 * rng.randint(1, 100), first, first + rng.randint(0, 8)))
    bound = max(sum(b.size for b in blocks if b.first <= t <= b.last) for t in range(60))
    offsets = place(blocks, lower_bound=bound)
    end = max(o + b.size for o, b in zip(offsets, blocks, strict=True))
    assert end <= 1.1 * bound


def test_empty():
    assert place([], lower_bound=0) == []


@pytest.mark.parametrize("seed", range(3))
def test_same_graph_same_plan(seed):
    rng = random.Random(seed)
    graph, calls = chain([rng.randint(1, 999) for _ in range(12)])
    assert plan_memory(graph, calls) == plan_memory(graph, calls)
