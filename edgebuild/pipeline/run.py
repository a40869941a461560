"""Carry a plan out: from the cache, or by building into a folder that appears whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgebuild.backends.base import Progress
from edgebuild.errors import CannotRunError
from edgebuild.files import atomic_write, staged_directory
from edgebuild.pipeline.plan import (
    LOCK_NAME,
    REPORT_NAME,
    BuildPlan,
    Plan,
    cached_report,
    hash_path,
    hash_tree,
)
from edgebuild.report.combined import CombinedReport
from edgebuild.report.model import Report, report_from_json
from edgebuild.toolchain.cache import read_only_note, trim
from edgebuild.versions import JSON_SCHEMA

Made = TypeVar("Made", Report, CombinedReport)


def run_plan(
    plan: BuildPlan, *, progress: Progress = lambda _: None, use_cache: bool = True
) -> Report:
    """Build what ``plan`` says into its folder, which appears whole or not at all.

    Returns the report even when a budget is missed or an output byte differs: ``Report.passed``
    tells. Raises EdgebuildError when no report could be made; CannotRunError after the model was
    written, when the target has no kernels for its number format.
    """
    if use_cache and (found := cached_report(plan)) is not None:
        report = report_from_json(found)
        return dataclasses.replace(report, out_dir=str(plan.out), cached=True)
    if plan.target.delegate is not None:
        from edgebuild.pipeline.delegated import build_delegated as build
    else:
        from edgebuild.pipeline.steps import build

    refused: CannotRunError | None = None
    with staged_directory(plan.out, marker=LOCK_NAME) as folder:
        try:
            report = build(plan, folder, progress)
            if note := read_only_note():
                report = dataclasses.replace(report, notes=(*report.notes, note))
        except CannotRunError as error:
            refused = error
            _leave(plan, folder, error.files)
        else:
            report = finish(plan, folder, report)
    if refused is not None:
        raise refused
    trim()
    return dataclasses.replace(report, out_dir=str(plan.out))


def finish(plan: Plan, folder: Path, report: Made) -> Made:
    """Write the report and the lock of a whole build; return the report with its artifacts."""
    artifacts = dict(hash_tree(folder))
    report = dataclasses.replace(report, artifacts=artifacts)
    atomic_write(folder / REPORT_NAME, _dump(report.to_json()))
    # The report cannot hold its own hash; the lock does.
    locked = {**artifacts, REPORT_NAME: hash_path(folder / REPORT_NAME)}
    _lock(plan, folder, locked, report=report)
    return report


def _leave(plan: BuildPlan, folder: Path, files: Mapping[str, bytes]) -> None:
    """Write what there is of a build that the target cannot run. Without a report it is no build
    that a later one could be answered from."""
    for path, content in files.items():
        atomic_write(folder / path, content)
    _lock(plan, folder, dict(hash_tree(folder)))


def _lock(
    plan: Plan,
    folder: Path,
    artifacts: Mapping[str, str],
    *,
    report: Report | CombinedReport | None = None,
) -> None:
    """Write what the build was made of; of the compilers, which was kept and what each needed."""
    lock: dict[str, Any] = {
        "schema": JSON_SCHEMA,
        "plan_sha256": plan.sha256,
        "plan": plan.to_json(),
        "artifacts": dict(artifacts),
    }
    if report is not None:
        made = report.to_json()
        lock["compiler"] = {"kept": made["toolchain"], "tried": made["compilers"]}
    atomic_write(folder / LOCK_NAME, _dump(lock))


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
