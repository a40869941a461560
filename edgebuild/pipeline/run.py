"""Carry a plan out: from the cache, or by building into a folder that appears whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from edgebuild.backends.base import Progress
from edgebuild.files import atomic_write, staged_directory
from edgebuild.pipeline.plan import (
    LOCK_NAME,
    REPORT_NAME,
    BuildPlan,
    cached_report,
    hash_path,
    hash_tree,
)
from edgebuild.report.model import Report, report_from_json


def run_plan(
    plan: BuildPlan, *, progress: Progress = lambda _: None, use_cache: bool = True
) -> Report:
    """Build what ``plan`` says into its folder, which appears whole or not at all.

    Returns the report even when a budget is missed or an output byte differs: ``Report.passed``
    tells. Raises EdgebuildError when no report could be made.
    """
    if use_cache and (found := cached_report(plan)) is not None:
        report = report_from_json(found)
        return dataclasses.replace(report, out_dir=str(plan.out), cached=True)
    from edgebuild.pipeline.steps import build

    with staged_directory(plan.out, marker=LOCK_NAME) as folder:
        report = build(plan, folder, progress)
        artifacts = dict(hash_tree(folder))
        report = dataclasses.replace(report, artifacts=artifacts)
        atomic_write(folder / REPORT_NAME, _dump(report.to_json()))
        # The report cannot hold its own hash; the lock does.
        locked = {**artifacts, REPORT_NAME: hash_path(folder / REPORT_NAME)}
        lock = {"plan_sha256": plan.sha256, "plan": plan.to_json(), "artifacts": locked}
        atomic_write(folder / LOCK_NAME, _dump(lock))
    return dataclasses.replace(report, out_dir=str(plan.out))


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
