"""Make an AccuracyReport of what the models said, sample by sample, and say what it cannot tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgebuild.budget import Budget
from edgebuild.figures import Figure, How
from edgebuild.models.accuracy import Judged
from edgebuild.models.data import DataSet
from edgebuild.models.statistics import (
    MOST_SAMPLES,
    Interval,
    clustered,
    drop_interval,
    mcnemar,
    samples_to_decide,
    samples_to_width,
    wilson,
)
from edgebuild.report.accuracy import (
    AccuracyReport,
    Drop,
    GroupReport,
    Share,
    format_interval,
)
from edgebuild.units import format_points, quoted

WIDE = 0.02
"""Without a budget to decide against: a drop is told when its interval is no wider."""

GROUP_WIDE = 0.10
"""The same for one class or slice."""

_SIGNIFICANCE = 0.05
_NAMED = 3


def accuracy_report(
    judged: Mapping[str, tuple[Judged, str]], data: DataSet, budget: Budget, output: str = ""
) -> AccuracyReport:
    """Return the report of models judged on all of ``data``, by the labels of one ``output``.

    ``judged`` holds what a model said and what it is called, by the report's names:
    ``shipped``, and ``float_baseline`` and ``int8_reference`` where there are some.
    """
    ours, _ = judged["shipped"]
    baseline = judged["float_baseline"][0] if "float_baseline" in judged else None
    figures = {
        name: Figure(found.accuracy.value, "ratio", How.MEASURED, source)
        for name, (found, source) in judged.items()
    }
    classes, slices = _compared(baseline, ours, data, budget.max_class_drop)
    drop = None if baseline is None else _drop(baseline.right, ours.right)
    return AccuracyReport(
        len(data),
        float_baseline=figures.get("float_baseline"),
        int8_reference=figures.get("int8_reference"),
        shipped=figures["shipped"],
        intervals={name: _share(found.right).interval for name, (found, _) in judged.items()},
        drop=drop,
        classes=classes,
        slices=slices,
        warnings=(
            *_overall_warning(drop, len(data), budget.max_accuracy_drop),
            *_group_warning(classes, "classes", budget.max_class_drop),
            *_group_warning(slices, "slices", budget.max_class_drop),
            *_missing_warning(ours, data),
        ),
        output=output,
        positions=1 if ours.labels.ndim == 1 else ours.labels.shape[1],
    )


def _compared(
    baseline: Judged | None, ours: Judged, data: DataSet, limit: float | None
) -> tuple[tuple[GroupReport, ...], tuple[GroupReport, ...]]:
    """Return the rows of classes and of slices."""
    by_class = [
        ("", class_name(data, int(number)), ours.labels == number)
        for number in np.unique(ours.labels)
    ]
    by_slice = [
        (name, value, np.broadcast_to(chosen.reshape(-1, *[1] * (ours.labels.ndim - 1)),
                                      ours.labels.shape))
        for name, value, chosen in slices_of(data)
    ]  # fmt: skip
    count = len(by_class) + len(by_slice)
    rows = tuple(_group(*group, baseline, ours, limit, count) for group in (*by_class, *by_slice))
    return rows[: len(by_class)], rows[len(by_class) :]


def class_name(data: DataSet, number: int) -> str:
    """Return what the data set calls a class; its number where it has no name."""
    return data.classes[number] if number < len(data.classes) else str(number)


def slices_of(data: DataSet) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield slice, value and which samples have it: bool (samples,). Numbers are in their order."""
    for name, values in data.slices.items():
        for value in sorted(np.unique(values).tolist(), key=_natural):
            yield name, value, values == value


def _natural(value: str) -> tuple[bool, int, str]:
    number = value.isascii() and value.removeprefix("-").isdigit()
    return (not number, int(value) if number else 0, value)


def _group(
    slice_name: str,
    name: str,
    chosen: np.ndarray,
    baseline: Judged | None,
    ours: Judged,
    limit: float | None,
    groups: int,
) -> GroupReport:
    """Return the row of the samples (or positions) where ``chosen``, one of so many ``groups``."""
    samples, right = int(np.count_nonzero(chosen)), ours.right
    if baseline is None:
        return GroupReport(slice_name, name, samples, None, _share(right, chosen))
    drop = _drop(baseline.right, right, chosen)
    too_few, needed = _told(drop, samples, limit, GROUP_WIDE)
    return GroupReport(
        slice_name,
        name,
        samples,
        _share(baseline.right, chosen),
        _share(right, chosen),
        drop,
        significant=drop.p_value * groups < _SIGNIFICANCE,
        too_few=too_few,
        samples_needed=needed,
    )


def _share(right: np.ndarray, chosen: np.ndarray | None = None) -> Share:
    """Return the share that is right, of (samples,) or of (samples, positions)."""
    chosen = np.ones(right.shape, bool) if chosen is None else chosen
    correct, total = int(np.count_nonzero(right & chosen)), int(np.count_nonzero(chosen))
    if right.ndim == 1:
        return Share(correct, correct / total, wilson(correct, total))
    interval, _ = clustered((right & chosen).sum(1), chosen.sum(1))
    return Share(correct, correct / total, Interval(max(0.0, interval.low), interval.high))


def _drop(before: np.ndarray, after: np.ndarray, chosen: np.ndarray | None = None) -> Drop:
    """Return the drop from ``before`` to ``after``: bool (samples,) or (samples, positions), which
    are right."""
    chosen = np.ones(before.shape, bool) if chosen is None else chosen
    lost_at, gained_at = before & ~after & chosen, after & ~before & chosen
    lost, gained = int(np.count_nonzero(lost_at)), int(np.count_nonzero(gained_at))
    total = int(np.count_nonzero(chosen))
    # As a difference of the two shares, like the figures that it is shown beside.
    value = np.count_nonzero(before & chosen) / total - np.count_nonzero(after & chosen) / total
    if before.ndim == 1:
        interval, p_value = drop_interval(lost, gained, total), mcnemar(lost, gained)
    else:
        counts = lost_at.sum(1).astype(float) - gained_at.sum(1)
        interval, p_value = clustered(counts, chosen.sum(1))
    return Drop(float(value), interval, lost, gained, p_value)


def _told(drop: Drop, samples: int, limit: float | None, wide: float) -> tuple[bool, int | None]:
    """Return whether so few samples cannot tell the drop, and how many would."""
    if limit is not None:
        if drop.interval.decides(limit):
            return False, None
        return True, samples_to_decide(drop.lost, drop.gained, samples, limit)
    if drop.interval.width <= wide:
        return False, None
    return True, samples_to_width(drop.lost, drop.gained, samples, wide)


def _overall_warning(drop: Drop | None, samples: int, limit: float | None) -> Iterator[str]:
    if drop is None:
        return
    too_few, needed = _told(drop, samples, limit, WIDE)
    if not too_few:
        return
    question = (
        f"tell whether the accuracy drop is at most {format_points(limit)}"
        if limit is not None
        else f"measure the accuracy drop to within {format_points(WIDE / 2)}"
    )
    would = f"about {_about(needed)}" if needed else f"more than {MOST_SAMPLES:,}"
    yield (
        f"{samples:,} sample{'s are' if samples != 1 else ' is'} too few to {question} "
        f"(95 %: {format_interval(drop.interval)}): {would} are needed"
    )


def _group_warning(groups: Sequence[GroupReport], kind: str, limit: float | None) -> Iterator[str]:
    few = [g for g in groups if g.too_few]
    if not few:
        return
    question = (
        f"tell whether the drop is at most {format_points(limit)}"
        if limit is not None
        else f"measure a drop of {format_points(GROUP_WIDE / 2)}"
    )
    least = min(few, key=lambda g: g.samples)
    needed = f", about {_about(least.samples_needed)} are needed" if least.samples_needed else ""
    yield (
        f"too few samples in {len(few)} of {len(groups)} {kind} to {question}: "
        f"{least.label} has the fewest ({least.samples:,}{needed})"
    )


def _missing_warning(ours: Judged, data: DataSet) -> Iterator[str]:
    missing = np.setdiff1d(np.arange(ours.classes), ours.labels)
    if len(missing):
        named = ", ".join(quoted(class_name(data, int(n))) for n in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        have = "has" if len(missing) == 1 else "have"
        yield f"{len(missing)} of {ours.classes} classes {have} no samples: {named}{more}"


def _about(count: int) -> str:
    """Return a count rounded up to two digits: more would be a promise."""
    step = 10 ** max(0, int(math.log10(count)) - 1)
    return f"{-(-count // step) * step:,}"
