"""MLPerf Tiny's int8 models against TFLite Micro with CMSIS-NN: figure, peer, ratio.

Builds each model for each target, runs it in the simulator, checks every output byte, and compares
with the best row of ``facts/tflm_cmsis_nn.json``. Ratios below 1 are in edgebuild's favour.

    python benchmarks/mlperf_tiny.py [--shared ../shared] [--targets cortex-m4,cortex-m7]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import edgebuild
from edgebuild.report.model import Report

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("ad01_int8", "resnet8_int8", "kws_int8", "vww96_int8")


def best_peer(rows: list[dict], model: str, core: str) -> dict[str, int]:
    """Return TFLite Micro's best value of each figure over all settings."""
    mine = [r for r in rows if r["model"] == model and r["core"] == core]
    keys = ("instructions", "code_bytes", "arena_bytes", "m4_cycles_model")
    return {k: min(r[k] for r in mine if k in r) for k in keys if any(k in r for r in mine)}


def figures(report: Report) -> dict[str, float]:
    """Return edgebuild's values under the peer's names."""
    result = {
        "instructions": report.run["instructions"].value,
        "code_bytes": report.flash["code"].value,
        "arena_bytes": report.memory["arena"].value,
    }
    if report.target["cpu"]["core"] == "cortex-m4":
        result["m4_cycles_model"] = report.run["cycles"].value
    return result


def main() -> None:
    """Print one line for each model, target and figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--targets", default="cortex-m3,cortex-m4,cortex-m7")
    parser.add_argument("--toolchain", default="zig")
    options = parser.parse_args()
    rows = json.loads((options.shared / "facts" / "tflm_cmsis_nn.json").read_text())["rows"]
    print(f"{'target':11} {'model':13} {'figure':16} {'edgebuild':>12} {'TFLM':>12} {'ratio':>6}")
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
            peer = best_peer(rows, model, report.target["cpu"]["core"])
            for name, value in figures(report).items():
                if name in peer:
                    ratio = value / peer[name]
                    print(
                        f"{target:11} {model:13} {name:16} {value:12,.0f} {peer[name]:12,}"
                        f" {ratio:6.2f}"
                    )


if __name__ == "__main__":
    main()
