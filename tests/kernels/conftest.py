"""What tests of several kernels share."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def layers():
    """The generator of random layers that fits the cycle weights."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import cycle_layers
    finally:
        sys.path.pop(0)
    return cycle_layers.Layers
