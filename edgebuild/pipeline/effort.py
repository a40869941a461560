"""How long running a model here will take: said before it begins, and refused where it is too much.

The speeds are rough, and on the slow side of what was measured on one core of a desktop computer.
"""

from __future__ import annotations

from edgebuild.graph import Graph
from edgebuild.limits import expected_s
from edgebuild.ops import OPS
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.units import format_duration

FIRMWARE_PER_S = {"simulator": 5e7, "qemu": 1e6}
"""Multiply-accumulates that whatever runs firmware of a Cortex-M does in a second."""

REFERENCE_PER_S = 1e8
"""Those of TFLite Micro's portable kernels, with which every run is compared."""

DATA_PER_S = 1e9
"""Those of LiteRT and of generated C on the host, which run whole data sets."""

_WORTH_SAYING_S = 30


def steps(graph: Graph) -> int:
    """Return roughly how many values one inference of ``graph`` computes with, or moves; operators
    without kernels count by their outputs."""
    return sum(
        OPS[node.kind].steps(node) if node.kind in OPS else sum(t.elements for t in node.outputs)
        for node in graph.nodes()
    )


def check_run(plan: BuildPlan, graph: Graph) -> str:
    """Return how long the inferences of ``plan`` will take, in words to append, with TFLite Micro's
    comparison; empty where that is not worth saying. InputError where it is too long."""
    if plan.run == "none":
        return ""
    speeds = FIRMWARE_PER_S if plan.target.family == "cortex-m" else {}
    per_s = speeds.get(plan.run, REFERENCE_PER_S)
    where, samples = str(plan.request.model), plan.request.samples
    return _words(expected_s(where, steps(graph), samples, per_s, hint="--samples {}"))


def check_data_set(where: str, graph: Graph, samples: int) -> str:
    """Return the same for a data set of ``samples``, which the host runs."""
    hint = "pass at most {} samples with --data"
    return _words(expected_s(where, steps(graph), samples, DATA_PER_S, hint=hint))


def _words(duration_s: float) -> str:
    if duration_s < _WORTH_SAYING_S:
        return ""
    if duration_s < 120:
        return f" (about {format_duration(duration_s * 1e6)})"
    minutes = duration_s / 60
    return f" (about {minutes:,.0f} min)" if minutes < 120 else f" (about {minutes / 60:,.0f} h)"
