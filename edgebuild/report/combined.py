"""The report of several models in one firmware: what each needs, and all of them together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgebuild.budget import Budget, Metrics, Violation
from edgebuild.errors import CheckFailedError
from edgebuild.figures import Figure, How
from edgebuild.report.advice import budget_hint
from edgebuild.report.model import (
    Comparison,
    CompilerTrial,
    Report,
    figure_from_json,
    figures_from_json,
    plain,
    trial_from_json,
)
from edgebuild.units import format_size
from edgebuild.versions import JSON_SCHEMA


@dataclass(frozen=True)
class Member:
    """One of the models. ``metrics`` are those of a firmware with this model alone, whose report is
    in ``folder``, below that of all; ``passed`` is that report's verdict. ``arena_bytes`` are those
    of its arena, ``comparison`` its outputs in the firmware with all models."""

    name: str
    folder: str
    passed: bool
    metrics: Metrics
    arena_bytes: int
    comparison: Comparison | None


@dataclass(frozen=True)
class CombinedReport:
    """What several models need in one firmware. ``passed`` decides the exit code.

    ``metrics`` have flash, RAM and latency of all together; ``budget`` limits the first two.
    ``arenas`` says whether each model has its own, ``separate``, or all use one, ``shared``.
    ``borrowed_bytes`` are the constants that are equal to another model's, and so not stored again.
    ``reports`` are those of the models, in files of their own.
    """

    edgebuild: str
    name: str
    target: Mapping[str, Any]
    plan_sha256: str
    toolchain: str
    arenas: str
    budget: Budget
    metrics: Metrics
    memory: Mapping[str, Figure]
    flash: Mapping[str, Figure]
    borrowed_bytes: int
    models: tuple[Member, ...]
    violations: tuple[Violation, ...]
    compilers: tuple[CompilerTrial, ...] = ()
    notes: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    reports: tuple[Report, ...] = ()
    out_dir: str = ""
    cached: bool = False

    @property
    def passed(self) -> bool:
        """True when every model passes by itself, all its bytes are equal in the common firmware,
        and the limits hold for all together."""
        return not self.violations and not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence on each model that fails."""
        found = [
            f"{m.comparison.different_bytes:,} of {m.comparison.compared_bytes:,} output bytes of "
            f"{m.name} differ from those of {m.comparison.oracle}"
            for m in self.models
            if m.comparison is not None and not m.comparison.equal
        ]
        return (*found, *(f"{m.name} does not pass by itself" for m in self.models if not m.passed))

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, ``schema`` first."""
        fields = {
            f.name: plain(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.name not in ("reports", "out_dir", "cached")
        }
        return {"schema": JSON_SCHEMA, **fields, "passed": self.passed}


def combined_from_json(value: Mapping[str, Any]) -> CombinedReport:
    """Return what ``to_json`` made, without the models' reports; KeyError or TypeError when it is
    another schema."""
    v = {name: part for name, part in value.items() if name not in ("schema", "passed")}
    return CombinedReport(
        **{
            **v,
            "budget": Budget(**v["budget"]),
            "metrics": _metrics(v["metrics"]),
            "memory": figures_from_json(v["memory"]),
            "flash": figures_from_json(v["flash"]),
            "models": tuple(_member(row) for row in v["models"]),
            "violations": tuple(
                Violation(**{**row, "value": figure_from_json(row["value"])})
                for row in v["violations"]
            ),
            "compilers": tuple(trial_from_json(row) for row in v["compilers"]),
            "notes": tuple(v["notes"]),
        }
    )


def _member(row: Mapping[str, Any]) -> Member:
    compared = row["comparison"]
    return Member(
        **{
            **row,
            "metrics": _metrics(row["metrics"]),
            "comparison": Comparison(**compared) if compared else None,
        }
    )


def _metrics(value: Mapping[str, Any]) -> Metrics:
    return Metrics(**{name: figure_from_json(figure) for name, figure in value.items()})


def arena_figure(sizes: Mapping[str, int], total: int, arenas: str) -> Figure:
    """Return the RAM for all arenas; ``sizes`` are those of the models, by name."""
    each = ", ".join(f"{name} {format_size(size)}" for name, size in sizes.items())
    what = "the largest, shared by all" if arenas == "shared" else "the sum"
    return Figure(total, "B", How.PLANNED, f"memory planner: {what} ({each})")


def latency_of_all(members: Sequence[Metrics]) -> Figure | None:
    """Return the time of one inference of each, one after the other; None where one is unknown."""
    known = [metrics.latency_us for metrics in members if metrics.latency_us is not None]
    if len(known) < len(members):
        return None
    first = known[0]
    return Figure(
        sum(figure.value for figure in known),
        first.unit,
        first.how,
        f"one inference of each model: {first.source}",
        low=sum(f.least for f in known) if any(f.low is not None for f in known) else None,
        high=sum(f.most for f in known) if any(f.high is not None for f in known) else None,
    )


def combined_failure(report: CombinedReport) -> CheckFailedError | None:
    """Return what failed as one error, None when nothing did."""
    if report.passed:
        return None
    sentences, hint = [], ""
    for violation in report.violations:
        sentences += [violation.sentence(), *_each(report, violation.budget)]
        hint = hint or _hint(report, violation)
    sentences += report.failures
    return CheckFailedError(
        f"{report.name} for {report.target['name']}: {sentences[0]}",
        details=sentences[1:],
        hint=hint,
    )


def _each(report: CombinedReport, budget: str) -> list[str]:
    """Return a line on what each model alone needs of what ran short."""
    metric = {"flash": "flash_bytes", "ram": "ram_bytes"}.get(budget, "")
    figures = [(model.name, getattr(model.metrics, metric, None)) for model in report.models]
    words = [f"{name} {figure.value:,.0f} B" for name, figure in figures if figure is not None]
    return [f"each model alone: {', '.join(words)}"] if words else []


def _hint(report: CombinedReport, violation: Violation) -> str:
    if violation.unknown or violation.budget not in ("flash", "ram"):
        return budget_hint(violation, str(report.target.get("family", "")))
    if violation.budget == "flash":
        return "a smaller model, or raise --max-flash"
    sharing = "--arenas shared, where no model runs while another does; " * (
        report.arenas == "separate"
    )
    return f"{sharing}a model with smaller activations, or raise --max-ram"
