"""Spoil three tasks in fifteen ways: does the accuracy gate catch each, and name its cause?

    python benchmarks/accuracy_gate.py [--json figures.json]

Exits with 1 when one is not caught, when fewer than 13 of 15 causes are named for a task, or when
an untouched task does not pass.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.gate_tasks import SPOILED, TASKS, Task  # noqa: E402

NAMED = 13


def measured(task: Task) -> dict[str, Any]:
    """Build a task and return what the gate says of it."""
    with tempfile.TemporaryDirectory() as folder:
        report = task.build(Path(folder))
    assert report.gate is not None
    drop = report.metrics.accuracy_drop
    similarity = report.metrics.similarity
    return {
        "passed": report.passed,
        "losses": [loss.kind for loss in report.gate.losses],
        "accuracy_drop": drop.value if drop else None,
        "similarity": similarity.value if similarity else None,
        "tensor": report.gate.departure.tensor if report.gate.departure else None,
        "causes": [cause.kind for cause in report.gate.causes],
        "sentences": [cause.sentence for cause in report.gate.causes],
    }


def main() -> int:
    """Print a line for each; return the exit code."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]))
    parser.add_argument("--json", type=Path)
    out = parser.parse_args().json
    figures: dict[str, Any] = {}
    good = True
    for name, make in TASKS.items():
        task = make()
        rows = {"untouched": measured(task)}
        good &= rows["untouched"]["passed"]
        print(f"{name}: untouched: {'passes' if good else 'FALSE ALARM'} {rows['untouched']}")
        named = caught = 0
        for way, (spoil, cause) in SPOILED.items():
            row = rows[way] = {**measured(spoil(task)), "expected": cause}
            row["named"] = cause in row["causes"]
            caught += not row["passed"]
            named += row["named"]
            print(
                f"  {way:20} {'NOT CAUGHT' if row['passed'] else 'caught':10} "
                f"{'named' if row['named'] else 'NOT NAMED':9} at {row['tensor']}: {row['causes']}"
            )
        print(f"  {caught} of {len(SPOILED)} caught, {named} causes named")
        good &= caught == len(SPOILED) and named >= NAMED
        figures[name] = {"caught": caught, "named": named, "ways": len(SPOILED), "rows": rows}
    if out is not None:
        out.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
