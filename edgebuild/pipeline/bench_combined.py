"""Run a firmware with several models on a board and make its report again with what it measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebuild.backends.base import Progress
from edgebuild.budget import Budget
from edgebuild.codegen.combined import NAME
from edgebuild.devices.base import RunResult
from edgebuild.devices.serial import SerialDevice
from edgebuild.errors import InputError
from edgebuild.files import TemporaryFolder
from edgebuild.limits import read_json
from edgebuild.pipeline.bench import read_whole, toolchain_of
from edgebuild.pipeline.combined import BuiltModel, compare_each, samples_of_all
from edgebuild.pipeline.plan import REPORT_NAME
from edgebuild.pipeline.runners.base import FIRMWARE, MODEL_NAME
from edgebuild.pipeline.steps import measured_memory, ram_figure
from edgebuild.report.combined import CombinedReport, combined_from_json


@dataclass(frozen=True)
class CombinedBenchRequest:
    """What to measure: the build in ``folder``, on the board at ``port``.

    ``baud`` goes over the profile's, ``budget`` over the build's; ``samples`` and ``seed`` are
    those of each model.
    """

    folder: Path
    port: str
    baud: int | None = None
    samples: int = 8
    seed: int = 0
    budget: Budget = field(default_factory=Budget)


def holds_several(folder: Path) -> bool:
    """Return whether the build in ``folder``, if it is one, is of several models."""
    try:
        report = read_json(folder / REPORT_NAME)
    except (OSError, ValueError, InputError):
        return False
    return isinstance(report, Mapping) and "models" in report


def bench_combined(
    request: CombinedBenchRequest, *, progress: Progress = lambda _: None
) -> CombinedReport:
    """Run each sample of all models on the board and compare every output byte.

    Raises InputError when the build is not whole or has no firmware; ToolError when the board does
    not answer.
    """
    folder = request.folder
    value, artifacts = read_whole(folder)
    report = combined_from_json(value)
    if FIRMWARE not in artifacts:
        raise InputError(
            f"{folder} has no firmware: it was built for {report.target['name']}",
            hint="build for a board; see edgebuild targets list",
        )
    models = [
        BuiltModel(folder / one.folder / MODEL_NAME, one.name, request.samples, request.seed,
                   toolchain_of(folder / one.folder))
        for one in report.models
    ]  # fmt: skip
    progress(f"running on {request.port}")
    baud = request.baud or report.target["run"]["serial_baud"]
    with SerialDevice(request.port, baud, model=NAME) as device:
        result = device.run(samples_of_all(models))
    with TemporaryFolder("work") as scratch:
        compared = compare_each(models, result, Path(scratch), progress)
    members = tuple(
        dataclasses.replace(one, comparison=comparison)
        for one, comparison in zip(report.models, compared, strict=True)
    )
    return dataclasses.replace(_measured(report, result, request.budget), models=members)


def _measured(report: CombinedReport, result: RunResult, over: Budget) -> CombinedReport:
    stack: dict[str, Any] = {k: v for k, v in measured_memory(result).items() if k == "stack"}
    memory = {**report.memory, **stack}
    metrics = dataclasses.replace(
        report.metrics, latency_us=result.latency_us, ram_bytes=ram_figure(memory)
    )
    budget = report.budget.overridden_by(over)
    return dataclasses.replace(
        report, memory=memory, metrics=metrics, budget=budget, violations=budget.check(metrics)
    )
