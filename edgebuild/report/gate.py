"""The accuracy gate: whether a shipped model lost so much that its build does not pass.

It holds without being asked for, wherever there are data and a float model to compare with.
A budget of the same quantity takes its place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    without,
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
    """One thing that was lost: ``accuracy-drop``, ``error``, ``similarity``, ``constant``,
    ``few-values`` or ``not-finite``.

    ``output`` is where, ``channels`` are those of its last axis that lost it; none for all.
    """

    kind: str
    sentence: str
    output: str = ""
    channels: tuple[int, ...] = ()


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
    constant: Sequence[Loss],
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
    losses, warnings = list(constant), list[str]()
    if budget.max_accuracy_drop is None and budget.max_class_drop is None and accuracy is not None:
        losses += _drops(accuracy)
    if budget.min_similarity is None and budget.max_error_increase is None and similarity:
        if similarity.samples < FEWEST_SAMPLES:
            warnings.append(
                f"{similarity.samples} samples are too few for the accuracy gate to compare "
                f"outputs; {FEWEST_SAMPLES} are needed"
            )
        else:
            for found in (similarity, similarity.usual):
                losses += _new(losses, found.left_out, _unlike(found)) if found else []
            for errors in (regression, regression.usual if regression else None):
                losses += _new(losses, errors.left_out, _wrong(errors)) if errors else []
    for found in (similarity, similarity.usual if similarity else None):
        if found is not None and found.samples >= FEWEST_SAMPLES:
            unlike = {loss.output for loss in losses if loss.kind == "similarity"}
            coarse = (loss for loss in _coarse(found) if loss.output not in unlike)
            losses += _new(losses, found.left_out, coarse)
    return tuple(losses), tuple(warnings)


def _new(before: Sequence[Loss], left_out: Sequence[int], losses: Iterable[Loss]) -> list[Loss]:
    """Return those of the losses that no earlier one is of the same kind and output as; of samples
    but the outliers ``left_out``, that is said."""
    known = {(loss.kind, loss.output) for loss in before}
    said = f"{without(left_out)}, " if left_out else ""
    return [
        dataclasses.replace(loss, sentence=said + loss.sentence)
        for loss in losses
        if (loss.kind, loss.output) not in known
    ]


def _drops(accuracy: AccuracyReport) -> Iterator[Loss]:
    for one in accuracy.all:
        if one.drop is None or one.drop.interval.low <= MOST_DROP:
            continue
        which = f" of output {quoted(one.output)}" if accuracy.others else ""
        yield Loss(
            "accuracy-drop",
            f"{points(one.drop.value)} points of accuracy{which} are lost (95 %: "
            f"{format_interval(one.drop.interval)}); the gate allows {format_points(MOST_DROP)}",
            one.output,
        )


def _wrong(regression: RegressionReport) -> Iterator[Loss]:
    """Yield the channels that surely explain less of their labels than the gate allows."""
    for row in regression.channels:
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
            row.output,
            () if row.channel is None else (row.channel,),
        )


def _unlike(similarity: SimilarityReport) -> Iterator[Loss]:
    worst = sorted(
        (row for row in similarity.channels if row.judged and row.similarity < LEAST_SIMILARITY),
        key=lambda row: row.similarity,
    )
    for output in dict.fromkeys(row.output for row in worst):
        bad = [row for row in worst if row.output == output]
        more = f" and {len(bad) - _NAMED} more channels" if len(bad) > _NAMED else ""
        named = "; ".join(_shown(row) for row in bad[:_NAMED])
        yield Loss(
            "similarity",
            f"outputs are no longer the float model's: {named}{more}; the gate asks for "
            f"{LEAST_SIMILARITY}",
            output,
            tuple(row.channel for row in bad),
        )
    for one in similarity.outputs:
        if _disagrees(one):
            assert one.interval is not None
            yield Loss(
                "similarity",
                f"{one.label} chooses another class than the float model for "
                f"{1 - one.value:.1%} of the samples; the gate allows {1 - LEAST_SIMILARITY:.0%}",
                one.output,
            )


def _coarse(similarity: SimilarityReport) -> Iterator[Loss]:
    """Yield the outputs that take few values where the float model's take many."""
    found = [row for row in similarity.channels if row.coarse]
    for output in dict.fromkeys(row.output for row in found):
        bad = [row for row in found if row.output == output]
        more = f" and {len(bad) - _NAMED} more channels" if len(bad) > _NAMED else ""
        named = "; ".join(
            f"{row.label} takes {few_values(row.values)}, the float model's {row.float_values:,}"
            for row in bad[:_NAMED]
        )
        channels = tuple(row.channel for row in bad)
        yield Loss("few-values", f"{named}{more}", output, channels)


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
        tuple(
            Loss(**{**row, "channels": tuple(row.get("channels", ()))}) for row in value["losses"]
        ),
        Departure(**departure) if departure else None,
        tuple(Cause(**row) for row in value["causes"]),
        tuple(value["warnings"]),
    )
