"""What plain quantization loses on models that it spoils, and what is left behind the ladder.

Each model of ``tests/ladder_cases.py`` is built twice for the host: without the ladder, and with
it. Both are judged on the same held-out samples; the bar is less than one point lost where min-max
loses more than ten. The figures go to ``benchmarks/ladder.json``.

    python benchmarks/ladder.py [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import edgebuild  # noqa: E402
from edgebuild.errors import EdgebuildError  # noqa: E402
from edgebuild.report.model import Report  # noqa: E402
from tests.ladder_cases import CASES, Case  # noqa: E402

BAR, PLAIN = 0.01, 0.10


def build(case: Case, folder: Path, *, ladder: bool) -> Report:
    """Return the report of one build for the host, calibrated with all training samples."""
    model, train, data = case.save(folder)
    return edgebuild.build(
        model,
        target="host",
        run="none",
        data=str(data),
        train=str(train),
        calibration_samples=len(case.train[0]),
        ladder=ladder,
        accuracy_gate=False,
        out=folder,
        use_cache=False,
    )


def lost_plainly(case: Case, folder: Path) -> tuple[float | None, str]:
    """Return the drop of accuracy without the ladder; None and why where nothing runs the model."""
    try:
        return lost(build(case, folder, ladder=False)), ""
    except EdgebuildError as error:
        return None, error.message


def lost(report: Report) -> float:
    """Return the drop of accuracy."""
    drop = report.metrics.accuracy_drop
    assert drop is not None
    return float(drop.value)


def measure(name: str) -> dict[str, Any]:
    """Return the figures of one case."""
    case = CASES[name]()
    with tempfile.TemporaryDirectory() as folder:
        plain, why = lost_plainly(case, Path(folder))
        start = time.monotonic()
        climbed = build(case, Path(folder), ladder=True)
        seconds = time.monotonic() - start
    assert climbed.ladder is not None and climbed.accuracy is not None
    baseline = climbed.accuracy.float_baseline
    assert baseline is not None
    return {
        "case": name,
        "samples": climbed.accuracy.samples,
        "float": baseline.value,
        "lost by min-max": plain,
        "why": why,
        "lost behind the ladder": lost(climbed),
        "shipped": climbed.ladder.chosen,
        "rungs tried": sum(rung.tried for rung in climbed.ladder.rungs),
        "seconds of the build": round(seconds, 1),
        "met": (plain is None or plain > PLAIN) and lost(climbed) < BAR,
    }


def main() -> int:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=tuple(CASES))
    only = parser.parse_args().only
    rows = []
    for name in [only] if only else CASES:
        rows.append(measure(name))
        print(json.dumps(rows[-1]), flush=True)
    if only is None:
        (ROOT / "benchmarks" / "ladder.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
