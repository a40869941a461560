"""The report as text for an 80-column terminal: verdict first, then bars, layers and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgebuild.compress.base import CompressionStep
from edgebuild.figures import Figure
from edgebuild.report.accuracy_lines import (
    accuracy_lines,
    gate_lines,
    regression_lines,
    similarity_lines,
)
from edgebuild.report.compatibility_lines import compatibility_lines
from edgebuild.report.model import LayerReport, Report
from edgebuild.report.remedy_lines import baseline_lines, calibration_lines, ladder_lines
from edgebuild.units import format_range, format_size

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.measure import Measurement

_BAR, _SHORT_BAR, _PER_CENT = 24, 8, 5
"""Columns of a bar, of the shortest one, and of the share behind it."""

_LAYERS_SHOWN = 40
_SYMBOLS_SHOWN = 3
_NOTES_SHOWN = 3
_COSTS = {"cycles": "cycles", "instructions": "instr.", "time_us": "us"}
"""A layer's costs and their column's header, the most telling first."""


def render_report(report: Report) -> Iterator[RenderableType]:
    """Yield the report's parts as rich renderables, top to bottom."""
    from rich.text import Text

    yield _headline(report)
    yield from baseline_lines(report.baseline)
    yield _budget_table(report)
    yield _figures_table(report)
    if report.compatibility is not None:
        yield from compatibility_lines(report.compatibility, with_notes=False)
    if report.parts is not None:
        yield Text(f"parts: {report.parts.summary()}")
    if report.layers:
        yield _layer_table(report)
    if report.compression:
        yield _compression_table(report)
        for step in report.compression:
            yield from _pass_notes(step)
    if report.symbols:
        yield Text(_symbols_line(report))
    if report.comparison is not None:
        yield Text(_comparison_line(report))
        if report.comparison.first_divergence:
            yield Text(f"  first difference: {report.comparison.first_divergence}", style="red")
    yield from calibration_lines(report.calibration)
    yield from ladder_lines(report.ladder)
    if report.accuracy is not None:
        yield from accuracy_lines(report.accuracy)
    if report.regression is not None:
        yield from regression_lines(report.regression)
    if report.similarity is not None:
        yield from similarity_lines(report.similarity)
    if report.gate is not None:
        yield from gate_lines(report.gate)
    for refusal in report.refusals:
        yield Text(f"forbidden: {refusal}", style="red")
    own = report.compatibility.notes if report.compatibility is not None else ()
    for note in (*own, *report.notes):
        yield Text(f"note: {note}", style="dim")
    if report.out_dir:
        yield Text(f"written to {report.out_dir}/", no_wrap=True)
    if report.baseline is not None:  # a screen away by now
        yield Text(f"warning: {report.baseline.headline}: see above", "yellow")


def _headline(report: Report) -> RenderableType:
    but = report.baseline.headline if report.baseline is not None else ""
    return headline(
        *(report.name, report.target), passed=report.passed, cached=report.cached, but=but
    )


def headline(
    name: str, target: Mapping[str, Any], *, passed: bool, cached: bool, but: str = ""
) -> RenderableType:
    """Return the verdict on what was built; ``but`` is what is to be known of one that passes."""
    from rich.text import Text

    verdict, style = ("fits", "bold green") if passed else ("DOES NOT PASS", "bold red")
    if passed and but:
        verdict, style = f"fits, but {but}", "bold yellow"
    text = Text.assemble(
        (name, "bold"),
        " for ",
        (str(target["name"]), "bold"),
        ": ",
        (verdict, style),
    )
    if cached:
        text.append("  (cached: nothing changed since the last build)", style="dim")
    return text


def _budget_table(report: Report) -> RenderableType:
    metrics, budget = report.metrics, report.budget
    rows: list[tuple[str, Figure | None, float | None, str]] = [
        (_size_label(report), metrics.flash_bytes, budget.flash_bytes, "B"),
        ("RAM", metrics.ram_bytes, budget.ram_bytes, "B"),
        ("latency", metrics.latency_us, budget.latency_us, "us"),
        ("accuracy drop", metrics.accuracy_drop, budget.max_accuracy_drop, "ratio"),
    ]
    if budget.max_class_drop is not None:  # else it is said below, with its name
        rows.append(("class drop", metrics.class_drop, budget.max_class_drop, "ratio"))
    if budget.max_error_increase is not None:
        rows.append(("error increase", metrics.error_increase, budget.max_error_increase, "ratio"))
    if budget.min_similarity is not None:
        rows.append(("similarity", metrics.similarity, budget.min_similarity, "similarity"))
    return limits_table(rows)


def limits_table(rows: Iterable[tuple[str, Figure | None, float | None, str]]) -> RenderableType:
    """Return a table of figures and their limits: label, figure, limit, and the limit's unit."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="bold")
    for header, justify in (("", "left"), ("used", "right"), ("limit", "right")):
        table.add_column(header, justify=justify)  # type: ignore[arg-type]
    table.add_column("")
    table.add_column("how", style="dim")
    for label, figure, limit, unit in rows:
        if figure is None and limit is None:
            continue
        used = format_figure(figure) if figure else "unknown"
        shown = "-" if limit is None else format_value(limit, unit)
        bar = _Bar(figure.most / limit) if figure and limit and unit != "similarity" else ""
        table.add_row(label, used, shown, bar, f"{figure.how}" if figure else "")
    return table


def _size_label(report: Report) -> str:
    """A phone has no flash to count: what takes room there is the model's file."""
    return "model" if report.target.get("delegate") else "flash"


@dataclass(frozen=True)
class _Bar:
    """A share as a bar and in per cent, as wide as the table has room for."""

    share: float

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        from rich.measure import Measurement

        return Measurement(_SHORT_BAR + _PER_CENT, _BAR + _PER_CENT)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        room = min(_BAR, options.max_width - _PER_CENT)
        filled = min(room, max(0, round(self.share * room)))
        style = "red" if self.share > 1 else "yellow" if self.share > 0.9 else "green"
        per_cent = f"{self.share:{_PER_CENT}.0%}"
        yield Text.assemble(("█" * filled, style), ("░" * (room - filled), "dim"), per_cent)


def _figures_table(report: Report) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", style="dim", overflow="fold")
    regions = {f"in {name}": figure for name, figure in report.regions.items()}
    groups = {**report.flash, **report.memory, **regions, **report.run}
    if report.tflm_arena is not None:
        groups["TFLite Micro arena"] = report.tflm_arena
    compiler = f"{report.toolchain}: "
    if any(figure.source.startswith(compiler) for figure in groups.values()):
        table.add_row("compiler", "", report.toolchain)
    for label, figure in groups.items():
        source = figure.source.removeprefix(compiler)  # said once, above
        table.add_row(label, format_figure(figure), f"{figure.how}: {source}")
    return table


def _layer_table(report: Report) -> RenderableType:
    from rich.table import Table

    shown = report.layers[:_LAYERS_SHOWN]
    unit = next((u for u in _COSTS if any(getattr(r, u) is not None for r in shown)), "cycles")
    table = Table(box=None, padding=(0, 1), header_style="bold")
    headers = [
        ("#", "right"), ("layer", "left"), ("output", "left"), ("MACs", "right"),
        ("weights", "right"), ("live", "right"),
    ]  # fmt: skip
    if any(getattr(row, unit) is not None for row in shown):
        headers += [(_COSTS[unit], "right"), ("share", "right")]
    if any(row.wait_cycles for row in shown):
        headers.insert(-1, ("waits", "right"))
    for header, justify in headers:
        # Where 80 columns do not suffice, names are folded; numbers stay whole.
        name = header in ("layer", "output")
        table.add_column(header, justify=justify, no_wrap=not name, overflow="fold")  # type: ignore[arg-type]
    for layer in shown:
        row = _layer_row(layer, unit)
        table.add_row(*(row[header] for header, _ in headers))
    if len(report.layers) > _LAYERS_SHOWN:
        rest = len(report.layers) - _LAYERS_SHOWN
        table.add_row("", f"... {rest} more in report.json")
    return table


def _layer_row(layer: LayerReport, unit: str) -> dict[str, str]:
    """Return the cells of a row by their column's header."""
    cost, waits = getattr(layer, unit), layer.wait_cycles
    return {
        "#": str(layer.index),
        "layer": layer.kind.lower(),
        "output": "x".join(str(d) for d in layer.output_shape),
        "MACs": f"{layer.macs:,}" if layer.macs else "",
        "weights": f"{layer.parameter_bytes:,}" if layer.parameter_bytes else "",
        "live": f"{layer.live_bytes:,}",
        _COSTS[unit]: "" if cost is None else f"{cost:,.0f}",
        "waits": "" if waits is None else f"{waits:,}",
        "share": "" if layer.share is None else f"{layer.share:.1%}",
    }


def _compression_table(report: Report) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="bold")
    measure = report.compression[0].quality[0].measure
    for header in ("pass", "parameters", "MACs", "stored", measure):
        table.add_column(header, justify="left" if header == "pass" else "right")
    for step in report.compression:
        (a, b), (first, second) = step.cost, step.quality
        table.add_row(
            step.name,
            _change(a.parameters, b.parameters),
            _change(a.macs, b.macs),
            f"{_change(a.bytes, b.bytes)} B",
            f"{first.value:.2%} to {second.value:.2%}",
        )
    return table


def _pass_notes(step: CompressionStep) -> Iterator[RenderableType]:
    """Say what a pass did to the user's own metrics, and how; of a long list the beginning."""
    from rich.text import Text

    before, after = (quality.metrics for quality in step.quality)
    told = [f"{name} {before[name]:.4g} to {after[name]:.4g}" for name in before]
    if told:
        yield Text(f"{step.name}: {', '.join(told)}")
    if step.notes:
        more = len(step.notes) - _NOTES_SHOWN
        told = [*step.notes[:_NOTES_SHOWN], *([f"{more} more in report.json"] if more > 0 else [])]
        yield Text(f"{step.name}: {'; '.join(told)}", style="dim")


def _change(before: int, after: int) -> str:
    return f"{before:,} to {after:,}" if after != before else f"{after:,}"


def _symbols_line(report: Report) -> str:
    in_flash = {section.name for section in report.sections if section.in_flash}
    flash = [s for s in report.symbols if s.section in in_flash and "/app/" not in s.object_file]
    largest = ", ".join(f"{s.name} {s.size:,} B" for s in flash[:_SYMBOLS_SHOWN])
    return f"largest in flash: {largest}"


def _comparison_line(report: Report) -> str:
    c = report.comparison
    assert c is not None
    if c.equal and c.close_bytes:
        return (
            f"checked: {c.samples} samples on {c.device}: of {c.compared_bytes:,} output bytes "
            f"{c.close_bytes:,} differ by at most {c.tolerance} from those of {c.oracle}, the "
            "others are identical"
        )
    if c.equal:
        return (
            f"checked: {c.samples} samples on {c.device}: all {c.compared_bytes:,} output bytes "
            f"are identical to those of {c.oracle}"
        )
    return (
        f"MISMATCH: {c.different_bytes:,} of {c.compared_bytes:,} output bytes on {c.device} "
        f"differ from those of {c.oracle}"
    )


def format_figure(figure: Figure) -> str:
    """Return a figure's value, or its bounds, with the unit, for people."""
    return format_range(figure.least, figure.most, lambda value: format_value(value, figure.unit))


def format_value(value: float, unit: str) -> str:
    """Return ``value`` in ``unit`` for people: sizes in KiB, times in ms, ratios in percent."""
    if unit == "B":
        return format_size(int(value))
    if unit == "us":
        return f"{value / 1000:,.3f} ms" if value >= 1000 else f"{value:,.1f} us"
    if unit == "ratio":
        return f"{value:.2%}"
    if unit == "similarity":
        return f"{value:.4f}"
    if unit:
        return f"{value:,.0f} {unit}"
    return f"{value:,.0f}"
