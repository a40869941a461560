"""Memory planning: where each activation lives in the arena."""

from edgebuild.memory.alive import Alive
from edgebuild.memory.banks import STACK_BYTES, arena_capacities
from edgebuild.memory.planner import (
    HEADER_BYTES,
    ROW_COUNT_BYTES,
    MemoryPlan,
    is_view,
    kept_bytes,
    plan_memory,
)

__all__ = [
    "HEADER_BYTES",
    "ROW_COUNT_BYTES",
    "STACK_BYTES",
    "Alive",
    "MemoryPlan",
    "arena_capacities",
    "is_view",
    "kept_bytes",
    "plan_memory",
]
