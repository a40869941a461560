"""Make an AccuracyReport of what the models said, sample by sample, and say what it cannot tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edgebuild.budget import Budget
from edgebuild.figures import Figure, How
from edgebuild.models.accuracy import Judged
from edgebuild.models.data import DataSet
from edgebuild.models.likeness import likeness
from edgebuild.models.statistics import (
    MOST_SAMPLES,
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
    OutputLikeness,
    Share,
    SimilarityReport,
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
    judged: Mapping[str, tuple[Judged, str]], data: DataSet, budget: Budget
) -> AccuracyReport:
    """Return the report of models judged on all of ``data``.

    ``judged`` holds what a model said and what it is called, by the report's names:
    ``shipped``, and ``float_baseline`` and ``int8_reference`` where there are some.
    """
    ours, source = judged["shipped"]
    baseline = judged["float_baseline"][0] if "float_baseline" in judged else None
    figures: dict[str, Figure | None] = {}
    for name in ("float_baseline", "int8_reference", "shipped"):
        found, source = judged.get(name, (None, ""))
        value = found.accuracy.value if found else 0.0
        figures[name] = Figure(value, "ratio", How.MEASURED, source) if found else None
    classes, slices = _compared(baseline, ours, data, budget.max_class_drop)
    drop = None if baseline is None else _drop(baseline.right, ours.right)
    return AccuracyReport(
        len(data),
        **figures,
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
    )


def _compared(
    baseline: Judged | None, ours: Judged, data: DataSet, limit: float | None
) -> tuple[tuple[GroupReport, ...], tuple[GroupReport, ...]]:
    """Return the rows of classes and of slices."""
    by_class = [
        ("", class_name(data, int(number)), ours.labels == number)
        for number in np.unique(ours.labels)
    ]
    by_slice = list(_slices(data))
    count = len(by_class) + len(by_slice)
    rows = tuple(_group(*group, baseline, ours, limit, count) for group in (*by_class, *by_slice))
    return rows[: len(by_class)], rows[len(by_class) :]


def class_name(data: DataSet, number: int) -> str:
    """Return what the data set calls a class; its number where it has no name."""
    return data.classes[number] if number < len(data.classes) else str(number)


def _slices(data: DataSet) -> Iterator[tuple[str, str, np.ndarray]]:
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
    """Return the row of the samples where ``chosen``, one of so many ``groups``."""
    samples, right = int(np.count_nonzero(chosen)), ours.right[chosen]
    if baseline is None:
        return GroupReport(slice_name, name, samples, None, _share(right))
    drop = _drop(baseline.right[chosen], right)
    too_few, needed = _told(drop, samples, limit, GROUP_WIDE)
    return GroupReport(
        slice_name,
        name,
        samples,
        _share(baseline.right[chosen]),
        _share(right),
        drop,
        significant=drop.p_value * groups < _SIGNIFICANCE,
        too_few=too_few,
        samples_needed=needed,
    )


def _share(right: np.ndarray) -> Share:
    correct = int(np.count_nonzero(right))
    return Share(correct, correct / len(right), wilson(correct, len(right)))


def _drop(before: np.ndarray, after: np.ndarray) -> Drop:
    """Return the drop from ``before`` to ``after``, bool (samples,): which are right."""
    lost, gained = int(np.count_nonzero(before & ~after)), int(np.count_nonzero(after & ~before))
    total = len(before)
    interval = drop_interval(lost, gained, total)
    # As a difference of the two shares, like the figures that it is shown beside.
    value = np.count_nonzero(before) / total - np.count_nonzero(after) / total
    return Drop(float(value), interval, lost, gained, mcnemar(lost, gained))


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
        f"whether the accuracy drop is at most {format_points(limit)}"
        if limit is not None
        else f"the accuracy drop to within {format_points(WIDE / 2)}"
    )
    would = f"about {_about(needed)} would" if needed else f"not even {MOST_SAMPLES:,} would"
    yield (
        f"{samples:,} samples cannot tell {question} "
        f"(95 %: {format_interval(drop.interval)}); {would}"
    )


def _group_warning(groups: Sequence[GroupReport], kind: str, limit: float | None) -> Iterator[str]:
    few = [g for g in groups if g.too_few]
    if not few:
        return
    question = (
        f"a drop of at most {format_points(limit)}"
        if limit is not None
        else f"their drop to within {format_points(GROUP_WIDE / 2)}"
    )
    least = min(few, key=lambda g: g.samples)
    would = f" (about {_about(least.samples_needed)} would)" if least.samples_needed else ""
    yield (
        f"too few samples in {len(few)} of {len(groups)} {kind} to tell {question}; "
        f"the fewest are {least.samples:,} in {least.label}{would}"
    )


def _missing_warning(ours: Judged, data: DataSet) -> Iterator[str]:
    missing = np.setdiff1d(np.arange(ours.classes), ours.labels)
    if len(missing):
        named = ", ".join(quoted(class_name(data, int(n))) for n in missing[:_NAMED])
        more = ", ..." if len(missing) > _NAMED else ""
        yield f"no sample of {len(missing)} of {ours.classes} classes: {named}{more}"


def _about(count: int) -> str:
    """Return a count rounded up to two digits: more would be a promise."""
    step = 10 ** max(0, int(math.log10(count)) - 1)
    return f"{-(-count // step) * step:,}"


def similarity_report(
    outputs: Sequence[tuple[str, np.ndarray, np.ndarray]], data: DataSet
) -> SimilarityReport:
    """Return how like the original the outputs are: each a name, (samples, ...) and the original's
    of the same shape, real values."""
    whole: list[OutputLikeness] = []
    parts: list[OutputLikeness] = []
    for name, ours, original in outputs:
        found = likeness(ours, original)
        groups = [("", "", np.ones(len(data), bool)), *_slices(data)]
        for slice_name, value, chosen in groups:
            part = found.of(chosen)
            row = OutputLikeness(
                name, slice_name, value, len(part.values), part.value, part.interval(), part.measure
            )
            (parts if slice_name else whole).append(row)
    return SimilarityReport(len(data), tuple(whole), tuple(parts), data.is_random)
