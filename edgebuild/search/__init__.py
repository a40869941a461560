"""Find the compression that meets a budget at the least loss of accuracy."""

from __future__ import annotations

from edgebuild.search.attempts import Effort
from edgebuild.search.problem import Outcome
from edgebuild.search.request import MOST_JOBS, SearchRequest, build_within_budget, search
from edgebuild.search.run import Found

__all__ = [
    "MOST_JOBS",
    "Effort",
    "Found",
    "Outcome",
    "SearchRequest",
    "build_within_budget",
    "search",
]
