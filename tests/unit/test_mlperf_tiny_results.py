"""``benchmarks/mlperf_tiny.py``: what is compared with what, what is kept, what the README says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.mlperf_tiny_readme import section
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.tflite.reader import read_tflite_file

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PART = {"target": "cortex-m4", "model": "kws", "optimize": "speed", "toolchain": "zig"}


@pytest.fixture
def benchmark(monkeypatch):
    """The module ``benchmarks/mlperf_tiny.py``."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import mlperf_tiny

    yield mlperf_tiny
    for name in ("mlperf_tiny", "mlperf_tiny_models", "mlperf_tiny_readme"):
        sys.modules.pop(name)


def test_peers_best_figures_and_the_fewest_published_cycles(benchmark, tmp_path):
    sizes = {"instructions": 9, "code_bytes": 50, "model_bytes": 70}
    peers = [
        {"model": "kws_int8", "core": "cortex-m4", **sizes, "m4_cycles_model": 12},
        {"model": "kws_int8", "core": "cortex-m4", **sizes, "instructions": 10, "code_bytes": 40},
    ]
    published = {"submitter": "A", "round": "v1.2"}
    records = {
        "what": "text",
        "cortex-m4 (board)": [{"model": "kws_int8", "cycles": 20, **published}],
        "cortex-m4, others": [{"model": "kws_int8", "cycles": 30, **published}],
        "round v1.4": {"source": "text", "cortex-m4 B": {"kws": 21.0, "sww": 5.0}},
    }
    (tmp_path / "tflm_cmsis_nn.json").write_text(json.dumps({"rows": peers}))
    (tmp_path / "mlperf_tiny_records.json").write_text(json.dumps(records))
    facts = benchmark.read_facts(tmp_path)
    ours = {"cycles": 10, "board_cycles_most": 25, "flash_bytes": 55, "stack_bytes": 8}
    found = [
        (row["figure"], row["peer"], row["theirs"], row["ratio"])
        for row in facts.against("cortex-m4", "kws", ours)
    ]
    assert found == [
        ("cycles", "TFLite Micro", 12, 0.833),
        ("flash_bytes", "TFLite Micro", 110, 0.5),
        ("cycles", "record", 20, 0.5),
        ("board_cycles_most", "record", 20, 1.25),
    ]
    (row,) = facts.against("cortex-m4", "str_ww", {"cycles": 4})
    assert (row["theirs"], row["source"]) == (5, "v1.4, cortex-m4 B")
    assert not list(facts.against("cortex-m3", "kws", ours))


def test_a_part_measured_again_replaces_its_row(benchmark):
    old = [{**PART, "cycles": 1}, {**PART, "model": "ic02", "cycles": 2}]
    rows = benchmark.merged(old, {**PART, "cycles": 3})
    assert [(row["model"], row["cycles"]) for row in rows] == [("kws", 3), ("ic02", 2)]
    rows = benchmark.merged(rows, {**PART, "target": "cortex-m3", "cycles": 4})
    assert [row["cycles"] for row in rows] == [4, 3, 2]


def test_losses_are_named():
    against = [
        {"figure": "cycles", "peer": "record", "theirs": 20, "ratio": 1.25},
        {"figure": "code_bytes", "peer": "TFLite Micro", "theirs": 40, "ratio": 0.5},
    ]
    rows = [
        {**PART, "cycles": 25, "code_bytes": 20, "against": against},
        {**PART, "model": "ic02", "too_large": "by 1 B"},
    ]
    text = section(rows)
    assert "| kws | speed | 25 |" in text
    assert "- cortex-m4, cycles, record: kws (speed) 1.25\n" in text
    assert "| ic02 | speed | too large |" in text
    assert "- cortex-m4, flash bytes, memory: ic02 (speed) too large\n" in text
    assert "0.50" not in text.split("by the factor")[1]


@pytest.mark.keras
@pytest.mark.parametrize(("model", "macs"), [("str_ww", 826_368), ("ic02", 76_473_920)])
def test_models_known_by_shape_have_no_constant_channels(benchmark, model, macs):
    pytest.importorskip("tensorflow")
    path = benchmark.made(model)
    assert benchmark.macs_of(path) == macs
    graph = read_tflite_file(path)
    assert not any("left out" in note for note in run_passes(graph, DEFAULT_PASSES).notes)
