"""The benchmarks' own way to simulate layers is what the prediction is fitted with: use it."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def bench():
    """The module ``benchmarks/cycle_layers.py``."""
    sys.path.append(str(BENCHMARKS))
    import cycle_layers

    return cycle_layers


@pytest.fixture(scope="session")
def random_net(bench):
    """Return the function that makes the random network of a seed."""
    import random_nets

    return random_nets.random_net
