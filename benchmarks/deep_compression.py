"""Deep Compression's networks on MNIST (Han et al. 2016): sparsify, cluster, Huffman.

Han: LeNet-300-100 from 1,070 KB to 27 KB (40x), test error 1.64 % to 1.58 %; LeNet-5 from 1,720 KB
to 44 KB (39x), 0.80 % to 0.74 %. Bars: 60x at no more than 1.64 %, 100x at no more than 0.80 %.
Sizes are real bytes: float32 weights against ``edgebuild.compress.huffman.pack``, unpacked again
for the test. The last 5,000 training images are the validation split; the test set is looked at
once.

    python benchmarks/deep_compression.py [--shared ../shared] [--only lenet_300_100|lenet_5]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from lenet import arguments, error, lenet_5, lenet_300_100, mnist, trained

from edgebuild.compress.base import State, run_pass
from edgebuild.compress.cluster import Cluster
from edgebuild.compress.huffman import pack_model, unpack
from edgebuild.compress.sparsify import Sparsify
from edgebuild.compress.training import clone


@dataclass(frozen=True)
class Job:
    """A network, its schedule, what Han reached, and the bars."""

    make: Any
    epochs: int
    steps: tuple[Any, ...]
    han: float
    least_ratio: float
    most_error: float


JOBS = (
    Job(
        lenet_300_100,
        40,
        (Sparsify(0.962, steps=6, epochs=40), Cluster(bits=3, epochs=13)),
        40.0,
        60.0,
        0.0164,
    ),
    Job(
        lenet_5,
        15,
        (Sparsify(0.972, steps=5, epochs=20), Cluster(bits=3, epochs=6)),
        39.0,
        100.0,
        0.0080,
    ),
)


def main() -> int:
    """Print each network's figures beside the bars; return 1 when one is missed."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=[job.make.__name__ for job in JOBS])
    options = parser.parse_args()
    splits = mnist(options.shared)
    missed = 0
    for job in JOBS:
        if options.only not in (None, job.make.__name__):
            continue
        start = time.perf_counter()
        model, context = trained(job.make, splits, job.epochs, options.cache)
        state = State(model)
        for step in job.steps:
            result = run_pass(step, state, context)
            state = result.state
            print(f"{step.name:10} validation error {1 - result.quality[1].value:.2%}", flush=True)
        packed = pack_model(state)
        final = clone(state.model)
        weights = unpack(packed)
        for variable in final.weights:
            if variable.path in weights:
                variable.assign(weights[variable.path])
        plain = 4 * sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        before, after = error(model, splits[2]), error(final, splits[2])
        ratio = plain / len(packed)
        bad = ratio < job.least_ratio or after > job.most_error
        missed += bad
        print(
            f"{job.make.__name__}: float32 {plain:,} B, packed {len(packed):,} B: {ratio:.1f}x "
            f"(bar {job.least_ratio:g}x, Han {job.han:g}x), test error {before:.2%} to {after:.2%} "
            f"(bar {job.most_error:.2%}) {'MISSED' if bad else 'ok'} "
            f"({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
