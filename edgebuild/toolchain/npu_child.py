"""The child process that compiles for an NPU. Not imported by edgebuild.

It is started by its path and reads ``job.json`` and ``in.tflite`` in the folder that it is given;
it leaves ``answer.json`` there, with the compiled file or why there is none.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Compile ``in.tflite`` in ``folder`` as ``job.json`` says."""
    job = json.loads((folder / "job.json").read_text())
    (folder / "answer.json").write_text(json.dumps(compiled(folder, job)))


def compiled(folder: Path, job: dict[str, str]) -> dict[str, Any]:
    """Return the compiled file with its counts, or ``{"failure": why}``."""
    from ai_edge_litert.aot import aot_compile

    targets = import_module(job["target"])
    result = aot_compile.aot_compile(
        str(folder / "in.tflite"),
        output_dir=str(folder / "out"),
        target=targets.Target(targets.SocModel(job["soc"])),
        keep_going=True,
    )
    if not result.models_with_backend:
        reasons = [str(reason) for _, reason in result.failed_backends]
        return {"failure": "; ".join(reasons) or "LiteRT returned no model"}
    _, model = result.models_with_backend[0]
    stats = model.partition_stats.subgraph_stats if model.partition_stats else []
    return {
        "file": str(model.path),
        "npu_operators": sum(s.num_ops_offloaded for s in stats),
        "operators": sum(s.num_total_ops for s in stats),
        "partitions": sum(s.num_partitions_offloaded for s in stats),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
