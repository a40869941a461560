"""The report of several models in one firmware as text for an 80-column terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgebuild.figures import Figure
from edgebuild.report.combined import CombinedReport, Member
from edgebuild.report.model import Comparison
from edgebuild.report.terminal import format_figure, headline, limits_table
from edgebuild.units import format_size

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNKNOWN = "-"


def render_combined(report: CombinedReport) -> Iterator[RenderableType]:
    """Yield the report's parts as rich renderables, top to bottom."""
    from rich.text import Text

    yield headline(report.name, report.target, passed=report.passed, cached=report.cached)
    rows: list[tuple[str, Figure | None, float | None, str]] = [
        ("flash", report.metrics.flash_bytes, report.budget.flash_bytes, "B"),
        ("RAM", report.metrics.ram_bytes, report.budget.ram_bytes, "B"),
    ]
    if any(figure is not None or limit is not None for _, figure, limit, _ in rows):
        yield limits_table(rows)
    yield _models_table(report)
    yield Text(_arenas_line(report))
    if report.borrowed_bytes:
        saved = format_size(report.borrowed_bytes)
        yield Text(f"constants: {saved} are equal to another model's and stored once")
    yield from (Text(line) for line in _comparison_lines(report))
    own = [f"{one.name}: {note}" for one in report.reports for note in one.notes]
    for note in dict.fromkeys((*own, *report.notes)):
        yield Text(f"note: {note}", style="dim")
    if report.out_dir:
        yield Text(f"written to {report.out_dir}/", no_wrap=True)


def _models_table(report: CombinedReport) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("model", overflow="fold")
    for header in ("flash", "RAM", "arena", "latency"):
        table.add_column(header, justify="right", no_wrap=True)
    for model in report.models:
        table.add_row(f"{model.name} alone", *_cells(model))
    of_all = report.metrics
    together = (of_all.flash_bytes, of_all.ram_bytes, report.memory["arena"], of_all.latency_us)
    table.add_row("together", *map(_cell, together), style="bold")
    return table


def _cells(model: Member) -> list[str]:
    metrics = model.metrics
    return [
        _cell(metrics.flash_bytes),
        _cell(metrics.ram_bytes),
        format_size(model.arena_bytes),
        _cell(metrics.latency_us),
    ]


def _cell(figure: Figure | None) -> str:
    return _UNKNOWN if figure is None else format_figure(figure)


def _arenas_line(report: CombinedReport) -> str:
    if report.arenas == "shared":
        return "arena: shared, for models that never run at the same time"
    return "arenas: one for each model, so that one may run while another does"


def _comparison_lines(report: CombinedReport) -> Iterator[str]:
    compared = [model.comparison for model in report.models if model.comparison is not None]
    if compared and all(one.equal for one in compared):
        yield _all_equal(compared)
        return
    for model in report.models:
        c = model.comparison
        if c is not None and not c.equal:
            yield (
                f"MISMATCH: {c.different_bytes:,} of {c.compared_bytes:,} output bytes of "
                f"{model.name} on {c.device} differ from those of {c.oracle}"
            )
            if c.first_divergence:
                yield f"  first difference: {c.first_divergence}"


def _all_equal(compared: list[Comparison]) -> str:
    first, total = compared[0], sum(one.compared_bytes for one in compared)
    return (
        f"checked together: {first.samples} samples of each model on {first.device}: all "
        f"{total:,} output bytes are identical to those of {first.oracle}"
    )
