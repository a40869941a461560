"""Steps that follow each other as one, in bands of rows: how high, and with which kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from edgebuild.cycles.kernels import kernel_name
from edgebuild.graph import Graph
from edgebuild.ops.bands import BandPlan, BandShape, by_rows, joined
from edgebuild.profile import CpuFeatures
from edgebuild.schedule.choose import Fits
from edgebuild.schedule.costs import Costs, Option, Step

BAND_ROWS = (1, 2, 4, 8, 16)
"""How many rows of the last operator's output a band may have."""

_Kernel = tuple[str, bool]
"""A kernel's name, and whether it is the form with the least scratch memory, not the fastest."""


class _Ways:
    """The kernels that may run operator ``at`` of a plan: for each, the calls for its rows."""

    def __init__(
        self, at: int, plan: BandPlan, known: Mapping[BandShape, Mapping[_Kernel, Option]]
    ):
        shapes = [shape for shape in plan.images if shape[0] == at]
        kernels = set.intersection(*(set(known[shape]) for shape in shapes))
        self.calls = {
            kernel: {shape: known[shape][kernel].call for shape in shapes}
            for kernel in sorted(kernels)
        }
        self.cycles = {
            kernel: sum(plan.times[shape] * known[shape][kernel].time for shape in shapes)
            for kernel in kernels
        }

    def scratch(self, kernel: _Kernel) -> int:
        return max(call.scratch_bytes for call in self.calls[kernel].values())

    def fastest(self, kernels: Sequence[_Kernel]) -> _Kernel:
        return min(kernels, key=lambda kernel: (self.cycles[kernel], self.scratch(kernel)))

    def smaller(self, kernel: _Kernel) -> _Kernel | None:
        """Return the fastest of the kernels with less scratch memory."""
        less = [one for one in self.calls if self.scratch(one) < self.scratch(kernel)]
        return self.fastest(less) if less else None


class Joiner:
    """Joins steps of ``graph``; plans and calls are kept, as they may be asked for again."""

    def __init__(self, graph: Graph, cpu: CpuFeatures, costs: Costs) -> None:
        self._graph, self._cpu, self._costs = graph, cpu, costs
        self._nodes = tuple(graph.nodes())
        whole = (not by_rows(node) for node in self._nodes)
        self._whole_before = [0, *itertools.accumulate(whole)]
        self._plans: dict[tuple[int, int, int], BandPlan | None] = {}
        self._known: dict[BandPlan, list[_Ways]] = {}
        self._calls: dict[tuple[int, ...], dict[_Kernel, Option]] = {}
        self._options: dict[tuple[object, ...], Option] = {}

    def join(self, steps: Sequence[Step], fits: Fits) -> Step | None:
        """Return the step that runs the operators of ``steps`` in bands: of all heights that fit,
        with the kernels of ``steps``, and with the fastest for so many rows, but smaller ones where
        these do not fit."""
        first, last = steps[0].position, steps[-1].position
        if self._whole_before[first] != self._whole_before[last]:
            return None
        names = [name for step in steps for name in _names(step)]
        found: list[Option] = []
        for height in BAND_ROWS:
            plan = self._plan(first, len(names), height)
            if (
                plan is None
                or height >= plan.step.reaches[-1].out_h
                or not fits(plan.outline([0] * len(names)))
            ):
                break
            found += self._ways(first, height, plan, names, fits)
        return Step(first, tuple(found)) if found else None

    def _plan(self, first: int, count: int, height: int) -> BandPlan | None:
        key = first, count, height
        if key not in self._plans:
            step = joined(self._graph, self._nodes[first : first + count])
            plan = BandPlan(step, height) if step is not None else None
            self._plans[key] = plan if plan is not None and plan.bands else None
        return self._plans[key]

    def _ways(
        self, first: int, height: int, plan: BandPlan, names: Sequence[str], fits: Fits
    ) -> Iterator[Option]:
        """Yield a step's options that differ only in their kernels."""
        if plan not in self._known:
            known = {shape: self._kernels(first, plan, shape) for shape in plan.images}
            self._known[plan] = [_Ways(at, plan, known) for at in range(len(names))]
        ways = self._known[plan]
        if not all(way.calls for way in ways):
            return
        fastest = [way.fastest(list(way.calls)) for way in ways]
        same = [
            way.fastest([kernel for kernel in way.calls if kernel[0] == name] or [best])
            for way, name, best in zip(ways, names, fastest, strict=True)
        ]
        taken = {
            tuple(found) for one in (same, fastest) if (found := _fitting(plan, ways, one, fits))
        }
        for kernels in sorted(taken):
            key = first, height, kernels
            if key not in self._options:
                pairs = zip(ways, kernels, strict=True)
                calls = {k: v for way, kernel in pairs for k, v in way.calls[kernel].items()}
                self._options[key] = self._costs.option(self._nodes[first], plan.call(calls))
            yield self._options[key]

    def _kernels(self, first: int, plan: BandPlan, shape: BandShape) -> dict[_Kernel, Option]:
        """Return all kernels of known cycles that take an operator's rows."""
        at, *rows = shape
        key = first + at, *rows
        if key not in self._calls:
            found: dict[_Kernel, tuple[tuple[float, float], Option]] = {}
            for call in plan.candidates(shape, self._cpu):
                option = self._costs.option(plan.images[shape], call)
                cost, scratch = option.time, option.call.scratch_bytes
                if math.isnan(cost):
                    continue
                for small, rank in ((False, (cost, scratch)), (True, (scratch, cost))):
                    kernel = option.kernel, small
                    best = found.get(kernel)
                    if best is None or rank < best[0]:
                        found[kernel] = rank, option
            self._calls[key] = {kernel: option for kernel, (_, option) in found.items()}
        return self._calls[key]


def _fitting(
    plan: BandPlan, ways: Sequence[_Ways], kernels: Sequence[_Kernel], fits: Fits
) -> list[_Kernel] | None:
    """Return ``kernels``, or smaller ones for the operators that most memory is needed for, so that
    the step fits; None where none do."""
    taken = list(kernels)
    while True:
        scratch = [way.scratch(kernel) for way, kernel in zip(ways, taken, strict=True)]
        if fits(plan.outline(scratch)):
            return taken
        most = sorted(range(len(ways)), key=lambda at: -(plan.alive[at] + scratch[at]))
        smaller = ((at, ways[at].smaller(taken[at])) for at in most)
        at, kernel = next((pair for pair in smaller if pair[1] is not None), (0, None))
        if kernel is None:
            return None
        taken[at] = kernel


def _names(step: Step) -> list[str]:
    """Return the kernel of each operator that a step runs."""
    call = step.option.call
    if not call.rounds:
        return [step.option.kernel]
    parts = (part for one in call.rounds for part in one.parts if part.operator is not None)
    names = {part.operator: kernel_name(part.call) for part in parts}
    return [names[at] for at in range(call.operators)]
