"""The report on a terminal: 80 columns, whole numbers, the verdict first."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from edgebuild.budget import Budget, Metrics
from edgebuild.compress.base import CompressionStep, Cost, Quality
from edgebuild.delegates.base import compatibility
from edgebuild.figures import Figure, How
from edgebuild.report.model import AccuracyReport, Comparison, report_from_json
from edgebuild.report.terminal import format_figure, format_value, render_report
from tests.unit.delegates.test_base import chain
from tests.unit.report.reports import PARTS, figure, layer, report


def rendered(given, width=80):
    file = io.StringIO()
    console = Console(file=file, width=width, markup=False, highlight=False, emoji=False)
    for part in render_report(given):
        console.print(part)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def words(text):
    return " ".join(text.split())


def test_a_report_that_passes():
    text = rendered(report(Budget(flash_bytes=32 * 1024, latency_us=50_000.0)))
    lines = text.splitlines()
    assert lines[0] == "net for cortex-m4: fits"
    flash = next(line for line in lines if line.split()[:1] == ["flash"])
    assert flash.split() == [
        "flash",
        "20,000",
        "B",
        "32",
        "KiB",
        "█" * 15 + "░" * 9,
        "61%",
        "linked",
    ]
    latency = next(line for line in lines if line.split()[:1] == ["latency"])
    assert "12.345 ms" in latency and "50.000 ms" in latency and "modelled" in latency
    ram = next(line for line in lines if line.split()[:1] == ["RAM"])
    assert ram.split()[1:4] == ["5,000", "B", "-"] and "█" not in ram
    for part in (
        "accuracy drop 1.25%",
        "weights 15,000 B linked: zig 1",
        "arena 4 KiB planned: memory planner",
        "cycles 308,637 cycles modelled: cortex-m4",
        "TFLite Micro arena 9,000 B estimated: model of the allocator",
        "# layer output MACs weights live cycles share",
        "2 conv_2d 1x8x8x6 2,000 200 502 3,002 40.0%",
        "checked: 8 samples on simulated cortex-m4: all 80 output bytes are identical to those of ",
        "accuracy on 1,000 samples: float 98.00%, int8 reference 97.00%, generated C 96.75%",
        "note: quantized to int8",
        "written to build/net-cortex-m4/",
    ):
        assert part in words(text)


def test_the_compiler_is_named_once():
    flash = {
        name: figure(5_000, source=f"zig 1: {what}")
        for name, what in (("weights", "constants of the model"), ("code", "layers and kernels"))
    }
    text = words(rendered(report(flash=flash)))
    assert "compiler zig 1 weights 5,000 B linked: constants of the model" in text
    assert text.count("zig 1") == 1


def test_the_largest_symbols_are_the_models_own():
    text = words(rendered(report()))
    assert "largest in flash: net_weights0 3,000 B, eb_conv2d_s8 1,000 B" in text
    assert "eb_arena" not in text and "reply" not in text


def test_a_report_that_fails():
    comparison = Comparison("tflite-micro 1", "host", 8, 80, 3, "layer 1, CONV_2D (operator 1)")
    text = rendered(report(Budget(flash_bytes=10_000), comparison=comparison))
    assert text.splitlines()[0] == "net for cortex-m4: DOES NOT PASS"
    assert "█" * 24 + " 200%" in text
    assert "MISMATCH: 3 of 80 output bytes on host differ from those of tflite-micro 1" in words(
        text
    )
    assert "first difference: layer 1, CONV_2D (operator 1)" in text


def test_a_cached_report_says_so():
    import dataclasses

    text = rendered(dataclasses.replace(report(), cached=True))
    assert "cached: nothing changed since the last build" in words(text)


def test_what_is_not_known():
    given = report(Budget(latency_us=5.0), metrics=Metrics(), comparison=None, accuracy=None,
                   symbols=(), sections=(), layers=(), tflm_arena=None)  # fmt: skip
    text = rendered(given)
    assert "unknown" in text and "checked" not in text and "accuracy" not in text
    assert "5.0 us" in text
    assert "largest in flash" not in text and "layer" not in text


LITERT = Figure(0.5, "ratio", How.MEASURED, "LiteRT 2 on the host")


def test_without_a_float_baseline():
    accuracy = AccuracyReport(10, None, figure(0.5, "ratio"), LITERT)
    assert "samples: int8 reference 50.00%, LiteRT 2 50.00%" in words(
        rendered(report(accuracy=accuracy))
    )


@pytest.mark.parametrize(
    ("known", "header", "shown"),
    [
        ({"cycles": None}, "instr.", "2,001"),
        ({"cycles": None, "instructions": None, "time_us": 1234.5}, "us", "1,234"),
    ],
)
def test_the_cost_that_is_known(known, header, shown):
    text = rendered(report(layers=(layer(1, **known),)))
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if " MACs " in line)
    assert lines[at].split()[6] == header
    assert shown in lines[at + 1]


def test_without_costs_there_are_no_columns_for_them():
    text = rendered(report(layers=(layer(1, cycles=None, instructions=None, share=None),)))
    (header,) = (line for line in text.splitlines() if " MACs " in line)
    assert header.split()[-1] == "live"


PHONE = compatibility(chain(8, 4, 2, 1), "GPU", ["", "no kernel", ""], notes=["as of 2026"])


def test_what_a_delegate_makes_of_the_model():
    phone = {"name": "android-gpu", "delegate": {"kind": "gpu"}}
    text = words(rendered(report(compatibility=PHONE, target=phone, refusals=("2 partitions",))))
    assert "GPU runs 2 of 3 operators in 2 partitions; 6 B cross between it and the CPU" in text
    assert "NEG 2 on GPU NEG 1 no kernel" in text
    assert "partition runs on operators bytes in bytes out 0 GPU 1 8 4 1 CPU 1 4 2" in text
    assert "forbidden: 2 partitions" in text and "note: as of 2026" in text
    assert "DOES NOT PASS" in text and "model 20,000 B" in text


def test_the_parts_of_a_model_take_a_line():
    lines = rendered(report(compatibility=PHONE, parts=PARTS)).splitlines()
    assert "parts: 3 (operators: 98 on the Edge TPU, 59 on the CPU), checked on 8 samples" in lines


def test_many_layers_are_cut_and_counted():
    text = rendered(report(layers=tuple(layer(i, share=0.02) for i in range(55))))
    assert "... 15 more in report.json" in text


def test_large_models_keep_their_digits():
    """A number with its end cut off would be a wrong number."""
    large = layer(
        137,
        "RESIZE_NEAREST_NEIGHBOR",
        output_shape=(1, 224, 224, 128),
        macs=1_234_567_890,
        parameter_bytes=12_345_678,
        live_bytes=12_345_678,
        cycles=12_345_678_901,
        share=0.123,
    )
    text = rendered(report(layers=(large,)))
    for number in ("1,234,567,890", "12,345,678,901", "12.3%"):
        assert number in text
    assert text.count("12,345,678") == 3


def test_long_sources_and_names_are_wrapped():
    source = "a very long account of how this number was got, " * 8
    given = report(
        name="n" * 70,
        memory={"arena": figure(1, source=source)},
        out_dir="/very/long/" + "folder/" * 20,
        notes=("note " * 60,),
    )
    assert "account" in rendered(given)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1024, "B", "1 KiB"),
        (1025, "B", "1,025 B"),
        (999.94, "us", "999.9 us"),
        (1_000, "us", "1.000 ms"),
        (0.0123, "ratio", "1.23%"),
        (12_345, "cycles", "12,345 cycles"),
        (12_345, "", "12,345"),
    ],
)
def test_values(value, unit, shown):
    assert format_value(value, unit) == shown
    assert format_figure(Figure(value, unit, How.MEASURED, "x")) == shown


def test_bounds_are_shown_and_the_bar_is_of_the_upper_one():
    latency = Figure(6300.0, "us", How.MODELLED, "x", low=5100.0, high=6300.0)
    assert format_figure(latency) == "5.100 to 6.300 ms"


def test_bars_give_way_to_wide_figures():
    wide = Figure(188.7e6, "us", How.MODELLED, "x", low=134.7e6, high=188.7e6)
    given = report(Budget(40_000, latency_us=377.4e6))
    given = dataclasses.replace(given, metrics=dataclasses.replace(given.metrics, latency_us=wide))
    rows = {line.split()[0]: line for line in rendered(given).splitlines() if "█" in line}
    bar, *rest = rows["latency"].split()[-3:]
    assert 8 <= len(bar) < 24 and bar.count("█") == round(len(bar) / 2)
    assert rest == ["50%", "modelled"]
    assert rows["flash"].index("█") == rows["latency"].index("█")


def test_waits_have_a_column_where_there_are_some():
    assert "waits" not in rendered(report())
    text = rendered(report(layers=(layer(0, wait_cycles=77_123), layer(1))))
    header = next(line for line in text.splitlines() if line.split()[:1] == ["#"])
    assert header.split()[-3:] == ["cycles", "waits", "share"] and "77,123" in text


def test_what_each_pass_did_is_told():
    cost, good = Cost(1000, 1000, 5000, 4000), Quality(0.9, "accuracy", 100)
    layers = tuple(f"conv{i}: 8 to 4 channels" for i in range(5))
    steps = (
        CompressionStep("prune", {}, layers, (cost, cost), (good, good)),
        CompressionStep("huffman", {}, ("stored in 500 B",), (cost, cost), (good, good)),
        CompressionStep("scale", {}, (), (cost, cost), (good, good)),
    )
    text = words(rendered(report(compression=steps)))
    assert "prune: conv0: 8 to 4 channels; " in text
    assert "conv2: 8 to 4 channels; 2 more in report.json" in text
    assert "conv3" not in text
    assert "huffman: stored in 500 B" in text
    assert "scale:" not in text


def test_the_users_own_metrics_are_told_before_and_after_each_pass():
    cost = Cost(1000, 1000, 5000, 4000)
    first, second = (Quality(0.9, "accuracy", 100, {"auc": v, "mae": 0.1}) for v in (0.95123, 0.94))
    steps = (CompressionStep("prune", {}, ("a: 8 to 4 channels",), (cost, cost), (first, second)),)
    given = report(compression=steps)
    text = words(rendered(given))
    assert "prune: auc 0.9512 to 0.94, mae 0.1 to 0.1 prune: a: 8 to 4 channels" in text
    assert report_from_json(given.to_json()).compression == given.compression
