"""What is said of a model without compiling it."""

from __future__ import annotations

import json
import time

import pytest

import edgebuild
from edgebuild.analysis import GLUE_BYTES, STACK_BYTES, analyze
from edgebuild.budget import Budget
from edgebuild.errors import InputError, ModelError, UnsupportedOperatorError
from edgebuild.figures import How
from edgebuild.graph import Op
from edgebuild.tflite.writer import write_tflite
from tests.small import small_graph, small_model

NONE = Budget()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("analysis") / "small.tflite"
    path.write_bytes(small_model())
    return path


def test_what_is_known(model):
    found = analyze(model, "cortex-m4")
    assert found.target == "cortex-m4"
    assert [layer.kind for layer in found.layers] == [op.kind for op in small_graph().ops]
    assert found.macs == 4608 + 4608 + 5120
    assert found.parameter_bytes == 2 * (72 + 32) + 8 + 5120 + 40
    assert found.lower_bound_bytes <= found.arena_bytes
    assert found.constant_bytes > found.parameter_bytes - 8
    assert found.inputs == ("int8 1x8x8x1, scale 0.00392157, zero point -128 (image)",)
    assert found.outputs == ("int8 1x10, scale 0.00390625, zero point -128 (scores)",)
    assert "conv2d/conv2d_s8_dsp.c" in found.kernel_sources
    value = found.to_json()
    assert json.loads(json.dumps(value)) == json.loads(json.dumps(value, sort_keys=True))
    assert "device_budget" not in value and value["arena_bytes"] == found.arena_bytes


def test_the_target_chooses_the_kernels(model):
    plain, dsp = analyze(model, "cortex-m0plus"), analyze(model, "cortex-m4")
    assert "conv2d/conv2d_s8.c" in plain.kernel_sources
    assert not any("dsp" in source for source in plain.kernel_sources)
    assert plain.arena_bytes < dsp.arena_bytes  # the DSP kernels take scratch memory
    assert plain.macs == dsp.macs


def test_a_build_agrees(model, tmp_path):
    """The arena is exact, flash is near, stack is not far."""
    for target in ("cortex-m4", "cortex-m0plus"):
        found = analyze(model, target)
        built = edgebuild.build(model, target=target, out=tmp_path)
        estimate = found.verdict(NONE).metrics
        assert found.arena_bytes == built.memory["arena"].value
        assert [row.live_bytes for row in found.layers] == [r.live_bytes for r in built.layers]
        assert abs(estimate.flash_bytes.value / built.metrics.flash_bytes.value - 1) < 0.4
        assert abs(estimate.ram_bytes.value - built.metrics.ram_bytes.value) < 512
        assert estimate.latency_us.value == pytest.approx(built.metrics.latency_us.value, rel=0.03)


def test_the_verdict(model):
    found = analyze(model, "cortex-m4")
    verdict = found.verdict(NONE)
    assert verdict.violations == () and verdict.to_json()["fits"] is True
    flash, ram = verdict.metrics.flash_bytes, verdict.metrics.ram_bytes
    assert (flash.how, ram.how) == (How.ESTIMATED, How.ESTIMATED)
    assert ram.value == found.arena_bytes + STACK_BYTES
    assert flash.value > found.constant_bytes + GLUE_BYTES
    assert f"constants {found.constant_bytes:,} B exactly" in flash.source
    latency = verdict.metrics.latency_us
    assert latency.how == How.PREDICTED and verdict.metrics.accuracy_drop is None
    assert latency.value == pytest.approx(found.cycles / 25)
    assert found.cycles == sum(layer.cycles for layer in found.layers)


def test_budgets_that_are_missed(model):
    found = analyze(model, "cortex-m4")
    tight = Budget(flash_bytes=5_000, ram_bytes=1_000).named("the command line")
    verdict = found.verdict(tight)
    assert [v.budget for v in verdict.violations] == ["flash", "ram"]
    assert verdict.violations[1].over == found.arena_bytes + STACK_BYTES - 1_000
    assert "from the command line" in verdict.violations[0].sentence()
    assert verdict.to_json()["fits"] is False
    (late,) = found.verdict(Budget(latency_us=1.0)).violations
    assert late.budget == "latency" and "predicted by cortex-m4 zero wait" in late.sentence()
    # What cannot be known without a build is not kept in silence.
    (unknown,) = found.verdict(Budget(max_accuracy_drop=0.0)).violations
    assert unknown.unknown and unknown.budget == "accuracy-drop"


def test_a_core_without_prediction(model):
    found = analyze(model, "cortex-m55")
    assert found.cycles is None and found.latency_us is None
    assert all(layer.cycles is None for layer in found.layers)
    assert [v.unknown for v in found.verdict(Budget(latency_us=1.0)).violations] == [True]


def test_the_devices_memory_is_the_limit(model, tmp_path):
    profile = tmp_path / "tiny.toml"
    profile.write_text(
        'schema = 1\nname = "tiny"\nbased_on = "cortex-m4"\n'
        '[[memory]]\nname = "flash"\nkind = "flash"\norigin = 0\nsize = "8KiB"\n'
        '[[memory]]\nname = "ram"\nkind = "ram"\norigin = 0x20000000\nsize = "64KiB"\n'
    )
    (violation,) = analyze(model, str(profile)).verdict(NONE).violations
    assert violation.budget == "flash" and violation.limit == 8 * 1024
    # A budget of the user's own goes over it.
    assert analyze(model, str(profile)).verdict(Budget(flash_bytes=1 << 20)).violations == ()


def test_errors(model, tmp_path):
    with pytest.raises(InputError, match="did you mean 'cortex-m"):
        analyze(model, "cortex-m44")
    with pytest.raises(ModelError, match=r"none\.tflite"):
        analyze(tmp_path / "none.tflite", "cortex-m4")
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(model.read_bytes()[:-3000])
    with pytest.raises(ModelError, match=r"bad\.tflite"):
        analyze(bad, "cortex-m4")
    graph = small_graph()
    odd = graph.replace(ops=(*graph.ops[:-1], Op("LOG_SOFTMAX", (11,), (12,))))
    bad.write_bytes(write_tflite(odd))
    with pytest.raises(UnsupportedOperatorError, match=r"bad\.tflite"):
        analyze(bad, "cortex-m4")


def test_the_answer_comes_at_once(model):
    start = time.monotonic()
    analyze(model, "cortex-m4")
    assert time.monotonic() - start < 5


@pytest.mark.models
@pytest.mark.parametrize("name", ["kws", "resnet8", "vww96", "ad01"])
def test_real_models(shared_dir, name):
    path = shared_dir / "models" / "mlperf_tiny" / f"{name}_int8.tflite"
    found = analyze(path, "cortex-m4")
    assert found.macs > 200_000 and found.verdict(NONE).violations == ()
    assert found.verdict(Budget(ram_bytes=found.arena_bytes)).violations[0].over == STACK_BYTES
