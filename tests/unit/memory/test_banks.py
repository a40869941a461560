"""An arena in several memories: no bank overflows, no two living blocks overlap."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebuild.memory import HEADER_BYTES, arena_capacities, plan_memory
from edgebuild.memory.banks import STACK_BYTES, VARIABLE_BYTES
from edgebuild.memory.placing import Block, place_in_banks
from edgebuild.regions import Memory, placement_of
from tests.unit.memory.test_planner import chain

BLOCKS = st.lists(
    st.builds(
        lambda size, first, length: Block(16 * size, first, first + length),
        *(st.integers(1, 60), st.integers(0, 12), st.integers(0, 5)),
    ),
    min_size=1,
    max_size=30,
)


@given(BLOCKS, st.lists(st.integers(1, 200), min_size=2, max_size=4))
@settings(max_examples=60)
def test_living_blocks_of_a_bank_never_overlap(blocks, sizes):
    capacities = [16 * size for size in sizes]
    places = place_in_banks(blocks, capacities)
    for i, (bank, offset) in enumerate(places):
        assert 0 <= bank < len(capacities) and offset >= 0
        if offset + blocks[i].size > capacities[bank]:
            assert bank == len(capacities) - 1, "only the last bank may overflow"
        for j in range(i):
            if places[j][0] == bank and blocks[i].overlaps(blocks[j]):
                other = places[j][1]
                assert offset + blocks[i].size <= other or other + blocks[j].size <= offset


def test_an_arena_that_fits_its_first_bank_is_not_split():
    plan = plan_memory(*chain([160, 320, 160]), [480, 1000])
    assert plan.bank_bytes == (480,) and not plan.banks
    assert plan == plan_memory(*chain([160, 320, 160]))


def test_what_does_not_fit_the_first_bank_goes_to_the_second():
    plan = plan_memory(*chain([160, 320, 160], scratch=64), [400, 400])
    first, second = plan.bank_bytes
    assert first <= 400 and second <= 400
    assert plan.arena_bytes == first + second
    used = {plan.place(i)[0] for i in range(3)}
    assert used == {0, 1}
    in_first = [plan.offsets[i] for i in range(3) if plan.place(i)[0] == 0]
    in_first += [at for op, at in plan.scratch_offsets.items() if op not in plan.scratch_banks]
    assert min(in_first) >= HEADER_BYTES
    assert plan.place(99) is None


def test_two_blocks_that_fit_only_apart_are_placed_apart():
    # Both are alive at once; neither bank holds both, and either order of the banks works.
    blocks = [Block(480, 0, 1), Block(320, 0, 1), Block(160, 1, 1)]
    places = place_in_banks(blocks, [480, 480])
    assert sorted(bank for bank, _ in places) == [0, 1, 1]


def test_the_search_finds_what_first_fit_does_not():
    # Largest first puts 96 and 64 into the first bank, and 80 + 80 do not fit the rest.
    blocks = [Block(16 * n, 0, 0) for n in (6, 5, 5, 4)]
    places = place_in_banks(blocks, [160, 160])
    ends = [0, 0]
    for block, (bank, offset) in zip(blocks, places, strict=True):
        ends[bank] = max(ends[bank], offset + block.size)
    assert ends == [160, 160]


def test_a_block_that_no_bank_holds_makes_the_last_one_too_large():
    plan = plan_memory(*chain([800, 16]), [320, 640])
    assert plan.bank_bytes[-1] > 640
    plan = plan_memory(*chain([800, 16]), [0, 2000])
    assert plan.bank_bytes == (HEADER_BYTES, 816), "the other banks' addresses are there"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"arena": ["dtcm"]}, ()),
        ({"arena": ["dtcm", "ram"]}, (0x2000, 0x8000 - STACK_BYTES - VARIABLE_BYTES)),
        ({"arena": ["dtcm", "ram"], "weights": ["dtcm"]}, (0x2000 - 0x500, 0x6000)),
        ({"arena": ["dtcm", "ram"], "data": ["dtcm"]}, (0, 0x8000)),
    ],
)
def test_capacities_leave_room_for_what_else_is_there(place, expected):
    memories = (
        Memory("flash", "flash", 0, 0x1_0000),
        Memory("ram", "ram", 0x2000_0000, 0x8000),
        Memory("dtcm", "ram", 0x3000_0000, 0x2000),
    )
    assert arena_capacities(placement_of(memories, place), 0x500) == expected


def test_a_target_without_memory_has_no_banks():
    assert arena_capacities(None, 100) == ()
