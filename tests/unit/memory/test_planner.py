"""Plans never let two living buffers overlap, and come close to the lower bound."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.memory.placing import ALIGN, Block, Lead, place, place_in_banks
from edgebuild.memory.planner import kept_bytes, plan_memory
from edgebuild.ops.base import KernelCall, Overlap


def chain(sizes, *, in_place=False, scratch=0, overlap=None):
    q = Quantization((1.0,), (0,))
    tensors = {i: Tensor(i, f"t{i}", (1, s), DType.INT8, q) for i, s in enumerate(sizes)}
    ops = tuple(Op("RELU", (i,), (i + 1,)) for i in range(len(sizes) - 1))
    graph = Graph("chain", (0,), (len(sizes) - 1,), ops, tensors)
    pairs = ((0, 0),) if in_place else ()
    call = KernelCall("f", "h", (), scratch_bytes=scratch, in_place=pairs, overlap=overlap)
    return graph, [call for _ in ops]


def test_chain_needs_two_neighbours():
    plan = plan_memory(*chain([160, 320, 160, 16]))
    assert plan.arena_bytes == plan.lower_bound_bytes == 480


def test_what_is_kept_between_operators():
    graph, _ = chain([160, 320, 160, 16])
    assert kept_bytes(graph) == (160, 320, 160, 16)
    # The first tensor is also an output.
    assert kept_bytes(graph.replace(outputs=(3, 0))) == (160, 480, 320, 176)


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


@pytest.mark.parametrize(
    ("sizes", "overlap", "arena"),
    [
        ([160, 160], Overlap(20), 192),  # rounded up to 16
        ([160, 320], Overlap(160), 320),
        ([320, 160], Overlap(-160), 320),
        ([160, 160], Overlap(160), 320),
        ([160, 160], Overlap(1000), 320),
        ([160, 160, 160], Overlap(32), 224),
        ([160, 160], Overlap(20, apart=20), 240),  # 80 is a multiple of 16 and of 20
        ([160, 160], Overlap(0, apart=20), 160),
        ([160, 160], Overlap(20, apart=96), 256),
    ],
)
def test_an_output_overlaps_the_input_that_it_uses_up(sizes, overlap, arena):
    plan = plan_memory(*chain(sizes, overlap=overlap))
    assert plan.arena_bytes == arena
    assert plan.lower_bound_bytes <= arena
    assert max(plan.live_bytes) == plan.lower_bound_bytes


def test_an_input_that_lives_on_is_not_overlapped():
    graph, calls = chain([64, 64], overlap=Overlap(0))
    kept = graph.replace(outputs=(*graph.outputs, 0))
    assert plan_memory(kept, calls).arena_bytes == 128
    assert plan_memory(graph, calls).arena_bytes == 64


@settings(max_examples=150)
@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=12),
    st.lists(st.tuples(st.integers(-20, 40), st.booleans()), min_size=12, max_size=12),
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 10), st.integers(0, 4)), max_size=8),
    st.booleans(),
)
def test_leads_are_kept(sizes, leads, others, banks):
    """A chain in which each block may overlap the one before, beside other blocks."""
    blocks = [Block(16 * size, i, i + 1) for i, size in enumerate(sizes)]
    blocks += [Block(16 * size, first, first + length) for size, first, length in others]
    may = {
        (i + 1, i): Lead(i + 1, i, 16 * least, exact)
        for i, (least, exact) in zip(range(len(sizes) - 1), leads, strict=False)
    }
    if banks:
        room = sum(block.size for block in blocks) // 32 * 16
        places = place_in_banks(blocks, [room, 1 << 20], list(may.values()))
    else:
        places = [(0, at) for at in place(blocks, lower_bound=0, leads=list(may.values()))]
    for i, a in enumerate(blocks):
        for j in range(i):
            (bank, at), (other, there) = places[i], places[j]
            if bank != other or not a.overlaps(blocks[j]):
                continue
            apart = at + a.size <= there or there + blocks[j].size <= at
            lead = may.get((i, j))
            if lead is None or apart:
                assert apart
            else:
                assert there - at == lead.least if lead.exact else there - at >= lead.least


def test_unused_model_input_has_memory():
    graph, calls = chain([16, 16])
    extra = Tensor(9, "unused", (32,), DType.INT8, Quantization((1.0,), (0,)))
    graph = graph.replace(inputs=(0, 9), tensors={**graph.tensors, 9: extra})
    plan = plan_memory(graph, calls)
    assert plan.offsets[9] != plan.offsets[0]


@settings(max_examples=150)
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


def test_small_problems_are_placed_exactly():
    """Nothing can end below the bound."""
    rng = random.Random(5)
    for _ in range(500):
        blocks = []
        for _ in range(rng.randint(2, 12)):
            first = rng.randrange(8)
            blocks.append(Block(16 * rng.choice([1, 2, 3, 5, 7]), first, rng.randrange(first, 8)))
        bound = max(sum(b.size for b in blocks if b.first <= t <= b.last) for t in range(8))
        offsets = place(blocks, lower_bound=bound)
        assert max(o + b.size for o, b in zip(offsets, blocks, strict=True)) == bound


def test_empty():
    assert place([], lower_bound=0) == []


@pytest.mark.parametrize("seed", range(3))
def test_same_graph_same_plan(seed):
    rng = random.Random(seed)
    graph, calls = chain([rng.randint(1, 999) for _ in range(12)])
    assert plan_memory(graph, calls) == plan_memory(graph, calls)
