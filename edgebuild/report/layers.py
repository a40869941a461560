"""Join what is known of each layer: the graph, the memory plan and a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edgebuild.devices.base import LayerSample
from edgebuild.graph import Graph, Node
from edgebuild.memory import MemoryPlan
from edgebuild.ops.bands import macs
from edgebuild.report.model import LayerReport


def layer_reports(
    graph: Graph, plan: MemoryPlan, samples: Sequence[LayerSample] = ()
) -> tuple[LayerReport, ...]:
    """Return a row for each operator of a supported ``graph``.

    Shares are of the summed cycles with waits, or instructions, or time: the best that ``samples``
    have.
    """
    rows = [
        LayerReport(
            index=node.position,
            kind=node.kind,
            name=node.output.name,
            output_shape=node.output.shape,
            macs=macs(node),
            parameter_bytes=parameter_bytes(node),
            live_bytes=plan.live_bytes[node.position],
        )
        for node in graph.nodes()
    ]
    return with_samples(rows, samples)


def with_samples(
    rows: Sequence[LayerReport], samples: Sequence[LayerSample]
) -> tuple[LayerReport, ...]:
    """Return ``rows`` with what a run took for each, instead of what they said before."""
    by_layer = {sample.layer: sample for sample in samples}
    total = sum(_cost(sample) or 0 for sample in samples)
    made = []
    for row in rows:
        sample = by_layer.get(row.index, LayerSample(row.index))
        cost = _cost(sample)
        made.append(
            dataclasses.replace(
                row,
                instructions=sample.instructions,
                cycles=sample.cycles,
                time_us=sample.time_us,
                wait_cycles=sample.wait_cycles,
                share=cost / total if cost is not None and total else None,
            )
        )
    return tuple(made)


def parameter_bytes(node: Node) -> int:
    """Return the bytes of the node's constant operands, as the model stores them."""
    return sum(t.nbytes for t in node.inputs if t is not None and t.is_constant)


def _cost(sample: LayerSample) -> float | None:
    if sample.cycles is not None:
        return float(sample.cycles + (sample.wait_cycles or 0))
    for cost in (sample.instructions, sample.time_us):
        if cost is not None:
            return float(cost)
    return None
