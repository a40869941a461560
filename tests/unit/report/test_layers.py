"""Rows of layers: the graph, the plan and a run, joined."""

from __future__ import annotations

import pytest

from edgebuild.backends.emit import emit_library
from edgebuild.devices.base import LayerSample
from edgebuild.report.layers import layer_reports, with_samples
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from tests.small import small_model
from tests.unit.report.reports import layer


def test_what_the_graph_and_the_plan_tell():
    graph = read_tflite(small_model())
    rows = layer_reports(graph, emit_library(graph, "small", CpuFeatures()).plan)
    assert [row.kind for row in rows] == [op.kind for op in graph.ops]
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]
    assert [row.name for row in rows] == ["conv", "dw", "flat", "logits", "scores"]
    assert [row.macs for row in rows] == [4608, 4608, 0, 5120, 0]
    assert [row.parameter_bytes for row in rows] == [72 + 32, 72 + 32, 8, 5120 + 40, 0]
    assert rows[0].output_shape == (1, 8, 8, 8)
    assert rows[1].live_bytes >= 512 > rows[4].live_bytes
    assert {(r.instructions, r.cycles, r.time_us, r.share) for r in rows} == {(None,) * 4}


@pytest.mark.parametrize(
    ("samples", "shares"),
    [
        ([LayerSample(0, 10, 30), LayerSample(1, 90, 10), LayerSample(2, 0, 0)], [0.75, 0.25, 0]),
        ([LayerSample(0, 10), LayerSample(1, 30)], [0.25, 0.75, None]),
        ([LayerSample(1, time_us=5.0)], [None, 1, None]),
        ([LayerSample(0, 0), LayerSample(1, 0)], [None, None, None]),
        ([], [None, None, None]),
    ],
    ids=["cycles", "instructions", "time", "zero", "none"],
)
def test_shares_are_of_the_best_that_is_known(samples, shares):
    rows = with_samples([layer(i) for i in range(3)], samples)
    assert [row.share for row in rows] == shares
    for row, sample in zip(rows, samples, strict=False):
        if sample.layer == row.index:
            assert (row.instructions, row.cycles) == (sample.instructions, sample.cycles)


def test_an_older_run_leaves_nothing_behind():
    (row,) = with_samples([layer(0)], [LayerSample(0, time_us=2.0)])
    assert (row.instructions, row.cycles, row.time_us, row.share) == (None, None, 2.0, 1.0)
