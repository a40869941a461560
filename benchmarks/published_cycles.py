"""The region model against published times of the NUCLEO-L4R5ZI (Cortex-M4, 120 MHz).

Published are MLPerf Tiny results of CMSIS-NN's kernels on this board. What TensorFlow Lite Micro
with CMSIS-NN takes with zero wait states was counted from its instructions; both are facts beside
this project (``--shared``) and not part of it. Its waits are not known: here they are a share of
its cycles, the share that the region model gives edgebuild's own firmware for the same model on the
same board, whose convolutions walk over their weights as CMSIS-NN's do (all of them for each two
pixels). The error of the bounds goes to ``benchmarks/cycles.json``, whatever it is.

    python benchmarks/published_cycles.py [--shared ../shared]
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from cycle_layers import simulate
from cycles import MODELS, RESULTS, ROOT

from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.targets import load_target
from edgebuild.tflite.reader import read_tflite_file

BOARD = "nucleo-l4r5zi"
SUBMITTER = "CMSIS-NN"
"""Of the published rows those that name these kernels."""


def published(shared: Path) -> dict[str, tuple[int, str]]:
    """Return the published cycles of each model, and who published them."""
    records = json.loads((shared / "facts" / "mlperf_tiny_records.json").read_text())
    rows = [row for key in records if key.startswith("cortex-m4") for row in records[key]]
    return {
        row["model"]: (row["cycles"], f"{row['submitter']}, round {row['round']}")
        for row in rows
        if SUBMITTER in row["submitter"]
    }


def zero_wait(shared: Path) -> dict[str, int]:
    """Return the cycles of TFLite Micro with CMSIS-NN that its instructions take."""
    facts = json.loads((shared / "facts" / "tflm_cmsis_nn.json").read_text())
    return {
        row["model"]: row["m4_cycles_model"] for row in facts["rows"] if "m4_cycles_model" in row
    }


def compare(shared: Path) -> list[dict[str, Any]]:
    """Return a row for each model that has been published."""
    rows = []
    counted, target = zero_wait(shared), load_target(BOARD)
    for name, (cycles, source) in published(shared).items():
        path = shared / "models" / "mlperf_tiny" / f"{name}.tflite"
        if name not in MODELS or not path.is_file():
            continue
        run = simulate(run_passes(read_tflite_file(path), DEFAULT_PASSES).graph, target)
        assert run.latency_us is not None and run.cycles is not None and target.cpu.clock_hz
        own, mhz = run.cycles.value, target.cpu.clock_hz / 1e6
        bounds = [us * mhz / own for us in (run.latency_us.least, run.latency_us.most)]
        errors = [counted[name] * bound / cycles - 1 for bound in bounds]
        rows.append(
            {
                "model": name,
                "published_by": source,
                "edgebuild_zero_wait_cycles": own,
                "waits": [round(bound - 1, 4) for bound in bounds],
                "zero_wait_error": round(counted[name] / cycles - 1, 4),
                "error": [round(error, 4) for error in errors],
            }
        )
        print(
            f"{name:13} published {cycles:12,} zero wait {rows[-1]['zero_wait_error']:+7.1%} "
            f"with waits {errors[0]:+7.1%} to {errors[1]:+7.1%}",
            flush=True,
        )
    return rows


def main() -> None:
    """Print the errors and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    options = parser.parse_args()
    if not (options.shared / "facts").is_dir():
        raise SystemExit(f"{options.shared / 'facts'} is not there: nothing to compare with")
    kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows = compare(options.shared)
    RESULTS.write_text(json.dumps({**kept, "published": {"rows": rows}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
