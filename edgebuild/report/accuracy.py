"""What a report says of accuracy: overall, class by class, slice by slice, and how sure that is.

Every share is a ratio, 0 to 1; every drop is the float baseline minus the shipped model, so
that a positive one is a loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgebuild.figures import Figure, How
from edgebuild.models.likeness import AGREEMENT
from edgebuild.models.statistics import Interval
from edgebuild.units import quoted

FEW_VALUES = 8
"""So few distinct values of an output are worth a word."""

_NAMED = 3


@dataclass(frozen=True)
class Share:
    """How many of some samples are right, and Wilson's 95 % interval of their share."""

    correct: int
    value: float
    interval: Interval


@dataclass(frozen=True)
class Drop:
    """How much worse the generated C is than the float baseline on the same samples.

    ``lost`` samples only the baseline has right, ``gained`` only the generated C. ``interval`` is
    Tango's of ``value``, 95 %; ``p_value`` McNemar's, exact, that nothing changed.
    """

    value: float
    interval: Interval
    lost: int
    gained: int
    p_value: float


@dataclass(frozen=True)
class GroupReport:
    """Accuracy on the samples of one class (its recall), or on those of one value of a slice.

    ``slice`` is empty for a class. ``significant``: the two models differ, at 5 % for all groups of
    the report together (Bonferroni). ``samples_needed`` would tell what these cannot, see
    ``edgebuild.report.judge``; None where they tell, or where nobody has so many.
    """

    slice: str
    name: str
    samples: int
    float_baseline: Share | None
    shipped: Share
    drop: Drop | None = None
    significant: bool = False
    too_few: bool = False
    samples_needed: int | None = None

    @property
    def label(self) -> str:
        """What it is called: ``class 'cat'``, ``light 'night'``."""
        return f"{self.slice or 'class'} {quoted(self.name)}"


@dataclass(frozen=True)
class AccuracyReport:
    """Top-1 accuracy of one output on the whole data set, each as a Figure in ``ratio`` (0..1).

    ``intervals`` are 95 %, by the names of the three figures. ``positions`` of each sample have a
    label of their own, in a sequence or mask; rows of classes then count positions, not samples.
    ``others`` are the same of further outputs whose labels are classes.
    """

    samples: int
    float_baseline: Figure | None
    int8_reference: Figure | None
    shipped: Figure | None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    drop: Drop | None = None
    classes: tuple[GroupReport, ...] = ()
    slices: tuple[GroupReport, ...] = ()
    warnings: tuple[str, ...] = ()
    output: str = ""
    positions: int = 1
    others: tuple[AccuracyReport, ...] = ()

    @property
    def all(self) -> tuple[AccuracyReport, ...]:
        """This one and those of further outputs."""
        return (self, *self.others)

    @property
    def engine(self) -> str:
        """What ran the shipped model: generated C, or LiteRT with its version."""
        return self.shipped.source.removesuffix(" on the host") if self.shipped else ""

    @property
    def worst(self) -> GroupReport | None:
        """The class or slice that lost most, None where there is no baseline to lose against."""
        return worst_of((*self.classes, *self.slices))

    @property
    def worst_drop(self) -> AccuracyReport:
        """The output that lost most accuracy."""
        return max(self.all, key=lambda one: one.drop.value if one.drop else 0.0)


@dataclass(frozen=True)
class OutputLikeness:
    """How much one output is like the float model's, on some samples.

    ``slice`` and ``name`` are empty for all samples. ``interval`` is the 95 % one; None for one
    sample.
    """

    output: str
    slice: str
    name: str
    samples: int
    value: float
    interval: Interval | None
    measure: str

    @property
    def is_agreement(self) -> bool:
        """Whether ``value`` is the share of equal classes, not a similarity of values."""
        return self.measure == AGREEMENT

    @property
    def label(self) -> str:
        """What it is called: ``output 'y'``, ``output 'y', light 'night'``."""
        part = f", {self.slice} {quoted(self.name)}" if self.slice else ""
        return f"output {quoted(self.output)}{part}"


@dataclass(frozen=True)
class ChannelRow:
    """One channel of an output's last axis beside the float model's.

    ``share`` is the float model's variance in it in relation to the mean one of its output (or of
    the part of it that was computed apart); ``judged``: large enough to be judged by. ``values``
    and ``float_values`` count the distinct values that both models give. ``constant``: its whole
    output (or part) has become constant. ``coarse``: it takes few values where the float model's
    takes many, and does not follow them.
    """

    output: str
    channel: int
    similarity: float
    share: float
    judged: bool
    values: int
    float_values: int
    constant: bool = False
    coarse: bool = False

    @property
    def label(self) -> str:
        """What it is called: ``output 'boxes', channel 4``."""
        return f"output {quoted(self.output)}, channel {self.channel}"

    @property
    def has_few_values(self) -> bool:
        """Whether it takes few values where the float model's takes many."""
        return self.values <= FEW_VALUES and self.float_values >= FEW_VALUES * self.values


@dataclass(frozen=True)
class SimilarityReport:
    """The shipped model's outputs beside the float model's, where no classes tell right from wrong.

    The measures are those of ``edgebuild.models.likeness``; 1 is equal. ``is_random``: the inputs
    were noise. ``channels`` are those of the outputs, of which an output with very many has the
    worst. ``usual`` is the same without outlying samples, whose variance may hide all others; None
    where there are none. ``left_out`` are those samples, in a report without them.
    """

    samples: int
    outputs: tuple[OutputLikeness, ...]
    slices: tuple[OutputLikeness, ...] = ()
    is_random: bool = False
    channels: tuple[ChannelRow, ...] = ()
    usual: SimilarityReport | None = None
    left_out: tuple[int, ...] = ()

    @property
    def least(self) -> tuple[float, str]:
        """The worst of all outputs and of the channels that are judged, and what it is called."""
        found = [(row.value, row.label) for row in self.outputs]
        if (worst := self.worst_channel) is not None:
            found.append((worst.similarity, worst.label))
        return min(found)

    @property
    def worst(self) -> OutputLikeness | None:
        """The slice whose outputs are least like the original's."""
        return min(self.slices, key=lambda row: row.value, default=None)

    @property
    def worst_channel(self) -> ChannelRow | None:
        """The channel that is least like the original's, of those that are judged."""
        judged = (row for row in self.channels if row.judged)
        return min(judged, key=lambda row: row.similarity, default=None)


def without(left_out: Sequence[int]) -> str:
    """Return ``without the outlying sample 5``."""
    shown = ", ".join(str(sample) for sample in left_out[:_NAMED])
    more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
    return f"without the outlying sample{'s' if len(left_out) > 1 else ''} {shown}{more}"


def worst_of(groups: Iterable[GroupReport], *, significant: bool = False) -> GroupReport | None:
    """Return the group that lost most (of equals the largest), among the significant ones only if
    so asked; None where none has a drop."""
    known = [g for g in groups if g.drop is not None and (g.significant or not significant)]
    return max(known, key=lambda g: (g.drop.value if g.drop else 0.0, g.samples), default=None)


def format_interval(interval: Interval) -> str:
    """Return ``-0.10 to 0.90``, in points."""
    return f"{points(interval.low)} to {points(interval.high)}"


def points(ratio: float) -> str:
    """Return a ratio in points with two digits, never ``-0.00``."""
    return f"{round(100 * ratio, 2) + 0.0:.2f}"


def accuracy_from_json(value: Mapping[str, Any]) -> AccuracyReport:
    """Return the AccuracyReport that a report's JSON holds, of an older edgebuild too."""
    return AccuracyReport(
        value["samples"],
        float_baseline=_figure(value["float_baseline"]),
        int8_reference=_figure(value["int8_reference"]),
        shipped=_figure(value["shipped"]),
        intervals={k: Interval(**v) for k, v in value.get("intervals", {}).items()},
        drop=_drop(value.get("drop")),
        classes=tuple(_group(row) for row in value.get("classes", ())),
        slices=tuple(_group(row) for row in value.get("slices", ())),
        warnings=tuple(value.get("warnings", ())),
        output=value.get("output", ""),
        positions=value.get("positions", 1),
        others=tuple(accuracy_from_json(row) for row in value.get("others", ())),
    )


def similarity_from_json(value: Mapping[str, Any]) -> SimilarityReport:
    """Return the SimilarityReport that a report's JSON holds."""
    outputs, slices = (tuple(_likeness(row) for row in value[k]) for k in ("outputs", "slices"))
    channels = tuple(ChannelRow(**row) for row in value.get("channels", ()))
    usual = value.get("usual")
    return SimilarityReport(
        *(value["samples"], outputs, slices, value["is_random"], channels),
        similarity_from_json(usual) if usual else None,
        tuple(value.get("left_out", ())),
    )


def _group(row: Mapping[str, Any]) -> GroupReport:
    return GroupReport(
        **{
            **row,
            "float_baseline": _share(row["float_baseline"]),
            "shipped": _share(row["shipped"]),
            "drop": _drop(row["drop"]),
        }
    )


def _likeness(row: Mapping[str, Any]) -> OutputLikeness:
    interval = row["interval"]
    return OutputLikeness(**{**row, "interval": Interval(**interval) if interval else None})


def _share(row: Mapping[str, Any] | None) -> Share | None:
    return Share(**{**row, "interval": Interval(**row["interval"])}) if row else None


def _drop(row: Mapping[str, Any] | None) -> Drop | None:
    return Drop(**{**row, "interval": Interval(**row["interval"])}) if row else None


def _figure(value: Mapping[str, Any] | None) -> Figure | None:
    if value is None:
        return None
    return Figure(value["value"], value["unit"], How(value["how"]), value["source"])
