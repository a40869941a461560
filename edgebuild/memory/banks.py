"""How much of each region is there for the arena."""

from __future__ import annotations

from edgebuild.memory.placing import ALIGN
from edgebuild.regions import Memory, Placement

STACK_BYTES = 4096
"""Room for the stack at the end of the data's region; what a run used of it is measured."""

VARIABLE_BYTES = 4096
"""Room for variables where the arena may go on elsewhere: those of the benchmark firmware take
less, and a word for each layer."""


def arena_capacities(placement: Placement | None, copied_bytes: int) -> tuple[int, ...]:
    """Return what each region of the arena has for it, in B; empty when it is one.

    ``copied_bytes`` are those of the weights, which count where they are copied to the region.
    """
    if placement is None or len(placement.arena) < 2:
        return ()
    return tuple(_capacity(region, placement, copied_bytes) for region in placement.arena)


def _capacity(region: Memory, placement: Placement, copied_bytes: int) -> int:
    start = -(-region.first // ALIGN) * ALIGN
    room = region.origin + region.usable_bytes - start
    if region == placement.data:
        room -= STACK_BYTES + VARIABLE_BYTES
    if region == placement.weights:
        room -= copied_bytes
    return max(0, room // ALIGN * ALIGN)
