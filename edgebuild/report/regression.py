"""What a report says of outputs whose labels are values: their errors, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgebuild.models.regression import SMALL_ERROR
from edgebuild.models.statistics import Interval
from edgebuild.units import quoted


@dataclass(frozen=True)
class Errors:
    """How far outputs are from their labels, in the labels' unit.

    ``r2`` is the coefficient of determination: 1 is right, 0 no better than the labels' mean; None
    where the labels are all the same.
    """

    mae: float
    rmse: float
    r2: float | None

    @property
    def unexplained(self) -> float:
        """The share of the labels' variance that the error is, at least that of SMALL_ERROR."""
        return max(1.0 - (1.0 if self.r2 is None else self.r2), SMALL_ERROR**2)


@dataclass(frozen=True)
class ErrorRow:
    """One output, or one channel of its last axis.

    ``channel`` is None for the whole output. ``increase`` is by how much the RMSE rose, as a ratio
    of the float model's (0.1 is 10 %); ``interval`` is its 95 % one, None for too few samples.
    """

    output: str
    channel: int | None
    float_baseline: Errors | None
    shipped: Errors
    increase: float | None = None
    interval: Interval | None = None

    @property
    def label(self) -> str:
        """What it is called: ``output 'y', channel 2``."""
        part = "" if self.channel is None else f", channel {self.channel}"
        return f"output {quoted(self.output)}{part}"


@dataclass(frozen=True)
class RegressionReport:
    """The errors of every output whose labels are values, whole and channel by channel.

    ``usual`` is the same without samples whose inputs or labels are outliers, None where there are
    none; ``left_out`` are those samples, in a report without them.
    """

    samples: int
    outputs: tuple[ErrorRow, ...]
    channels: tuple[ErrorRow, ...] = ()
    warnings: tuple[str, ...] = ()
    usual: RegressionReport | None = None
    left_out: tuple[int, ...] = ()

    @property
    def worst(self) -> ErrorRow | None:
        """The channel whose error rose most."""
        known = (row for row in self.channels if row.increase is not None)
        return max(known, key=lambda row: row.increase or 0.0, default=None)


def regression_from_json(value: Mapping[str, Any]) -> RegressionReport:
    """Return the RegressionReport that a report's JSON holds."""
    outputs, channels = (tuple(_row(row) for row in value[k]) for k in ("outputs", "channels"))
    usual = value.get("usual")
    return RegressionReport(
        *(value["samples"], outputs, channels, tuple(value["warnings"])),
        regression_from_json(usual) if usual else None,
        tuple(value.get("left_out", ())),
    )


def _row(row: Mapping[str, Any]) -> ErrorRow:
    before, interval = row["float_baseline"], row["interval"]
    return ErrorRow(
        **{
            **row,
            "float_baseline": Errors(**before) if before else None,
            "shipped": Errors(**row["shipped"]),
            "interval": Interval(**interval) if interval else None,
        }
    )
