"""What is questionable about a set of samples that a model is calibrated with.

Each rule has its evidence in numbers. int8 has 255 steps for the range of a tensor: a range that
one sample makes four times as wide takes 2 of the 8 bits from all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.units import quoted

WIDER = 4.0
"""A sample is an outlier when the range without it is so many times smaller."""

COLUMN_WIDER = 10.0
"""The same for one column of a table, whose values vary more by nature."""

MOST_OUTLYING = 0.02
"""More samples than this share are no outliers but a part of the data."""

FEWEST = 10
"""Fewer samples are too few whatever they hold."""

FILLED = 0.9
"""Half of the samples cover at least this share of a range that is filled."""

_HALVES = 8
_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is questionable.

    ``kind`` is ``outlier``, ``all-zero``, ``constant``, ``few-samples``, ``range-not-filled``,
    ``missing-classes`` or ``judges-itself``. ``sample`` counts from 0 in the user's file;
    ``position`` is the place of ``value`` in that sample. ``range_with`` and ``range_without`` are
    those of the input, with and without the sample. A ``warning`` asks for other data, without it
    the finding is only to be known.
    """

    kind: str
    sentence: str
    warning: bool = True
    input: str = ""
    sample: int | None = None
    position: tuple[int, ...] = ()
    value: float | None = None
    range_with: tuple[float, float] | None = None
    range_without: tuple[float, float] | None = None


def finding_from_json(row: Mapping[str, Any]) -> Finding:
    """Return the finding that a report's JSON holds."""
    ranges = {
        name: tuple(row[name]) if row[name] is not None else None
        for name in ("range_with", "range_without")
    }
    return Finding(**{**row, **ranges, "position": tuple(row["position"])})


def review_calibration(
    x: Sequence[np.ndarray],
    names: Sequence[str],
    *,
    drawn: int,
    labels: np.ndarray | None = None,
    judged_labels: np.ndarray | None = None,
    judges: bool = False,
    classes: Sequence[str] = (),
) -> tuple[Finding, ...]:
    """Return what is questionable about calibrating with samples of ``x``.

    Args:
        x: an array (samples, ...) for each input.
        names: of the inputs.
        drawn: how many of the samples calibrate.
        labels: class numbers (samples,) of them, None where there are none.
        judged_labels: class numbers of the samples that judge, None where there are none.
        judges: whether the same samples judge the build.
        classes: the names of the classes, as far as they have some.
    """
    found: list[Finding] = []
    for array, name in zip(x, names, strict=True):
        which = f"input {quoted(name)}" if len(x) > 1 else "the input"
        found += _review_input(array, name, which, drawn)
    if drawn < FEWEST:
        found.append(
            Finding(
                "few-samples",
                f"only {drawn} calibration sample{'s' if drawn != 1 else ''}: at least {FEWEST} "
                "are needed to estimate a range, a few hundred are usual",
            )
        )
    if labels is not None and judged_labels is not None:
        found += _missing(labels, judged_labels, classes)
    if judges:
        found.append(
            Finding(
                "judges-itself",
                "calibration and evaluation use the same samples; pass separate calibration "
                "samples with --train",
                warning=False,
            )
        )
    return tuple(found)


def _review_input(x: np.ndarray, name: str, which: str, drawn: int) -> Iterator[Finding]:
    if x.dtype.kind == "b" or not x.size:
        return
    low, high = _range(x)
    if low == high:
        kind = "all-zero" if low == 0 else "constant"
        what = "is zero in all samples" if low == 0 else f"is {low:.6g} in all samples"
        yield Finding(kind, f"{which} {what}: its range cannot be calibrated", input=name)
        return
    out = [*_outliers(x, name, which)]
    yield from out[:_NAMED]
    if len(out) > _NAMED:
        yield Finding(
            "outlier", f"{which} has {len(out) - _NAMED} more outlying samples", input=name
        )
    kept = np.setdiff1d(np.arange(len(x)), [finding.sample for finding in out])
    count = min(drawn, len(kept))
    if count >= FEWEST and (share := _filled(x[kept], count)) < FILLED:
        yield Finding(
            "range-not-filled",
            f"{count:,} samples do not cover the range of {which}: half of them cover "
            f"{share:.0%} of it; use more samples",
            input=name,
        )


def outlying_samples(x: Sequence[np.ndarray]) -> np.ndarray:
    """Return the sorted positions of samples that hold an outlier, for an array (samples, ...) of
    each input."""
    found = {
        finding.sample
        for array in x
        if array.dtype.kind != "b" and array.size
        for finding in _outliers(array, "", "")
        if finding.sample is not None
    }
    return np.array(sorted(found), np.int64)


def find_outliers(
    arrays: Sequence[tuple[str, np.ndarray]], place: Callable[[int], int] = int
) -> tuple[tuple[int, ...], tuple[Finding, ...]]:
    """Return the samples that hold an outlier, sorted, and a finding for each of them.

    Args:
        arrays: what messages call each and its values (samples, ...); integers hold none.
        place: where a sample is in the user's data, which the findings name.
    """
    found: dict[int, Finding] = {}
    for called, array in arrays:
        if array.dtype.kind != "f" or not array.size or not np.isfinite(array).all():
            continue
        for finding in _outliers(array, "", called):
            sample = finding.sample
            if sample is None or sample in found:
                continue
            sentence = finding.sentence.replace(f"sample {sample}", f"sample {place(sample)}", 1)
            found[sample] = dataclasses.replace(finding, sentence=sentence, sample=place(sample))
    samples = tuple(sorted(found))
    return samples, tuple(found[sample] for sample in samples)


def table_of(values: np.ndarray) -> np.ndarray:
    """Return values (samples, positions, channels) as a table (samples, channels) where each sample
    has one position."""
    return values[:, 0] if values.shape[1] == 1 else values


def _outliers(x: np.ndarray, name: str, which: str) -> Iterator[Finding]:
    """Yield a finding for each sample that makes a range much wider than the others leave it."""
    seen: set[int] = set()
    for sample in _outlying(x, WIDER):
        seen.add(sample)
        place = _extreme(x[sample], x)
        yield _outlier(x, seen, sample, place, name, which, None)
    if x.ndim != 2 or x.shape[1] < 2:
        return
    for column in range(x.shape[1]):
        inside: set[int] = set(seen)
        for sample in _outlying(x[:, column], COLUMN_WIDER):
            if sample not in seen:
                inside.add(sample)
                seen.add(sample)
                yield _outlier(x, inside, sample, (column,), name, which, column)


def _outlier(
    x: np.ndarray,
    out: set[int],
    sample: int,
    place: tuple[int, ...],
    name: str,
    which: str,
    column: int | None,
) -> Finding:
    values = x if column is None else x[:, column]
    kept = np.setdiff1d(np.arange(len(x)), sorted(out))
    whole, rest = _range(values), _range(values[kept])
    value = float(x[sample][place])
    of = f"the range of {which}" if column is None else f"column {column}"
    return Finding(
        "outlier",
        f"sample {sample} has {value:.6g} at {list(place)}; without it {of} is "
        f"{rest[0]:.6g} to {rest[1]:.6g}, with it {whole[0]:.6g} to {whole[1]:.6g}",
        input=name,
        sample=sample,
        position=place,
        value=value,
        range_with=whole,
        range_without=rest,
    )


def _outlying(x: np.ndarray, wider: float) -> list[int]:
    """Return the samples without which the range is ``wider`` times smaller, the farthest first;
    none where that takes more than MOST_OUTLYING of them, or leaves a single value."""
    count = len(x)
    most = max(1, int(count * MOST_OUTLYING))
    if count < FEWEST:
        return []
    rows = x.reshape(count, -1)
    lows, highs = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    centre = (np.median(highs) + np.median(lows)) / 2
    order = np.argsort(-np.maximum(highs - centre, centre - lows), kind="stable")
    found, span = 0, _span(lows, highs)
    for dropped in range(1, most + 1):
        kept = order[dropped:]
        rest = _span(lows[kept], highs[kept])
        if lows[kept].min() < highs[kept].max() and rest * wider <= span:
            found, span = dropped, rest  # a larger one hides smaller ones: go on
    return [int(sample) for sample in order[:found]]


def _span(lows: np.ndarray, highs: np.ndarray) -> float:
    """Return the width of a range, which always holds zero."""
    return float(max(highs.max(), 0.0) - min(lows.min(), 0.0))


def _extreme(sample: np.ndarray, x: np.ndarray) -> tuple[int, ...]:
    """Return the place of the value that is farthest from the middle of all."""
    if not sample.ndim:
        return ()
    centre = float(np.median(x.reshape(-1)[:: max(1, x.size // 100_000)]))
    place = np.unravel_index(np.argmax(np.abs(sample.astype(np.float64) - centre)), sample.shape)
    return tuple(int(i) for i in place)


def _range(x: np.ndarray) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _filled(x: np.ndarray, count: int) -> float:
    """Return what share of the range of ``count`` samples a half of them covers, on average of
    seeded draws."""
    rng = np.random.default_rng(0)
    rows = x.reshape(len(x), -1)
    lows, highs = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
    shares = []
    for _ in range(_HALVES):
        chosen = rng.permutation(len(x))[:count]
        half = chosen[: count // 2]
        whole = highs[chosen].max() - lows[chosen].min()
        shares.append(1.0 if whole <= 0 else (highs[half].max() - lows[half].min()) / whole)
    return float(np.mean(shares))


def _missing(labels: np.ndarray, judged: np.ndarray, classes: Sequence[str]) -> Iterator[Finding]:
    absent = np.setdiff1d(judged, labels).tolist()
    if absent:
        named = ", ".join(
            quoted(classes[n]) if n < len(classes) else str(n) for n in absent[:_NAMED]
        )
        more = ", ..." if len(absent) > _NAMED else ""
        yield Finding(
            "missing-classes",
            f"no calibration samples for {len(absent)} of {len(np.unique(judged))} classes in the "
            f"evaluation data: {named}{more}",
        )
