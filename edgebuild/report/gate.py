"""The accuracy gate: whether a shipped model lost so much that its build does not pass.

It holds without being asked for, wherever there are data and a float model to compare with.
A budget of the same quantity takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.budget import Budget
from edgebuild.report.accuracy import (
    AccuracyReport,
    ChannelRow,
    OutputLikeness,
    SimilarityReport,
    format_interval,
    points,
)
from edgebuild.report.regression import RegressionReport
from edgebuild.units import format_points, quoted

MOST_DROP = 0.05
"""More accuracy than this is surely lost when the lower end of the drop's interval is above it."""

LEAST_SIMILARITY = 0.95
"""Of every channel that is judged."""

FEWEST_SAMPLES = 10
"""Fewer say too little of a similarity: the gate only warns."""

_NAMED = 3


@dataclass(frozen=True)
class Loss:
    """One thing that was lost: ``accuracy-drop``, ``error``, ``similarity``, ``constant`` or
    ``not-finite``."""

    kind: str
    sentence: str


@dataclass(frozen=True)
class Departure:
    """The tensor whose values first depart most from the float model's.

    ``fidelity`` is the mean similarity of its channels to the float model's, 1 being equal;
    ``before`` that of what it was computed from. ``layer`` is the operator that makes it, empty for
    an input.
    """

    tensor: str
    layer: str
    fidelity: float
    before: float

    @property
    def sentence(self) -> str:
        """What is shown of it."""
        made = f", made by {self.layer}," if self.layer else ", the model's input,"
        return (
            f"the tensor {quoted(self.tensor)}{made} is where it is lost: similarity to the float "
            f"model's {self.fidelity:.3f}, of what it is computed from {self.before:.3f}"
        )


@dataclass(frozen=True)
class Cause:
    """Why a tensor departs. ``kind`` is one of ``edgebuild.models.causes``."""

    kind: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class AccuracyGate:
    """What the gate found. It fails where something was lost, unless it is turned off.

    ``departure`` and ``causes`` are there too when a budget of quality was missed.
    """

    enabled: bool
    losses: tuple[Loss, ...] = ()
    departure: Departure | None = None
    causes: tuple[Cause, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the build may pass."""
        return not (self.enabled and self.losses)


def find_losses(
    accuracy: AccuracyReport | None,
    regression: RegressionReport | None,
    similarity: SimilarityReport | None,
    constant: Sequence[str],
    budget: Budget,
) -> tuple[tuple[Loss, ...], tuple[str, ...]]:
    """Return what the gate holds against a build, and what it cannot judge.

    Args:
        accuracy: of outputs whose labels are classes.
        regression: of outputs whose labels are values.
        similarity: of all outputs whose labels are no classes.
        constant: what has become constant while the float model's is not.
        budget: where it limits a quantity, the gate leaves that to it.
    """
    losses: list[Loss] = []
    warnings: list[str] = []
    losses += [Loss("constant", f"{label} has become constant") for label in constant]
    if budget.max_accuracy_drop is None and budget.max_class_drop is None and accuracy is not None:
        losses += _drops(accuracy)
    if budget.min_similarity is None and budget.max_error_increase is None and similarity:
        if similarity.samples < FEWEST_SAMPLES:
            warnings.append(
                f"{similarity.samples} samples are too few for the accuracy gate to compare "
                f"outputs; {FEWEST_SAMPLES} are needed"
            )
        else:
            losses += _unlike(similarity)
            losses += _wrong(regression)
    return tuple(losses), tuple(warnings)


def _drops(accuracy: AccuracyReport) -> Iterator[Loss]:
    for one in accuracy.all:
        if one.drop is None or one.drop.interval.low <= MOST_DROP:
            continue
        which = f" of output {quoted(one.output)}" if accuracy.others else ""
        yield Loss(
            "accuracy-drop",
            f"{points(one.drop.value)} points of accuracy{which} are lost (95 %: "
            f"{format_interval(one.drop.interval)}); the gate allows {format_points(MOST_DROP)}",
        )


def _wrong(regression: RegressionReport | None) -> Iterator[Loss]:
    """Yield the channels that surely explain less of their labels than the gate allows."""
    for row in regression.channels if regression else ():
        before = row.float_baseline
        if before is None or before.r2 is None or before.r2 <= 0 or row.interval is None:
            continue
        if before.unexplained * ((1 + row.interval.low) ** 2 - 1) <= MOST_DROP:
            continue
        yield Loss(
            "error",
            f"{row.label} explains less of its labels: R2 {before.r2:.4f} to "
            f"{row.shipped.r2 or 0.0:.4f}, RMSE {before.rmse:.4g} to {row.shipped.rmse:.4g}; "
            f"the gate allows R2 to fall by {MOST_DROP:g}",
        )


def _unlike(similarity: SimilarityReport) -> Iterator[Loss]:
    bad = sorted(
        (row for row in similarity.channels if row.judged and row.similarity < LEAST_SIMILARITY),
        key=lambda row: row.similarity,
    )
    if bad:
        more = f" and {len(bad) - _NAMED} more channels" if len(bad) > _NAMED else ""
        named = "; ".join(_shown(row) for row in bad[:_NAMED])
        yield Loss(
            "similarity",
            f"outputs are no longer the float model's: {named}{more}; the gate asks for "
            f"{LEAST_SIMILARITY}",
        )
    for one in similarity.outputs:
        if _disagrees(one):
            assert one.interval is not None
            yield Loss(
                "similarity",
                f"{one.label} chooses another class than the float model for "
                f"{1 - one.value:.1%} of the samples; the gate allows {1 - LEAST_SIMILARITY:.0%}",
            )


def _disagrees(row: OutputLikeness) -> bool:
    """Return whether classes surely differ in more than the samples that the gate allows."""
    sure = row.interval is not None and row.interval.high < LEAST_SIMILARITY
    return row.is_agreement and sure


def _shown(row: ChannelRow) -> str:
    few = (
        f", {few_values(row.values)} where the float model's has {row.float_values:,}"
        if row.has_few_values
        else ""
    )
    return f"{row.label}: similarity {row.similarity:.4f}{few}"


def few_values(count: int) -> str:
    """Return a count of distinct values for people."""
    return "a single value" if count == 1 else f"{count} distinct values"


def gate_from_json(value: Mapping[str, Any]) -> AccuracyGate:
    """Return the AccuracyGate that a report's JSON holds."""
    departure = value["departure"]
    return AccuracyGate(
        value["enabled"],
        tuple(Loss(**row) for row in value["losses"]),
        Departure(**departure) if departure else None,
        tuple(Cause(**row) for row in value["causes"]),
        tuple(value["warnings"]),
    )
