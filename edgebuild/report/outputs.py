"""Make the reports of outputs that are values: how like the original they are, how wrong."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from edgebuild.budget import MUCH_ERROR, Budget
from edgebuild.models.data import DataSet
from edgebuild.models.likeness import (
    LEAST_SHARE,
    SIMILARITY,
    channel_likeness,
    likeness,
    middle_similarity,
)
from edgebuild.models.regression import error_increase
from edgebuild.report.accuracy import ChannelRow, OutputLikeness, SimilarityReport, without
from edgebuild.report.gate import Loss
from edgebuild.report.judge import slices_of
from edgebuild.report.regression import ErrorRow, Errors, RegressionReport
from edgebuild.units import quoted

MOST_CHANNELS = 4096
"""A report has no more of one output."""

_FOLLOWS = 0.5
"""Few values that follow the original's have at least this similarity in the middle of these."""

_VARIES = 1e-3
"""Of an output's largest value: less is no variation."""


def similarity_report(
    outputs: Sequence[tuple[str, np.ndarray, np.ndarray]],
    data: DataSet,
    cuts: Sequence[Sequence[int]] | None = None,
    steps: Sequence[np.ndarray] | None = None,
) -> SimilarityReport:
    """Return how like the original the outputs are: each a name, (samples, ...) and the original's
    of the same shape, real values.

    ``cuts`` are for each output those of ``channel_likeness``, ``steps`` for each of its channels
    what int8 can tell apart whatever its range is, see ``bounded_steps``.
    """
    whole: list[OutputLikeness] = []
    parts: list[OutputLikeness] = []
    channels: list[ChannelRow] = []
    for number, (name, ours, original) in enumerate(outputs):
        found = likeness(ours, original)
        groups = [("", "", np.ones(len(data), bool)), *slices_of(data)]
        for slice_name, value, chosen in groups:
            part = found.of(chosen)
            row = OutputLikeness(
                name, slice_name, value, len(part.values), part.value, part.interval(), part.measure
            )
            (parts if slice_name else whole).append(row)
        channels += _channels(
            *(name, ours, original, cuts[number] if cuts else ()),
            steps[number] if steps else np.zeros(original.shape[-1]),
            found.measure == SIMILARITY,
        )
    return SimilarityReport(len(data), tuple(whole), tuple(parts), data.is_random, tuple(channels))


def without_outliers(
    outputs: Sequence[tuple[str, np.ndarray, np.ndarray]],
    data: DataSet,
    cuts: Sequence[Sequence[int]],
    steps: Sequence[np.ndarray],
    out: Sequence[int],
) -> SimilarityReport | None:
    """Return ``similarity_report`` of the samples but ``out``; None where there are none of these,
    or nothing but noise. What varies by less than a step in all others is not judged."""
    if not out or data.is_random:
        return None
    kept = np.setdiff1d(np.arange(len(data)), out)
    varied = [
        ((name, ours[kept], wanted[kept]), within, least)
        for (name, ours, wanted), within, least in zip(outputs, cuts, steps, strict=True)
        if np.any(_deviations(wanted[kept]) > least)
    ]
    if not varied:
        return None
    rows, cuts, steps = zip(*varied, strict=True)
    report = similarity_report(rows, data.take(kept), cuts, steps)
    deviations = {
        name: (_deviations(wanted), least)
        for (name, _, wanted), least in zip(rows, steps, strict=True)
    }
    channels = tuple(_still_is_not_judged(row, *deviations[row.output]) for row in report.channels)
    numbers = tuple(data.place(sample) for sample in out)
    return dataclasses.replace(report, channels=channels, left_out=numbers)


def _deviations(outputs: np.ndarray) -> np.ndarray:
    """Return the standard deviation of each channel of the last axis."""
    found: np.ndarray = outputs.reshape(-1, outputs.shape[-1]).std(axis=0)
    return found


def _still_is_not_judged(row: ChannelRow, deviations: np.ndarray, steps: np.ndarray) -> ChannelRow:
    if deviations[row.channel] > steps[row.channel] or not steps[row.channel]:
        return row
    return dataclasses.replace(row, judged=False)


def _channels(
    name: str,
    ours: np.ndarray,
    original: np.ndarray,
    cuts: Sequence[int],
    steps: np.ndarray,
    judged: bool,
) -> list[ChannelRow]:
    """Return the rows of one output's channels, the worst of very many; where classes are compared
    as a whole, none is ``judged``."""
    found = channel_likeness(ours, original, cuts)
    rows = [
        ChannelRow(
            name, c, float(found.similarity[c]), float(found.share[c]),
            judged and bool(found.share[c] > LEAST_SHARE),
            int(found.values[c]), int(found.original_values[c]),
        )
        for c in range(len(found.share))
    ]  # fmt: skip
    rows = [
        dataclasses.replace(row, coarse=True)
        if row.judged
        and row.has_few_values
        and middle_similarity(ours[..., c], original[..., c], float(steps[c])) < _FOLLOWS
        else row
        for c, row in enumerate(rows)
    ]
    if len(rows) <= MOST_CHANNELS:
        return rows
    worst = sorted(rows, key=lambda row: (not row.judged, row.similarity))[:MOST_CHANNELS]
    return sorted(worst, key=lambda row: row.channel)


def constant_parts(
    outputs: Sequence[tuple[str, np.ndarray, np.ndarray]],
    cuts: Sequence[Sequence[int]],
    steps: Sequence[float],
) -> list[Loss]:
    """Return what has become constant: outputs, or parts of them that were computed apart, which
    are the same for every sample while the original's are not.

    A variation of the original's does not count below the ``steps`` of the numbers that each output
    of ours can take.
    """
    found = []
    for (name, ours, original), within, step in zip(outputs, cuts, steps, strict=True):
        ends = [0, *within, ours.shape[-1]]
        for start, stop in itertools.pairwise(ends):
            mine, theirs = (
                a[..., start:stop].reshape(len(a), -1).astype(np.float64) for a in (ours, original)
            )
            if len(mine) < 2 or np.any(mine != mine[0]):
                continue
            spread = theirs.max(axis=0) - theirs.min(axis=0)
            if spread.max(initial=0.0) <= max(step, _VARIES * float(np.abs(theirs).max())):
                continue
            part = f", channels {start} to {stop - 1}," if len(ends) > 2 else ""
            sentence = f"output {quoted(name)}{part} has become constant"
            found.append(Loss("constant", sentence, name, tuple(range(start, stop))))
    return found


def regression_report(
    judged: Sequence[tuple[str, np.ndarray, np.ndarray | None, np.ndarray]],
    data: DataSet,
    budget: Budget,
    out: Sequence[int] = (),
) -> RegressionReport:
    """Return the errors of outputs whose labels are values: each a name, our outputs, the float
    model's or None, and the labels, all (samples, positions, channels). ``out`` are the samples
    that are also left out."""
    whole: list[ErrorRow] = []
    channels: list[ErrorRow] = []
    for name, ours, baseline, labels in judged:
        whole.append(_error_row(name, None, ours, baseline, labels))
        for c in range(labels.shape[-1]):
            theirs = None if baseline is None else baseline[..., c]
            channels.append(_error_row(name, c, ours[..., c], theirs, labels[..., c]))
    report = RegressionReport(len(data), tuple(whole), tuple(channels))
    report = dataclasses.replace(report, warnings=tuple(_error_warning(report, budget)))
    if not out:
        return report
    kept = np.setdiff1d(np.arange(len(data)), out)
    rows = [(n, a[kept], None if b is None else b[kept], y[kept]) for n, a, b, y in judged]
    left_out = tuple(data.place(sample) for sample in out)
    usual = regression_report(rows, data.take(kept), budget)
    said = () if report.warnings else usual.warnings
    usual = dataclasses.replace(usual, left_out=left_out, warnings=_prefixed(left_out, said))
    return dataclasses.replace(report, usual=usual)


def _prefixed(left_out: Sequence[int], warnings: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{without(left_out)}, {warning}" for warning in warnings)


def _error_row(
    name: str,
    channel: int | None,
    ours: np.ndarray,
    baseline: np.ndarray | None,
    labels: np.ndarray,
) -> ErrorRow:
    shipped = _errors(ours, labels)
    if baseline is None:
        return ErrorRow(name, channel, None, shipped)
    before = _errors(baseline, labels)
    return ErrorRow(name, channel, before, shipped, *error_increase(baseline, ours, labels))


def _errors(outputs: np.ndarray, labels: np.ndarray) -> Errors:
    wrong = outputs - labels
    square, spread = float(np.mean(wrong**2)), float(labels.var())
    r2 = 1 - square / spread if spread > 0 else None
    return Errors(float(np.mean(np.abs(wrong))), math.sqrt(square), r2)


def _error_warning(report: RegressionReport, budget: Budget) -> Iterator[str]:
    limit, worst = budget.max_error_increase, report.worst
    if worst is None or worst.interval is None:
        return
    if limit is None:
        if worst.interval.low > MUCH_ERROR:
            yield _much_error(worst)
    elif not worst.interval.decides(limit):
        yield (
            f"{report.samples:,} samples are too few to tell whether the error rises by at most "
            f"{limit:.4g}: {worst.label} has {worst.interval.low:.1%} to "
            f"{worst.interval.high:.1%} (95 %)"
        )


def _much_error(worst: ErrorRow) -> str:
    """Return that a channel's error surely rises by more than MUCH_ERROR, which nobody limits."""
    assert worst.float_baseline is not None and worst.interval is not None
    return (
        f"the error of {worst.label} rises by {worst.increase:.1%} (95 %: {worst.interval.low:.1%} "
        f"to {worst.interval.high:.1%}): RMSE {worst.float_baseline.rmse:.4g} to "
        f"{worst.shipped.rmse:.4g}; if that is too much, --max-error-increase {MUCH_ERROR:.0%} "
        "makes the build try remedies for it, and fail where none helps"
    )
