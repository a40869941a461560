"""The GPU table against the GPU compatibility analyzer of an old TensorFlow.

    python -m venv old && old/bin/pip install tensorflow-cpu==2.17.1
    python benchmarks/gpu_table.py --python old/bin/python [--record FILE] [--models FOLDER]

Newer TensorFlow answers "compatible" to everything. ``--record`` writes the analyzer's verdicts,
which the unit test reads. Exit code 1 on a difference that data/gpu.json does not explain.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgebuild.tflite.writer import write_tflite  # noqa: E402
from tests.gpu_cases import cases  # noqa: E402
from tests.gpu_truth import Recorded, analyze, differences  # noqa: E402


def main() -> int:
    """Compare and print; 1 where a difference is not explained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of an environment with the TensorFlow")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--models", type=Path, default=ROOT.parent / "shared" / "models")
    options = parser.parse_args()
    models = {name: write_tflite(graph) for name, graph in cases()}
    files = sorted(options.models.glob("**/*.tflite"))
    models |= {f.name: f.read_bytes() for f in files if "edgetpu" not in f.name}
    recorded = analyze(options.python, models)
    counts: Counter[str] = Counter()
    unexplained = []
    for name, model in models.items():
        for difference in differences(model, recorded.messages[name]):
            counts["differ, explained" if difference.explained else "differ"] += 1
            if not difference.explained:
                unexplained.append(f"{name}: {difference.text}")
        counts["operators"] += recorded.operators[name]
    if options.record:
        options.record.write_text(json.dumps(Recorded.to_json(recorded), indent=0) + "\n")
    print(f"TensorFlow {recorded.version}, {len(models)} models")
    for line in unexplained:
        print(f"  {line}")
    print("  " + ", ".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    return int(bool(unexplained))


if __name__ == "__main__":
    raise SystemExit(main())
