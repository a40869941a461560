"""What matters of accuracy, in a few lines for the terminal; ``report.json`` has all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgebuild.models.statistics import Interval
from edgebuild.report.accuracy import (
    AccuracyReport,
    Drop,
    GroupReport,
    OutputLikeness,
    SimilarityReport,
    format_interval,
    points,
    without,
    worst_of,
)
from edgebuild.report.gate import AccuracyGate, few_values
from edgebuild.report.regression import ErrorRow, Errors, RegressionReport
from edgebuild.units import quoted

if TYPE_CHECKING:
    from rich.console import RenderableType

_OUTPUTS_SHOWN = 4
_WORSE = 0.005
"""So much less similarity is worth a line."""


def accuracy_lines(accuracy: AccuracyReport) -> Iterator[RenderableType]:
    """Yield for each output with classes the accuracies, the drop, the worst class and the worst
    slice, and what is not sure."""
    from rich.text import Text

    for one in accuracy.all:
        if accuracy.others:
            yield Text(f"output {quoted(one.output)}:")
        yield from _one_output(one)


def _one_output(accuracy: AccuracyReport) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text(_shares(accuracy))
    if accuracy.drop is not None:
        yield Text(f"accuracy drop {_drop(accuracy.drop, accuracy.samples)}")
    for groups, kind in ((accuracy.classes, "classes"), (accuracy.slices, "slices")):
        for line in _worst(groups, kind):
            yield _indented(line)
    for warning in accuracy.warnings:
        yield Text(f"warning: {warning}", style="yellow")


def _indented(line: str) -> RenderableType:
    """Return a line that is indented where it is wrapped, too."""
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(line), (0, 0, 0, 2), expand=False)


def _shares(accuracy: AccuracyReport) -> str:
    parts = [
        f"{label} {figure.value:.2%}"
        for label, figure in (
            ("float", accuracy.float_baseline),
            ("int8 reference", accuracy.int8_reference),
            (accuracy.engine, accuracy.shipped),
        )
        if figure is not None
    ]
    each = f" of {accuracy.positions:,} positions" if accuracy.positions > 1 else ""
    line = f"accuracy on {accuracy.samples:,} samples{each}: {', '.join(parts)}"
    interval = accuracy.intervals.get("shipped")
    if accuracy.drop is not None or interval is None:
        return line
    return f"{line} ({_sure(interval)} %)"


def _drop(drop: Drop, samples: int) -> str:
    return f"{points(drop.value)} points ({_sure(drop.interval)}, {samples:,} samples)"


def _sure(interval: Interval) -> str:
    return f"95 %: {format_interval(interval)}"


def _worst(groups: Sequence[GroupReport], kind: str) -> Iterator[str]:
    """Yield the group that lost most, and where that may be chance the one that surely lost."""
    worst, sure = worst_of(groups), worst_of(groups, significant=True)
    if worst is None or worst.drop is None:
        return
    if worst.drop.value <= 0:
        one = {"classes": "class", "slices": "slice"}[kind]
        yield f"no {one} lost accuracy"
        return
    certain = "significant" if worst.significant else "may be chance"
    yield f"worst {_lost(worst)}, {certain}"
    if not worst.significant and sure is not None and sure.drop and sure.drop.value > 0:
        yield f"worst beyond chance {_lost(sure)}"


def _lost(group: GroupReport) -> str:
    """Return ``class 'cat': 2.10 points (0.40 to 3.90, 1,000 samples)``; the interval is the 95 %
    one, as in the line above."""
    assert group.drop is not None
    return (
        f"{'slice ' if group.slice else ''}{group.label}: {points(group.drop.value)} points "
        f"({format_interval(group.drop.interval)}, {group.samples:,} samples)"
    )


def similarity_lines(similarity: SimilarityReport) -> Iterator[RenderableType]:
    """Yield how like the float model's each output is, and the worst slice."""
    from rich.text import Text

    noise = "random " if similarity.is_random else ""
    several = len(similarity.outputs) > 1
    for row in similarity.outputs[:_OUTPUTS_SHOWN]:
        which = f"{row.label}: " if several else ""
        yield Text(f"{which}{row.measure} {_likeness(row, f'{noise}samples', '95 %: ')}")
    if len(similarity.outputs) > _OUTPUTS_SHOWN:
        yield Text(f"... {len(similarity.outputs) - _OUTPUTS_SHOWN} more outputs in report.json")
    worst = similarity.worst
    if worst is not None:
        which = worst.label if several else f"{worst.slice} {quoted(worst.name)}"
        yield _indented(f"worst slice {which}: {_likeness(worst, 'samples')}")
    yield from _channel_lines(similarity)
    if similarity.usual is not None:
        yield from _without_lines(similarity.usual)


def _without_lines(usual: SimilarityReport) -> Iterator[RenderableType]:
    value, label = usual.least
    several = len({row.output for row in usual.channels}) > 1 or len(usual.channels) > 1
    which = f" ({label})" if several else ""
    yield _indented(f"{without(usual.left_out)}: {value:.4f}{which}")
    yield from _few_lines(usual)


def _likeness(row: OutputLikeness, samples: str, sure: str = "") -> str:
    interval = f"{sure}{row.interval.low:.4f} to {row.interval.high:.4f}, " if row.interval else ""
    return f"{row.value:.4f} ({interval}{row.samples:,} {samples})"


def _channel_lines(similarity: SimilarityReport) -> Iterator[RenderableType]:
    """Yield the worst channel where it is worse than its output, and those that take few values."""
    worst = similarity.worst_channel
    counts = Counter(row.output for row in similarity.channels)
    whole = {row.output: row.value for row in similarity.outputs}
    if worst is not None and worst.similarity < whole[worst.output] - _WORSE:
        which = worst.label if len(counts) > 1 else f"channel {worst.channel}"
        yield _indented(f"worst channel: {which}, similarity {worst.similarity:.4f}")
    if similarity.usual is None:
        yield from _few_lines(similarity)


def _few_lines(similarity: SimilarityReport) -> Iterator[RenderableType]:
    few = [row for row in similarity.channels if row.has_few_values]
    for row in few[:_OUTPUTS_SHOWN]:
        yield _indented(
            f"{row.label} takes {few_values(row.values)}, the float model's {row.float_values:,}"
        )
    if len(few) > _OUTPUTS_SHOWN:
        yield _indented(f"... {len(few) - _OUTPUTS_SHOWN} more such channels in report.json")


def regression_lines(regression: RegressionReport) -> Iterator[RenderableType]:
    """Yield each output's errors by its labels, before and after, and the worst channel."""
    from rich.text import Text

    for row in regression.outputs[:_OUTPUTS_SHOWN]:
        which = f"{row.label}: " if len(regression.outputs) > 1 else ""
        yield Text(f"{which}error on {regression.samples:,} samples: {_errors(row)}")
    if len(regression.outputs) > _OUTPUTS_SHOWN:
        yield Text(f"... {len(regression.outputs) - _OUTPUTS_SHOWN} more outputs in report.json")
    worst = regression.worst
    several = len(regression.channels) > len(regression.outputs)
    if worst is not None and several:
        yield _indented(f"worst channel: {worst.label}: {_errors(worst)}")
    usual = regression.usual
    if usual is not None and usual.worst is not None:
        which = f"{usual.worst.label}: " if several else ""
        yield _indented(f"{without(usual.left_out)}: {which}{_errors(usual.worst)}")
        for warning in usual.warnings:
            yield Text(f"warning: {warning}", style="yellow")
    for warning in regression.warnings:
        yield Text(f"warning: {warning}", style="yellow")


def _errors(row: ErrorRow) -> str:
    if row.float_baseline is None:
        return f"MAE {row.shipped.mae:.4g}, RMSE {row.shipped.rmse:.4g}, R2 {_r2(row.shipped)}"
    before, after = row.float_baseline, row.shipped
    sure = f" (95 %: {row.interval.low:.1%} to {row.interval.high:.1%})" if row.interval else ""
    rise = "" if row.increase is None else f"; RMSE {row.increase:+.1%}{sure}"
    return (
        f"MAE {before.mae:.4g} to {after.mae:.4g}, RMSE {before.rmse:.4g} to {after.rmse:.4g}, "
        f"R2 {_r2(before)} to {_r2(after)}{rise}"
    )


def _r2(errors: Errors) -> str:
    return "unknown" if errors.r2 is None else f"{errors.r2:.4f}"


def gate_lines(gate: AccuracyGate) -> Iterator[RenderableType]:
    """Yield what the gate warns of, and what was lost where it is turned off; where it is on, that
    is the error that follows the report."""
    from rich.text import Text

    for loss in () if gate.enabled else gate.losses:
        yield Text(f"warning: {loss.sentence} (the accuracy gate is off)", style="yellow")
    for warning in gate.warnings:
        yield Text(f"warning: {warning}", style="yellow")
