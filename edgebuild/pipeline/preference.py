"""Choose kernels by the budget: balanced ones, unless others keep what these may miss."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

from edgebuild.backends.base import Emitted
from edgebuild.code_size import predict_code
from edgebuild.codegen.c_library import constant_bytes
from edgebuild.cycles import predict_cycles
from edgebuild.pipeline.memory_forecast import STACK_BYTES
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.profile import Optimize, TargetProfile

AGAINST = {"latency": Optimize.SPEED, "flash": Optimize.SIZE, "RAM": Optimize.RAM}
"""What kernels are chosen for where a budget may be missed."""


def emit_preferred(plan: BuildPlan, emit: Callable[[TargetProfile], Emitted]) -> Emitted:
    """Return what ``emit`` makes for the plan's target, with kernels chosen as was asked.

    Where nothing was asked, they are balanced; where that may miss a budget of latency, flash or
    RAM, or a region of flash, and others may miss none, those others. A recipe that a search found
    keeps its budget with the kernels that it was costed with.
    """
    first = emit(plan.target)
    if plan.request.optimize is not None or plan.tool:
        return first
    missed = _may_miss(plan, first)
    for name in missed:
        other = emit(plan.target.optimized(AGAINST[name]))
        if not _may_miss(plan, other):
            return other.with_notes(f"kernels are chosen for {AGAINST[name]}: {name} is short")
    return first


def _may_miss(plan: BuildPlan, emitted: Emitted) -> list[str]:
    """Return which budgets the upper bounds of what is predicted miss; flash too where a region
    of the target is too small for the benchmark firmware."""
    target, budget = plan.target, plan.budget
    placement = target.placement
    if placement is None:
        return []
    missed = []
    predicted = predict_cycles(emitted.graph, target, emitted.calls, emitted.plan)
    latency = predicted.latency_us if predicted is not None else None
    if latency is not None and budget.latency_us is not None and latency.most > budget.latency_us:
        missed.append("latency")
    port = target.firmware.port if target.firmware is not None else None
    # Where flash is short, a build tries all of these compilers.
    codes = [
        predict_code(
            *(emitted.graph, emitted.calls, emitted.plan, emitted.name),
            core=target.cpu.core,
            port=port,
            tool=tool,
        )
        for tool in itertools.chain(*plan.rounds)
    ]
    code = min(codes, key=lambda one: one.model.high)
    constants = constant_bytes(emitted.graph, emitted.calls)
    needed = Counter({placement.weights: constants})
    needed[placement.kernels] += code.kernels.high
    needed[placement.code] += code.layers.high + code.application.high
    short = any(
        region.kind == "flash" and needed[region] > region.usable_bytes for region in needed
    )
    flash = constants + code.model.high
    if short or (budget.flash_bytes is not None and flash > budget.flash_bytes):
        missed.append("flash")
    ram = emitted.plan.arena_bytes + STACK_BYTES
    if budget.ram_bytes is not None and ram > budget.ram_bytes:
        missed.append("RAM")
    return missed
