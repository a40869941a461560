"""Random networks with the smallest arena: operators in bands of rows, held to TFLite Micro."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import edgebuild
from edgebuild.tflite.writer import write_tflite

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import random_nets


@pytest.mark.parametrize(
    ("make", "seed", "target"),
    [
        ("random_net", 0, "cortex-m4"),
        ("random_net", 1, "cortex-m4"),
        ("random_net", 7, "cortex-m0plus"),
        ("odd_net", 3, "cortex-m33"),
    ],
)
def test_bands_give_the_same_bytes_in_less_memory(tmp_path, make, seed, target):
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(getattr(random_nets, make)(seed)))
    fast, small = (
        edgebuild.build(path, target=target, optimize=optimize, out=tmp_path / optimize)
        for optimize in ("speed", "ram")
    )
    assert small.comparison.equal and len(small.layers) < len(fast.layers)
    assert small.memory["arena"].value < 0.75 * fast.memory["arena"].value
