"""The report of one build: what was made, what it needs, how each number was obtained.

``to_json`` is the stable form; ``edgebuild.versions.JSON_SCHEMA`` rises when its keys change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgebuild.budget import Budget, Metrics, Violation
from edgebuild.compress.base import CompressionStep, step_from_json
from edgebuild.compress.ladder import Ladder, ladder_from_json
from edgebuild.delegates.base import Compatibility, compatibility_from_json
from edgebuild.figures import Figure, How
from edgebuild.models.baseline_review import BaselineReview, baseline_from_json
from edgebuild.models.calibration_review import Finding, finding_from_json
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.report.accuracy import (
    AccuracyReport,
    SimilarityReport,
    accuracy_from_json,
    similarity_from_json,
)
from edgebuild.report.gate import AccuracyGate, gate_from_json
from edgebuild.report.parts import ModelParts, parts_from_json
from edgebuild.report.regression import RegressionReport, regression_from_json
from edgebuild.toolchain.base import Section, Symbol
from edgebuild.versions import JSON_SCHEMA


@dataclass(frozen=True)
class LayerReport:
    """One layer of the generated code. Bytes and MACs are of one inference.

    ``live_bytes``: arena bytes in use while it runs. ``instructions``, ``cycles``, ``time_us``,
    ``wait_cycles`` (for memory, at most, beside ``cycles``) and ``share`` (of the run's cycles and
    waits, instructions or time) are None where the run could not tell.
    """

    index: int
    kind: str
    name: str
    output_shape: tuple[int, ...]
    macs: int
    parameter_bytes: int
    live_bytes: int
    instructions: int | None = None
    cycles: int | None = None
    time_us: float | None = None
    share: float | None = None
    wait_cycles: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Outputs of a run compared byte for byte with the oracle's.

    ``first_divergence`` names the first layer whose output differs, when any does. Of a device that
    rounds in its own way, integers may be ``tolerance`` apart: ``close_bytes`` are those that are.
    """

    oracle: str
    device: str
    samples: int
    compared_bytes: int
    different_bytes: int
    first_divergence: str = ""
    tolerance: int = 0
    close_bytes: int = 0

    @property
    def equal(self) -> bool:
        """True when every byte of every sample is equal, or as close as the tolerance allows."""
        return self.different_bytes == 0


@dataclass(frozen=True)
class CompilerTrial:
    """What one compiler made of the model. ``tool`` is its name, with the level of optimization
    where that is not ``-O2``; ``too_large`` says why its image does not link."""

    tool: str
    flash_bytes: Figure | None = None
    ram_bytes: Figure | None = None
    latency_us: Figure | None = None
    too_large: str = ""
    kept: bool = False


@dataclass(frozen=True)
class Report:
    """Everything a build tells. ``passed`` decides the exit code.

    ``accuracy`` is there when labels are classes, ``regression`` when they are values; outputs that
    are not judged by classes have a ``similarity`` when there is a float model to compare with.
    ``gate`` says whether too much was lost, where data and a float model tell. ``baseline`` is
    there where the float model is no better than a constant answer, ``calibration`` holds what is
    questionable about the calibration data, ``ladder`` the remedies that were tried.

    ``sections`` and ``symbols`` are those of the linked firmware, the benchmark application among
    them; empty for the host. ``compatibility`` is there where LiteRT runs the model, and
    ``refusals`` are sentences on what the user forbade the delegate and it does. ``parts`` are
    those in which the model was left too. ``regions`` are the target's memory regions that the
    build uses, with the model's bytes in each.
    """

    edgebuild: str
    name: str
    model: Mapping[str, Any]
    target: Mapping[str, Any]
    plan_sha256: str
    toolchain: str
    budget: Budget
    metrics: Metrics
    memory: Mapping[str, Figure]
    flash: Mapping[str, Figure]
    run: Mapping[str, Figure]
    tflm_arena: Figure | None
    layers: tuple[LayerReport, ...]
    comparison: Comparison | None
    accuracy: AccuracyReport | None
    violations: tuple[Violation, ...]
    sections: tuple[Section, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    compression: tuple[CompressionStep, ...] = ()
    similarity: SimilarityReport | None = None
    compatibility: Compatibility | None = None
    refusals: tuple[str, ...] = ()
    regression: RegressionReport | None = None
    gate: AccuracyGate | None = None
    baseline: BaselineReview | None = None
    calibration: tuple[Finding, ...] = ()
    ladder: Ladder | None = None
    parts: ModelParts | None = None
    regions: Mapping[str, Figure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)
    compilers: tuple[CompilerTrial, ...] = ()
    out_dir: str = ""
    cached: bool = False

    @property
    def preprocessing(self) -> Preprocessing:
        """What firmware does to inputs before the quantized model reads them."""
        found = self.ladder.preprocessing if self.ladder is not None else None
        return found or NONE

    @property
    def passed(self) -> bool:
        """True when every budget is met, the accuracy gate passes, nothing forbidden happens and
        every compared byte is equal."""
        equal = self.comparison is None or self.comparison.equal
        good = self.gate is None or self.gate.passed
        return equal and good and not self.violations and not self.refusals

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values, ``schema`` first."""
        fields = {
            f.name: plain(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if f.name not in ("out_dir", "cached")
        }
        return {"schema": JSON_SCHEMA, **fields, "passed": self.passed}


def plain(value: Any) -> Any:
    """Return a part of a report as plain JSON values."""
    if isinstance(value, Figure):
        return value.to_json()
    if isinstance(value, Preprocessing):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def report_from_json(value: Mapping[str, Any]) -> Report:
    """Return the Report that ``to_json`` made; KeyError or TypeError when it is another schema."""
    v = dict(value)
    comparison, accuracy = v["comparison"], v["accuracy"]
    return Report(
        **{name: v[name] for name in ("edgebuild", "name", "model", "target", "plan_sha256")},
        toolchain=v["toolchain"],
        budget=Budget(**v["budget"]),
        metrics=Metrics(**{k: figure_from_json(f) for k, f in v["metrics"].items()}),
        memory=figures_from_json(v["memory"]),
        flash=figures_from_json(v["flash"]),
        run=figures_from_json(v["run"]),
        tflm_arena=figure_from_json(v["tflm_arena"]),
        layers=tuple(
            LayerReport(**{**row, "output_shape": tuple(row["output_shape"])})
            for row in v["layers"]
        ),
        comparison=Comparison(**comparison) if comparison else None,
        accuracy=accuracy_from_json(accuracy) if accuracy else None,
        violations=tuple(
            Violation(**{**row, "value": figure_from_json(row["value"])}) for row in v["violations"]
        ),
        sections=tuple(Section(**row) for row in v["sections"]),
        symbols=tuple(Symbol(**row) for row in v["symbols"]),
        compression=tuple(step_from_json(row) for row in v["compression"]),
        similarity=similarity_from_json(v["similarity"]) if v.get("similarity") else None,
        compatibility=(
            compatibility_from_json(v["compatibility"]) if v.get("compatibility") else None
        ),
        refusals=tuple(v.get("refusals", ())),
        regression=regression_from_json(v["regression"]) if v.get("regression") else None,
        gate=gate_from_json(v["gate"]) if v.get("gate") else None,
        baseline=baseline_from_json(v["baseline"]) if v.get("baseline") else None,
        calibration=tuple(finding_from_json(row) for row in v.get("calibration", ())),
        ladder=ladder_from_json(v["ladder"]) if v.get("ladder") else None,
        parts=parts_from_json(v["parts"]) if v.get("parts") else None,
        regions=figures_from_json(v.get("regions", {})),
        notes=tuple(v["notes"]),
        artifacts=v["artifacts"],
        compilers=tuple(trial_from_json(row) for row in v.get("compilers", ())),
    )


def trial_from_json(row: Mapping[str, Any]) -> CompilerTrial:
    """Return what ``plain`` made of a trial."""
    figures = {
        name: figure_from_json(row[name]) for name in ("flash_bytes", "ram_bytes", "latency_us")
    }
    return CompilerTrial(**{**row, **figures})


def figure_from_json(value: Mapping[str, Any] | None) -> Figure | None:
    """Return what ``Figure.to_json`` made, None of None."""
    if value is None:
        return None
    return Figure(**{**value, "how": How(value["how"])})


def figures_from_json(values: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures that there are, by name."""
    return {k: figure for k, v in values.items() if (figure := figure_from_json(v)) is not None}
