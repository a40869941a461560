"""Compile with the preferred compiler, and with others where a budget is short; keep the best."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebuild.backends.base import Compiled
from edgebuild.budget import Budget, Metrics
from edgebuild.devices.base import RunResult
from edgebuild.errors import OverflowedError
from edgebuild.files import TemporaryFolder
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.profile import Optimize
from edgebuild.report.model import CompilerTrial
from edgebuild.units import format_duration

COMFORT = 0.9
"""Up to this share of a flash or RAM budget no other compiler is tried."""

Compile = Callable[[str, Path], Compiled]
"""Compiles with a tool into a folder, as ``Backend.compile``."""

Run = Callable[[Compiled], RunResult | None]
Measure = Callable[[Compiled, RunResult | None], Metrics]


@dataclass(frozen=True)
class Candidate:
    """What one tool made, in ``folder``, and what a run of it measured."""

    tool: str
    folder: Path
    compiled: Compiled
    result: RunResult | None
    metrics: Metrics


@dataclass(frozen=True)
class Chosen:
    """The candidate that is kept, all that were tried, and a note where there were several."""

    compiled: Compiled
    result: RunResult | None
    trials: tuple[CompilerTrial, ...]
    notes: tuple[str, ...]


def compile_and_run(
    plan: BuildPlan, compile_with: Compile, out: Path, run: Run, measure: Measure
) -> Chosen:
    """Compile for the plan's target and run; leave the files of what is kept below ``out``.

    With ``--toolchain auto`` the first compiler's result is kept where flash and RAM use at most
    ``COMFORT`` of their budgets and latency is within its own. Else the other compilers are tried,
    and those that optimize for size where flash or RAM is still missed. At ``--optimize size`` all
    compilers are tried, and of those that keep the budget the one of the least flash is kept. What
    a search found comes first from the tool that it was costed with, and is kept where it keeps the
    budget.

    Raises:
        OverflowedError: nothing links; the message names all that was tried.
    """
    rounds = plan.rounds
    if plan.target.family != "cortex-m":  # nothing is linked for a device
        rounds = (rounds[0][:1],)
    tools = [tool for tools in rounds for tool in tools]
    first = plan.tool if plan.tool in tools else ""
    tools.sort(key=lambda tool: tool != first)
    found: list[Candidate] = []
    refused: dict[str, OverflowedError] = {}
    with TemporaryFolder("compilers") as scratch:
        for tool in tools:
            if found and found[0].tool == first and not _missed(found[0].metrics, plan.budget):
                break
            if not _wanted(tool, rounds, found, plan):
                continue
            folder = Path(scratch) / tool.replace(" ", "")
            folder.mkdir()
            try:
                compiled = compile_with(tool, folder)
            except OverflowedError as error:
                refused[tool] = error
                continue
            result = run(compiled)
            metrics = measure(compiled, result)
            found.append(Candidate(tool, folder, compiled, result, metrics))
        if not found:
            raise _nothing_links(refused)
        best = min(found, key=lambda one: _rank(one.metrics, plan))
        shutil.copytree(best.folder, out, dirs_exist_ok=True)
    trials = _trials(found, refused, best)
    why = _why(found, refused, best, plan)
    if len(trials) == 1 and first and best.tool != rounds[0][0]:
        why = (f"compiled with {best.tool}, as in the search that found the recipe",)
    return Chosen(best.compiled, best.result, trials, why)


def _wanted(
    tool: str,
    rounds: Sequence[Sequence[str]],
    found: Sequence[Candidate],
    plan: BuildPlan,
) -> bool:
    """Return whether ``tool`` may do better than what there is."""
    if not found:
        return True
    if tool in rounds[0]:
        return is_smallest(plan) or not any(_enough(one.metrics, plan.budget) for one in found)
    return all(_missed(one.metrics, plan.budget) & {"flash", "ram"} for one in found)


def is_smallest(plan: BuildPlan) -> bool:
    """Return whether a build compares all compilers to keep the one of the least flash."""
    return plan.target.optimize == Optimize.SIZE and len(plan.rounds[0]) > 1


def _enough(metrics: Metrics, budget: Budget) -> bool:
    """Return whether flash and RAM are well within their budgets and latency is kept."""
    shares = _shares(metrics, budget).values()
    return all(share <= COMFORT for share in shares) and not _missed(metrics, budget)


def _shares(metrics: Metrics, budget: Budget) -> dict[str, float]:
    """Return what share of each memory budget is used."""
    pairs = {
        "flash": (metrics.flash_bytes, budget.flash_bytes),
        "RAM": (metrics.ram_bytes, budget.ram_bytes),
    }
    return {
        name: figure.value / max(limit, 1)
        for name, (figure, limit) in pairs.items()
        if figure is not None and limit is not None
    }


def _missed(metrics: Metrics, budget: Budget) -> set[str]:
    """Return the budgets that are missed and whose figure is known."""
    return {violation.budget for violation in budget.check(metrics) if not violation.unknown}


def _rank(metrics: Metrics, plan: BuildPlan) -> tuple[int, float]:
    """Return what candidates are sorted by, the best first: budgets missed, then the latency where
    only that is missed, the flash where the smallest is wanted and nothing missed, else the fullest
    memory."""
    budget = plan.budget
    missed = _missed(metrics, budget)
    if not missed and is_smallest(plan) and metrics.flash_bytes is not None:
        return 0, metrics.flash_bytes.value
    if missed == {"latency"} and metrics.latency_us is not None:
        return 1, metrics.latency_us.value
    return len(missed), max(_shares(metrics, budget).values(), default=0.0)


def _trials(
    found: Sequence[Candidate], refused: dict[str, OverflowedError], best: Candidate
) -> tuple[CompilerTrial, ...]:
    made = [
        CompilerTrial(
            one.tool,
            one.metrics.flash_bytes,
            one.metrics.ram_bytes,
            one.metrics.latency_us,
            kept=one is best,
        )
        for one in found
    ]
    return (*made, *(CompilerTrial(tool, too_large=e.message) for tool, e in refused.items()))


def _why(
    found: Sequence[Candidate],
    refused: dict[str, OverflowedError],
    best: Candidate,
    plan: BuildPlan,
) -> tuple[str, ...]:
    """Return a sentence on the choice where several tools were tried."""
    if len(found) + len(refused) == 1:
        return ()
    budget, unlinked = plan.budget, [f"{tool} does not link" for tool in refused]
    if is_smallest(plan) and not _missed(best.metrics, budget):
        sizes = [
            f"{one.tool} {one.metrics.flash_bytes.value:,.0f} B"
            for one in found
            if one.metrics.flash_bytes is not None
        ]
        return (
            f"compiled with {best.tool}, the smallest that keeps the budget, because kernels are "
            f"chosen for size (flash: {', '.join([*sizes, *unlinked])})",
        )
    if found[0].tool not in refused and all(
        share <= COMFORT for one in found for share in _shares(one.metrics, budget).values()
    ):
        times = [
            f"{one.tool} {format_duration(one.metrics.latency_us.value)}"
            for one in found
            if one.metrics.latency_us is not None
        ]
        return (
            f"compiled with {best.tool} because the latency budget is missed or tight "
            f"({', '.join([*times, *unlinked])})",
        )
    used, names = [], ""
    for one in found:
        shares = _shares(one.metrics, budget).items()
        names = "/".join(name for name, _ in shares)
        used.append(f"{one.tool} {' / '.join(f'{share:.1%}' for _, share in shares)}")
    return (
        f"compiled with {best.tool} because a memory budget is tight ({names}: "
        f"{', '.join([*used, *unlinked])})",
    )


def _nothing_links(refused: dict[str, OverflowedError]) -> OverflowedError:
    """Return the refusal of the tool that came closest, with the names of all."""
    tool, nearest = min(refused.items(), key=lambda item: item[1].missed_bytes)
    if len(refused) == 1:
        tried, message = tool, nearest.message
    else:
        names = " and ".join([", ".join(list(refused)[:-1]), list(refused)[-1]])
        tried = f"{tool}, the closest of {names}"
        message = f"{nearest.message} with {tried}"
    return OverflowedError(
        message,
        missed=nearest.missed,
        linked_with=tried,
        details=nearest.details,
        hint=nearest.hint,
    )
