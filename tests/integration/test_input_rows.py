"""Models whose input comes by rows, built and run, held to TFLite Micro."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import edgebuild
from edgebuild.tflite.writer import write_tflite
from tests.integration.test_placements import profile

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import random_nets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


@pytest.mark.parametrize(
    ("mlperf_dir", "model", "target", "optimize", "most_ram"),
    [
        pytest.param("public", "vww96", "cortex-m4", "ram", 18_000, marks=pytest.mark.models),
        pytest.param("public", "vww96", "cortex-m33", "speed", 18_000, marks=pytest.mark.models),
        pytest.param("public", "kws", "cortex-m0plus", "ram", 5_200, marks=pytest.mark.models),
        pytest.param("public", "resnet8", "cortex-m7", "ram", 19_200, marks=pytest.mark.models),
        pytest.param("made", "vww96", "cortex-m4", "ram", 18_000, marks=pytest.mark.keras),
    ],
    indirect=["mlperf_dir"],
)
def test_mlperf_tiny(mlperf_dir, model, target, optimize, most_ram, folder):
    report = edgebuild.build(
        mlperf_dir / f"{model}_int8.tflite",
        target=target,
        optimize=optimize,
        input_by="rows",
        samples=4,
        out=folder / f"{model}{optimize}",
    )
    assert report.comparison.equal and report.comparison.samples == 4
    assert report.layers[0].kind.startswith("INPUT_ROWS + CONV_2D")
    assert report.metrics.ram_bytes.value <= most_ram


@pytest.mark.parametrize(
    ("make", "seed", "target", "optimize", "less"),
    [
        ("random_net", 0, "cortex-m4", "ram", False),
        ("random_net", 1, "cortex-m4", "balanced", True),
        ("random_net", 2, "cortex-m0plus", "speed", True),
        ("random_net", 7, "cortex-m3", "size", False),
        ("odd_net", 3, "cortex-m33", "ram", False),
        ("odd_net", 5, "cortex-m7", "balanced", False),
    ],
)
def test_random_networks(tmp_path, make, seed, target, optimize, less):
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(getattr(random_nets, make)(seed)))
    options = {"target": target, "optimize": optimize, "samples": 3}
    whole, rows = (
        edgebuild.build(path, input_by=by, out=tmp_path / by, **options) for by in ("run", "rows")
    )
    assert rows.comparison.equal and whole.comparison.equal
    most = 0.8 * whole.memory["arena"].value if less else whole.memory["arena"].value + 16
    assert rows.memory["arena"].value <= most


@pytest.mark.parametrize("place", ["tiny,psram", "tiny,ram"])
def test_an_arena_in_two_banks(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.tflite"
    path.write_bytes(write_tflite(random_nets.random_net(0)))
    board = profile(tmp_path, "mps2-an386", {"arena": place})
    report = edgebuild.build(path, target=board, input_by="rows", optimize="ram", samples=3)
    assert report.comparison.equal and len(report.layers) > 1
    assert report.memory["arena"].value > 640
