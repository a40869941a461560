"""Choose kernels by the budget: balanced ones, unless others keep what these may miss."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from edgebuild.backends.base import Emitted
from edgebuild.cycles import predict_cycles
from edgebuild.pipeline.memory_forecast import Candidate
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.profile import AGAINST, TargetProfile

_TRIES, _STEP = 4, 50
"""How often balanced kernels are chosen again, each time for less flash: by what it is too much, or
this fraction."""

_NAMES = {"latency": "latency", "flash": "flash", "ram": "RAM"}

_Emit = Callable[[TargetProfile], Emitted]


def emit_preferred(plan: BuildPlan, emit: _Emit) -> Emitted:
    """Return what ``emit`` makes for the plan's target, with kernels chosen as was asked.

    Where nothing was asked, they are balanced; where that may miss a budget of latency, flash or
    RAM, or a region of flash, and others may miss none, those others: for flash, balanced ones
    that take less of it before the smallest. A recipe that a search found keeps its budget with the
    kernels that it was costed with.
    """
    first = emit(plan.target)
    if plan.request.optimize is not None or plan.tool:
        return first
    for name in _may_miss(plan, first):
        if name == "flash":
            for other in _with_less_flash(plan, first, emit):
                if not _may_miss(plan, other):
                    return other.with_notes("kernels are chosen for the flash that there is")
        other = emit(plan.target.optimized(AGAINST[name]))
        if not _may_miss(plan, other):
            short = f"{_NAMES[name]} is short"
            return other.with_notes(f"kernels are chosen for {AGAINST[name]}: {short}")
    return first


def _with_less_flash(plan: BuildPlan, first: Emitted, emit: _Emit) -> Iterator[Emitted]:
    """Yield the model with balanced kernels that take less and less flash."""
    # A schedule counts the code of the preferred compiler, which stands for the others.
    found, room = first, Candidate(plan, first, plan.rounds[0][0]).flash.value
    for _ in range(_TRIES):
        room -= max(_candidate(plan, found).flash_excess(plan.budget), room // _STEP)
        found = emit(plan.target.with_kernel_flash(room))
        yield found


def _candidate(plan: BuildPlan, emitted: Emitted) -> Candidate:
    """Return what the compiler makes of a model whose code is the smallest: where flash is short, a
    build tries all of them."""
    every = (Candidate(plan, emitted, tool) for tool in itertools.chain(*plan.rounds))
    return min(every, key=lambda one: one.flash.high)


def _may_miss(plan: BuildPlan, emitted: Emitted) -> list[str]:
    """Return which budgets the upper bounds of what is predicted miss; flash too where a region
    of the target is too small for the benchmark firmware."""
    target, budget = plan.target, plan.budget
    if target.placement is None:
        return []
    missed = []
    predicted = predict_cycles(emitted.graph, target, emitted.calls, emitted.plan)
    latency = predicted.latency_us if predicted is not None else None
    if latency is not None and budget.latency_us is not None and latency.most > budget.latency_us:
        missed.append("latency")
    candidate = _candidate(plan, emitted)
    if candidate.flash_excess(budget) > 0:
        missed.append("flash")
    if budget.ram_bytes is not None and candidate.ram.value > budget.ram_bytes:
        missed.append("ram")
    return missed
