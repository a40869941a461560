"""The only orchestration: ``make_plan`` resolves a request, ``run_plan`` carries it out."""

from edgebuild.pipeline.plan import BuildPlan, BuildRequest, cached_report, make_plan
from edgebuild.pipeline.run import run_plan

__all__ = ["BuildPlan", "BuildRequest", "cached_report", "make_plan", "run_plan"]
