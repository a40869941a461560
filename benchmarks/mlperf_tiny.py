"""MLPerf Tiny's int8 models against TFLite Micro with CMSIS-NN and against the published records.

Builds each model for each target, runs it in the simulator (for the M55 in QEMU, which counts
instructions), checks every output byte, and compares with the best of TFLite Micro's settings
(``facts/tflm_cmsis_nn.json``) and, where there is one, with the fewest cycles that were published
for the core (``facts/mlperf_tiny_records.json``: real boards, wait states included; ours are
modelled without). Ratios below 1 are in edgebuild's favour. The figures go to
``benchmarks/mlperf_tiny.json``.

    python benchmarks/mlperf_tiny.py [--shared ../shared] [--targets cortex-m4,cortex-m7]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import edgebuild
from edgebuild.report.model import Report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().with_suffix(".json")
MODELS = ("ad01_int8", "resnet8_int8", "kws_int8", "vww96_int8")
PEER = {
    "instructions": "instructions",
    "cycles": "m4_cycles_model",
    "code_bytes": "code_bytes",
    "arena_bytes": "arena_bytes",
}
"""Figures that both have, with TFLite Micro's names for them."""
RECORDS = {"cortex-m4": "cortex-m4 (NUCLEO-L4R5ZI, 120 MHz)"}


def best_peer(rows: list[dict[str, Any]], model: str, core: str) -> dict[str, int]:
    """Return TFLite Micro's best value of each figure over all settings."""
    mine = [r for r in rows if r["model"] == model and r["core"] == core]
    values = {name: [r[key] for r in mine if key in r] for name, key in PEER.items()}
    return {name: min(found) for name, found in values.items() if found}


def records(shared: Path, core: str) -> dict[str, int]:
    """Return the fewest published cycles of each model."""
    found = json.loads((shared / "facts" / "mlperf_tiny_records.json").read_text())
    return {row["model"]: row["cycles"] for row in found.get(RECORDS.get(core, ""), ())}


def figures(report: Report) -> dict[str, float]:
    """Return edgebuild's values under the peer's names; the M55 has no cycles."""
    found = {
        "instructions": report.run.get("instructions"),
        "cycles": report.run.get("cycles"),
        "code_bytes": report.flash["code"],
        "arena_bytes": report.memory["arena"],
        "ram_bytes": report.metrics.ram_bytes,
        "flash_bytes": report.metrics.flash_bytes,
    }
    return {name: figure.value for name, figure in found.items() if figure is not None}


def compared(
    ours: Mapping[str, float], peer: Mapping[str, int], record: int | None
) -> Iterator[dict[str, object]]:
    """Yield a row for each figure and peer; without a peer where there is none."""
    for name, value in ours.items():
        row: dict[str, object] = {"figure": name, "edgebuild": round(value)}
        peers = {"TFLite Micro": peer.get(name), "record": record if name == "cycles" else None}
        found = {who: other for who, other in peers.items() if other}
        for who, other in found.items():
            yield {**row, "peer": who, "theirs": other, "ratio": round(value / other, 3)}
        if not found:
            yield row


def main() -> None:
    """Print one line for each model, target and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--targets", default="cortex-m3,cortex-m4,cortex-m7,cortex-m55")
    parser.add_argument("--toolchain", default="zig")
    options = parser.parse_args()
    rows = json.loads((options.shared / "facts" / "tflm_cmsis_nn.json").read_text())["rows"]
    results: list[dict[str, object]] = []
    print(f"{'target':11} {'model':13} {'figure':13} {'edgebuild':>12} {'peer':>12} {'ratio':>6}")
    for target in options.targets.split(","):
        for model in MODELS:
            with tempfile.TemporaryDirectory() as folder:
                report = edgebuild.build(
                    options.shared / "models" / "mlperf_tiny" / f"{model}.tflite",
                    target=target,
                    toolchain=options.toolchain,
                    out=Path(folder) / "out",
                )
            assert report.comparison is not None and report.comparison.equal
            core = report.target["cpu"]["core"]
            peer, record = best_peer(rows, model, core), records(options.shared, core).get(model)
            for row in compared(figures(report), peer, record):
                results.append({"target": target, "model": model, **row})
                theirs = (
                    f"{row['theirs']:12,} {row['ratio']:6.2f} {row['peer']}"
                    if "peer" in row
                    else ""
                )
                print(
                    f"{target:11} {model:13} {row['figure']:13} {row['edgebuild']:12,} {theirs}",
                    flush=True,
                )
    value = {"toolchain": options.toolchain, "rows": results}
    RESULTS.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
