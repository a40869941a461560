"""Predicted against simulated cycles: the MLPerf Tiny models and random networks on every core.

Ends with 1 when a total is off by more than 10 %.

    python benchmarks/cycles.py [--shared ../shared] [--nets 20] [--cores cortex-m4,...]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cycle_layers import CORES, roomy, simulate
from random_nets import random_net

from edgebuild.cycles import predict_cycles
from edgebuild.graph import Graph
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.tflite.reader import read_tflite_file

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("ad01_int8", "resnet8_int8", "kws_int8", "vww96_int8")
FIRST_SEED = 1000
ALLOWED = 0.10
COUNTED_LAYER = 0.01
"""A layer's own error is looked at when it takes this share of its network."""


def graphs(shared: Path, nets: int) -> Iterator[tuple[str, Graph]]:
    """Yield every network with its name, after the default passes."""
    for name in MODELS:
        path = shared / "models" / "mlperf_tiny" / f"{name}.tflite"
        if path.is_file():
            yield name, run_passes(read_tflite_file(path), DEFAULT_PASSES).graph
    for seed in range(FIRST_SEED, FIRST_SEED + nets):
        yield f"random {seed}", run_passes(random_net(seed), DEFAULT_PASSES).graph


def main() -> None:
    """Print one line for each network and core."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--nets", type=int, default=20)
    parser.add_argument("--cores", default=",".join(CORES))
    options = parser.parse_args()
    print(
        f"{'network':13} {'core':13} {'layers':>6} {'predicted':>13} {'simulated':>13} {'ratio':>7}"
        f" {'worst layer':>28} {'on zeros':>9} {'ms':>5}"
    )
    ratios, layer_ratios, drifts = [], [], []
    for name, graph in graphs(options.shared, options.nets):
        for core in options.cores.split(","):
            target = roomy(core)
            predict_cycles(graph, target)
            start = time.perf_counter()
            predicted = predict_cycles(graph, target)
            took = 1000 * (time.perf_counter() - start)
            assert predicted is not None and not predicted.guessed
            run, zeros = simulate(graph, target, 0), simulate(graph, target, None)
            assert run.cycles is not None and zeros.cycles is not None
            total = run.cycles.value
            shares = {s.layer: s.cycles for s in run.layers if s.cycles}
            found = [
                (layer.cycles / shares[layer.position], layer)
                for layer in predicted.layers
                if shares.get(layer.position, 0) > COUNTED_LAYER * total
            ]
            worst, layer = max(found, key=lambda pair: abs(pair[0] - 1))
            ratios.append(predicted.cycles / total)
            layer_ratios += [ratio for ratio, _ in found]
            drifts.append(zeros.cycles.value / total)
            print(
                f"{name:13} {core:13} {len(graph.ops):6} {predicted.cycles:13,} {total:13,.0f}"
                f" {ratios[-1]:7.4f} {layer.kernel:>21} {worst:6.3f} {drifts[-1]:9.4f} {took:5.1f}",
                flush=True,
            )
    for what, values in (("totals", ratios), ("layers", layer_ratios), ("on zeros", drifts)):
        errors = np.abs(np.array(values) - 1)
        print(f"{what:9} {len(values):5}: mean off {errors.mean():.2%}, worst {errors.max():.2%}")
    sys.exit(int(np.abs(np.array(ratios) - 1).max() > ALLOWED))


if __name__ == "__main__":
    main()
