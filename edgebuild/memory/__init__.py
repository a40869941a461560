"""Memory planning: where each activation lives in the arena."""

from edgebuild.memory.planner import MemoryPlan, plan_memory

__all__ = ["MemoryPlan", "plan_memory"]
