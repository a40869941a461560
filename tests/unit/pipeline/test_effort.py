"""How long running a model will take: said where it is long, refused where it is too long."""

from __future__ import annotations

import pytest

from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.limits import WORK_S
from edgebuild.pipeline.effort import FIRMWARE_PER_S, check_data_set, check_run, steps
from edgebuild.pipeline.forecast import forecast
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.tflite.writer import write_tflite
from tests.small import small_graph

SIDE, WINDOW = 200, 150


def slow():
    """A graph without a weight: every value of a large average is one of a large window."""
    q = Quantization((0.1,), (0,))
    tensors = [Tensor(i, f"t{i}", (1, SIDE, SIDE, 4), DType.INT8, q) for i in range(2)]
    attrs = {
        "padding": "SAME",
        "stride_w": 1,
        "stride_h": 1,
        "filter_width": WINDOW,
        "filter_height": WINDOW,
        "fused_activation_function": "NONE",
    }
    op = Op("MAX_POOL_2D", (0,), (1,), attrs)
    return Graph("slow", (0,), (1,), (op,), {t.index: t for t in tensors})


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "slow.tflite").write_bytes(write_tflite(slow()))

    def make(samples=10, run=None, target="cortex-m4"):
        return make_plan(BuildRequest(tmp_path / "slow.tflite", target, samples=samples, run=run))

    return make


def test_steps():
    assert steps(slow()) == SIDE * SIDE * 4 * WINDOW * WINDOW
    graph = small_graph()
    assert steps(graph) > sum(t.elements for t in graph.output_tensors)


def test_what_is_long_is_said(plan):
    per_s = FIRMWARE_PER_S["simulator"]
    minutes = 10 * steps(slow()) / per_s / 60
    assert check_run(plan(), slow()) == f" (about {minutes:,.0f} min)"
    assert check_run(plan(samples=1), slow()).startswith(" (about 72")
    assert check_run(plan(run="none"), slow()) == ""
    assert check_run(plan(), small_graph()) == ""
    assert check_run(plan(samples=100), slow()) == " (about 2 h)"
    assert check_data_set("x", slow(), 100) == " (about 6 min)"


def test_what_is_too_long_is_refused_with_what_would_do(plan):
    fewer = int(WORK_S * FIRMWARE_PER_S["qemu"] / steps(slow()))
    with pytest.raises(InputError, match=r"slow.tflite: 10,000 inferences of .* steps each") as e:
        check_run(plan(samples=10_000, run="qemu"), slow())
    assert e.value.hint == f"--samples {fewer}"
    assert check_run(plan(samples=fewer, run="qemu"), slow()) == " (about 24 h)"
    with pytest.raises(InputError, match="about 1,000 hours") as e:
        check_data_set("set.npz", slow(), 1_000_000)
    assert e.value.hint == "pass at most 24000 samples with --data"
    with pytest.raises(InputError, match="about 60 hours, more than 24"):
        forecast(plan(samples=3_000).request)
