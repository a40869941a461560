"""Structured pruning of Caffe's LeNet-5 on MNIST, beside L0 regularization (Louizos et al. 2018).

A network is written as conv1-conv2-inputs of fc-hidden units. L0 reaches 20-25-45-462 with 0.9 %
test error and 9-18-65-25 with 1.0 %. Its third number counts single positions of the flattened
picture; edgebuild removes whole channels, 16 positions each, as only that makes a network faster.
So networks are compared by parameters and MACs of all that is left, L0's counted without its
removed positions, and each of ours must be smaller in both with no more errors. The second of ours
is no larger in any of the four numbers.

    python benchmarks/structured_pruning.py [--shared ../shared]
"""

from __future__ import annotations

import sys
import time

from lenet import arguments, error, lenet_5, mnist, trained

from edgebuild.compress.base import State, run_pass
from edgebuild.compress.costs import model_cost
from edgebuild.compress.prune import Prune

JOBS = (
    # conv1, conv2, hidden; epochs; L0's network and its error
    ((12, 16, 64), 15, (20, 25, 45, 462), 0.009),
    ((9, 4, 25), 60, (9, 18, 65, 25), 0.010),
)


def cost(first: int, second: int, inputs: int, hidden: int) -> tuple[int, int]:
    """Return parameters and MACs of such a network."""
    kernels = (25 * first, 25 * first * second, inputs * hidden, hidden * 10)
    parameters = sum(kernels) + first + second + hidden + 10
    return parameters, kernels[0] * 24 * 24 + kernels[1] * 8 * 8 + kernels[2] + kernels[3]


def main() -> int:
    """Print both networks beside L0's; return 1 when a bar is missed."""
    options = arguments(__doc__).parse_args()
    splits = mnist(options.shared)
    model, context = trained(lenet_5, splits, 15, options.cache)
    print(
        f"LeNet-5: {model_cost(model).parameters:,} parameters, error {error(model, splits[2]):.2%}"
    )
    missed = 0
    for (first, second, hidden), epochs, theirs, most in JOBS:
        start = time.perf_counter()
        layers = f"conv1:{first}+conv2:{second}+fc:{hidden}"
        step = Prune(ratio=0.0, layers=layers, multiple=1, steps=3, epochs=epochs)
        result = run_pass(step, State(model), context)
        ours = (first, second, 16 * second, hidden)
        found, (parameters, macs) = result.cost[1], cost(*theirs)
        assert (found.parameters, found.macs) == cost(*ours)
        wrong = error(result.state.model, splits[2])
        bad = found.parameters > parameters or found.macs > macs or wrong > most
        missed += bad
        for label, shape, count, work, share in (
            ("edgebuild", ours, found.parameters, found.macs, wrong),
            ("L0", theirs, parameters, macs, most),
        ):
            name = "-".join(map(str, shape))
            print(f"{label:10}{name:16}{count:8,} parameters{work:11,} MACs, error {share:.2%}")
        print(f"{'MISSED' if bad else 'ok'} ({time.perf_counter() - start:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
