"""XNNPACK's table against what LiteRT delegates: single operators, and real models.

    python benchmarks/xnnpack_table.py [--models ../shared/models] [--random COUNT] [--seed SEED]

A model that LiteRT refuses to load is no case. Exit code 1 on any disagreement.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edgebuild.delegates.table import load_table
from edgebuild.delegates.xnnpack import reasons
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.litert_truth import CRASHED, ask
from tests.xnnpack_cases import cases
from tests.xnnpack_random import random_models


def main() -> int:
    """Compare and print; 1 on a disagreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).resolve().parents[1]
    parser.add_argument("--models", type=Path, default=root.parent / "shared" / "models")
    parser.add_argument("--random", type=int, default=0, help="so many models changed at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    models = [(name, write_tflite(graph)) for name, graph in cases()]
    print(f"{len(models)} single-operator models")
    wrong = compare(models)
    if options.random:
        print(f"{options.random} changed at random, seed {options.seed}")
        wrong += compare(list(random_models(options.seed, options.random)))
    folder = options.models
    files = [f for f in sorted(folder.glob("**/*.tflite")) if "edgetpu" not in f.name]
    print(f"{len(files)} real models")
    return int(bool(wrong + compare([(f.name, f.read_bytes()) for f in files])))


def compare(models: list[tuple[str, bytes]]) -> list[str]:
    """Print counts and disagreements, and return the latter."""
    table, wrong = load_table("xnnpack"), []
    counts: Counter[str] = Counter()
    for (name, model), answer in zip(models, ask([m for _, m in models]), strict=True):
        if answer is None or answer == CRASHED:
            counts["refused by LiteRT" if answer is None else "crashed"] += 1
            continue
        found = reasons(read_tflite(model), table)
        counts["operators taken"] += sum(map(bool, answer))
        counts["operators left"] += sum(not taken for taken in answer)
        if [not reason for reason in found] == answer:
            counts["agree"] += 1
        else:
            counts["disagree"] += 1
            wrong.append(f"{name}: LiteRT {answer}, the table: {found}")
    for line in wrong:
        print(f"  {line}")
    print("  " + ", ".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
