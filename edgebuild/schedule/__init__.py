"""How a graph runs: which kernel runs each operator, chosen by cycles, flash and RAM."""

from edgebuild.profile import Optimize
from edgebuild.schedule.costs import Step
from edgebuild.schedule.schedule import Schedule, least_bytes, schedule_graph, usual_schedule

__all__ = ["Optimize", "Schedule", "Step", "least_bytes", "schedule_graph", "usual_schedule"]
