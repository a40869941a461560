"""Times of many runs: median, percentiles, spread, and whether they grew while it ran."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from edgebuild.figures import Figure, How

_DRIFT = 1.10
_FEWEST_FOR_DRIFT = 20


@dataclass(frozen=True)
class Timing:
    """A summary of the times of ``runs`` inferences. Percentiles are times that were measured: of
    N, the one at rank ceil(p * N). ``std_us`` is 0 for a single run."""

    runs: int
    median_us: float
    p90_us: float
    p95_us: float
    p99_us: float
    std_us: float
    shortest_us: float
    longest_us: float

    def figures(self, source: str) -> dict[str, Figure]:
        """Return the figures under the names that a report gives them."""
        named = {
            "latency, shortest": self.shortest_us,
            "latency, p90": self.p90_us,
            "latency, p95": self.p95_us,
            "latency, p99": self.p99_us,
            "latency, longest": self.longest_us,
            "latency, deviation": self.std_us,
        }
        return {label: Figure(us, "us", How.MEASURED, source) for label, us in named.items()}


def summarize(times_ns: Sequence[int]) -> Timing:
    """Return the summary of at least one time."""
    ordered = sorted(ns / 1e3 for ns in times_ns)

    def percentile(percent: int) -> float:
        return ordered[math.ceil(percent * len(ordered) / 100) - 1]

    return Timing(
        runs=len(ordered),
        median_us=statistics.median(ordered),
        p90_us=percentile(90),
        p95_us=percentile(95),
        p99_us=percentile(99),
        std_us=statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
        shortest_us=ordered[0],
        longest_us=ordered[-1],
    )


def drift_note(times_ns: Sequence[int]) -> str:
    """Return a sentence when the last quarter of the runs was slower than the first; else ''.

    Medians are compared, so that a few interrupted runs do not count.
    """
    if len(times_ns) < _FEWEST_FOR_DRIFT:
        return ""
    quarter = len(times_ns) // 4
    first, last = (statistics.median(part) for part in (times_ns[:quarter], times_ns[-quarter:]))
    if first <= 0 or last < _DRIFT * first:
        return ""
    return (
        f"the last quarter of the runs took {last / first - 1:.0%} longer than the first: the "
        "phone throttled, or something else ran"
    )
