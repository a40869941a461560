"""Kernels are balanced, unless a budget asks for others."""

import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.errors import InputError
from edgebuild.pipeline.forecast import forecast
from edgebuild.pipeline.plan import BuildRequest
from edgebuild.tflite.writer import write_tflite
from tests.chains import chained


@pytest.fixture
def model(bench, tmp_path):
    """Two convolutions for which the fast kernel takes more flash and more scratch."""
    layers = bench.Layers(4)
    path = tmp_path / "two.tflite"
    path.write_bytes(write_tflite(layers.conv((1, 12, 12, 16), 16)))
    return path


def of(model, optimize=None, target="cortex-m4", toolchain="auto", **limits):
    budget = Budget(**limits)
    return forecast(
        BuildRequest(model, target, budget=budget, optimize=optimize, toolchain=toolchain)
    )


def figures(found):
    metrics = found.metrics
    return metrics.flash_bytes.value, metrics.ram_bytes.value, metrics.latency_us.value


def test_preferences_trade_flash_ram_and_time(model):
    speed, balanced, size, ram = (
        figures(of(model, optimize)) for optimize in ("speed", "balanced", "size", "ram")
    )
    assert balanced == figures(of(model))
    assert size[0] < balanced[0] < speed[0]
    assert speed[2] < balanced[2] < size[2]
    assert ram[1] <= balanced[1] < speed[1]


def test_a_flash_budget_buys_the_smaller_kernel(model):
    fast, small = (figures(of(model, one)) for one in ("speed", "size"))
    found = of(model, flash_bytes=int(small[0] * 1.1))
    assert figures(found)[1:] == small[1:] and found.passed
    assert any("kernels are chosen for" in note for note in found.notes)
    # What was asked for is kept.
    found = of(model, "speed", flash_bytes=int(small[0] * 1.1))
    assert figures(found)[2] == fast[2] and not found.passed


def test_a_flash_budget_in_between_buys_some_of_the_cycles(bench, tmp_path):
    make, model = bench.Layers(5), tmp_path / "three.tflite"
    layers = [make.conv((1, 16, 16, 8), 8, (5, 5)), make.depthwise((1, 16, 16, 8), (5, 5))]
    model.write_bytes(write_tflite(chained([*layers, make.conv((1, 16, 16, 8), 24, (3, 3))])))
    fast, small = (figures(of(model, one, toolchain="zig")) for one in ("balanced", "size"))
    between = of(model, flash_bytes=(3 * fast[0] + 2 * small[0]) // 5)
    assert between.passed and fast[2] < figures(between)[2] < small[2] / 1.5
    assert "kernels are chosen for the flash that there is" in between.notes


def test_a_latency_budget_buys_the_faster_kernel(model, tmp_path):
    """Balanced kernels miss it, those for speed keep it and take more flash."""
    fast, balanced = (of(model, one) for one in ("speed", "balanced"))
    limit = (fast.metrics.latency_us.most + balanced.metrics.latency_us.least) / 2
    assert fast.metrics.latency_us.most < limit < balanced.metrics.latency_us.least
    found = of(model, latency_us=limit)
    assert found.passed and figures(found) == figures(fast)
    assert figures(found)[0] > figures(balanced)[0]
    assert "kernels are chosen for speed: latency is short" in found.notes
    # What was asked for is kept.
    asked = of(model, "balanced", latency_us=limit)
    assert figures(asked)[2] == figures(balanced)[2] and not asked.passed
    built = edgebuild.build(
        model, target="cortex-m4", out=tmp_path, budget=Budget(latency_us=limit), samples=1
    )
    assert built.passed and built.comparison.equal
    assert built.metrics.latency_us.value == pytest.approx(figures(fast)[2], rel=0.02)


def test_what_nothing_keeps_is_missed_with_balanced_kernels(model):
    found = of(model, flash_bytes=1000)
    assert figures(found)[2] == figures(of(model))[2] and not found.passed
    assert not any("kernels are chosen" in note for note in found.notes)


def test_a_build_does_what_the_forecast_says(model, tmp_path):
    for optimize in ("size", "speed"):
        built = edgebuild.build(model, target="cortex-m4", out=tmp_path, optimize=optimize)
        found = of(model, optimize)
        assert built.comparison.equal
        assert built.memory["arena"].value == found.analysis.arena_bytes
        assert built.run["cycles"].value == pytest.approx(found.analysis.cycles, rel=0.02)


def test_an_unknown_preference(model):
    with pytest.raises(InputError, match="optimize is 'fast'") as error:
        of(model, "fast")
    assert error.value.hint == '"speed" or "balanced" or "size" or "ram"'
