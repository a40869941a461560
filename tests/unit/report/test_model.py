"""The report as JSON: complete, stable, and back again."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgebuild.budget import Budget, Metrics
from edgebuild.figures import Figure, How
from edgebuild.report.model import Comparison, report_from_json
from edgebuild.versions import JSON_SCHEMA
from tests.unit.report.reports import PARTS, report

MISSED = Budget(10_000, 4_000, 1_000.0, 0.01).named("the command line")


@pytest.mark.parametrize(
    "given",
    [
        report(),
        report(MISSED),
        report(comparison=None, accuracy=None, tflm_arena=None, sections=(), symbols=()),
        report(Budget(latency_us=5.0), metrics=Metrics(), layers=(), run={}, notes=()),
        report(comparison=Comparison("tflite-micro 1", "host", 8, 80, 3, "layer 1, CONV_2D")),
        report(parts=PARTS),
    ],
    ids=["full", "missed", "host", "unknown", "different", "parts"],
)
def test_round_trip(given):
    text = json.dumps(given.to_json(), allow_nan=False)
    again = report_from_json(json.loads(text))
    assert again.to_json() == given.to_json()
    # Where a build lies and whether it was cached is not part of what it is.
    assert again == dataclasses.replace(given, out_dir="", cached=False)
    assert again.passed == given.passed == json.loads(text)["passed"]
    assert again.violations == given.violations
    assert again.budget.sources == given.budget.sources


def test_every_number_says_how_it_was_got():
    value = report(MISSED).to_json()
    assert next(iter(value)) == "schema" and value["schema"] == JSON_SCHEMA

    def figures(node):
        if isinstance(node, dict):
            if set(node) == {"value", "unit", "how", "source"}:
                yield node
            else:
                for child in node.values():
                    yield from figures(child)
        elif isinstance(node, list):
            for child in node:
                yield from figures(child)

    found = list(figures(value))
    assert len(found) == 4 + 1 + 2 + 1 + 1 + 3 + 4
    assert {f["how"] for f in found} <= {str(how) for how in How}
    assert all(f["source"] and f["unit"] for f in found)


def test_other_schemas_are_refused():
    value = report().to_json()
    del value["layers"]
    with pytest.raises(KeyError):
        report_from_json(value)


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (report(), True),
        (report(comparison=None), True),
        (report(MISSED), False),
        (report(Budget(latency_us=1e9)), True),
        (report(Budget(latency_us=1e9), metrics=Metrics()), True),
        (report(comparison=Comparison("o", "d", 8, 80, 1)), False),
    ],
)
def test_passed(given, passed):
    assert given.passed is passed


def test_figures_as_json():
    assert Figure(2, "B", How.LINKED, "ld").to_json() == {
        "value": 2,
        "unit": "B",
        "how": "linked",
        "source": "ld",
    }
