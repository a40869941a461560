"""``--toolchain auto``: another compiler where a budget is short, and which one is kept."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.errors import OverflowedError
from edgebuild.pipeline.forecast import forecast
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.pipeline.run import run_plan
from edgebuild.report.advice import check_failure
from edgebuild.toolchain.gcc import GccToolchain
from tests.small import small_model

GCC = pytest.mark.gcc


@pytest.fixture
def with_gcc():
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no arm-none-eabi-gcc")


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """What ``small.tflite`` takes of flash, and its whole firmware, by the compiler."""
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "small.tflite").write_bytes(small_model())
    found, whole = {}, {}
    for tool in ("zig", "zig -Os", "gcc", "gcc -Os"):
        if tool.startswith("gcc") and shutil.which("arm-none-eabi-gcc") is None:
            continue
        request = BuildRequest(
            folder / "small.tflite", "cortex-m3", samples=1, out=folder / "out", optimize="balanced"
        )
        report = run_plan(dataclasses.replace(make_plan(request), tool=tool))
        found[tool] = report.metrics.flash_bytes.value
        whole[tool] = (folder / "out" / "small-cortex-m3" / "firmware.bin").stat().st_size
    return found, whole


def between(sizes, smaller, larger):
    """Return a limit that one compiler keeps and another misses."""
    found, _ = sizes
    assert found[smaller] < found[larger]
    return (found[smaller] + found[larger]) // 2


def nearly(sizes, tool):
    """Return a limit that a compiler uses by more than 90 %."""
    return round(1.03 * sizes[0][tool])


def build(folder, **options):
    """Build ``small.tflite``."""
    usual = {"target": "cortex-m3", "samples": 1, "out": folder / "out", "optimize": "balanced"}
    options = {**usual, **options}
    return edgebuild.build(folder / "small.tflite", **options)


def flash(limit):
    return Budget(flash_bytes=limit).named("the command line")


def tried(report):
    return [trial.tool for trial in report.compilers]


def kept(report):
    return [trial.tool for trial in report.compilers if trial.kept]


@GCC
def test_one_compiler_is_enough_where_there_is_room(folder, with_gcc):
    report = build(folder, budget=flash(30_000))
    assert report.passed and tried(report) == kept(report) == ["zig"]
    assert report.toolchain.startswith("zig")
    assert not any("compiled with" in note for note in report.notes)


@GCC
@pytest.mark.parametrize("misses", [False, True])
def test_what_zig_misses_or_nearly_misses_fits_with_gcc(folder, with_gcc, sizes, misses):
    """Within 10 % of the limit, and over it: the smaller is kept, and why is written down."""
    limit = between(sizes, "gcc", "zig") if misses else nearly(sizes, "zig")
    report = build(folder, budget=flash(limit))
    assert report.passed and report.comparison.equal
    assert (tried(report), kept(report)) == (["zig", "gcc"], ["gcc"])
    assert "gcc" in report.toolchain and "gcc" in report.metrics.flash_bytes.source
    (why,) = [note for note in report.notes if "compiled with gcc" in note]
    assert "because a memory budget is tight" in why and "zig " in why and ", gcc " in why
    out = folder / "out" / "small-cortex-m3"
    lock = json.loads((out / "build.lock").read_text())
    assert lock["plan"]["toolchain"] == "auto" and lock["plan"]["tools"]["gcc"] != "absent"
    assert lock["compiler"]["kept"] == report.toolchain
    assert [row["tool"] for row in lock["compiler"]["tried"]] == ["zig", "gcc"]
    again = build(folder, budget=flash(limit))
    assert again.cached and again.compilers == report.compilers
    assert build(folder, budget=flash(limit), toolchain="zig").passed is not misses


@GCC
def test_at_size_the_smaller_of_all_is_kept(folder, with_gcc):
    """With room to spare, too; the report and the lock say which, and why."""
    report = build(folder, optimize="size")
    sizes = {trial.tool: trial.flash_bytes.value for trial in report.compilers}
    assert list(sizes) == ["zig -Os", "gcc -Os"] and report.passed and report.comparison.equal
    smaller = min(sizes, key=sizes.get)
    assert kept(report) == [smaller] and report.metrics.flash_bytes.value == sizes[smaller]
    (why,) = [note for note in report.notes if "compiled with" in note]
    assert why == (
        f"compiled with {smaller}, the smallest that keeps the budget, because kernels are chosen "
        f"for size (flash: zig -Os {sizes['zig -Os']:,} B, gcc -Os {sizes['gcc -Os']:,} B)"
    )
    lock = json.loads((folder / "out" / "small-cortex-m3" / "build.lock").read_text())
    assert lock["compiler"]["kept"] == report.toolchain
    assert [row["tool"] for row in lock["compiler"]["tried"]] == ["zig -Os", "gcc -Os"]
    alone = build(folder, optimize="size", toolchain="zig")
    assert tried(alone) == ["zig -Os"] and alone.metrics.flash_bytes.value == sizes["zig -Os"]
    for limit in (30_000, sizes[smaller] + 10):
        request = BuildRequest(
            folder / "small.tflite", "cortex-m3", budget=flash(limit), optimize="size"
        )
        said = forecast(request).metrics.flash_bytes
        assert said.least <= sizes[smaller] <= said.most
        assert kept(build(folder, optimize="size", budget=flash(limit))) == [smaller]
    (note,) = [n for n in forecast(request).notes if "a build tries" in n]
    assert "zig -Os, gcc -Os, and the latency of all but the first is not predicted" in note


@GCC
def test_at_size_a_budget_goes_before_bytes(folder, with_gcc):
    """A compiler whose code is smaller but misses the latency is not kept."""
    times = {
        trial.tool: (trial.latency_us.value, trial.flash_bytes.value)
        for trial in build(folder, optimize="size").compilers
    }
    fast, slow = sorted(times, key=lambda tool: times[tool][0])
    assert times[slow][1] < times[fast][1], "the slower is kept without a limit"
    limit = sum(times[tool][0] for tool in (fast, slow)) / 2
    budget = Budget(latency_us=limit).named("the command line")
    assert kept(build(folder, optimize="size", budget=budget)) == [fast]


def test_at_size_without_gcc_zig_alone_is_asked(folder, monkeypatch):
    monkeypatch.setattr(GccToolchain, "available", lambda _: False)
    report = build(folder, optimize="size")
    assert tried(report) == kept(report) == ["zig -Os"]
    assert not any("compiled with" in note for note in report.notes)


@GCC
@pytest.mark.parametrize("tool", ["gcc", "gcc -Os", "zig -Os"])
def test_what_a_search_costed_with_comes_first(folder, with_gcc, sizes, tool):
    """And stays where it keeps the budget, however full: the search's figure is the build's."""
    request = BuildRequest(
        *(folder / "small.tflite", "cortex-m3"),
        budget=flash(nearly(sizes, "zig")),
        samples=1,
        out=folder / "out",
        optimize="balanced",
    )
    plan = dataclasses.replace(make_plan(request), tool=tool)
    report = run_plan(plan)
    assert report.passed and tried(report) == kept(report) == [tool]
    (note,) = [note for note in report.notes if "compiled with" in note]
    assert note == f"compiled with {tool}, as in the search that found the recipe"
    # What does not keep the budget is compiled with the others, too.
    missed = dataclasses.replace(plan, budget=flash(8_000))
    assert tried(run_plan(missed))[0] == tool and len(tried(run_plan(missed))) == 4
    # A compiler of the user's choice is that.
    other = dataclasses.replace(plan, request=dataclasses.replace(request, toolchain="zig"))
    assert tried(run_plan(other)) == ["zig"]


@GCC
def test_what_fits_only_when_optimized_for_size(folder, with_gcc, sizes):
    report = build(folder, budget=flash(between(sizes, "gcc -Os", "gcc")))
    assert report.passed and report.comparison.equal and kept(report)[0].endswith("-Os")
    assert report.toolchain.endswith("-Os")
    least = build(folder, budget=flash(8_000))
    assert not least.passed and tried(least) == ["zig", "gcc", "zig -Os", "gcc -Os"]
    smallest = min(least.compilers, key=lambda trial: trial.flash_bytes.value)
    assert kept(least) == [smallest.tool]
    (line,) = [d for d in check_failure(least).details if "flash by compiler" in d]
    assert all(tool in line for tool in tried(least))


def test_without_gcc_zig_alone_is_asked(folder, monkeypatch, sizes):
    monkeypatch.setattr(GccToolchain, "available", lambda _: False)
    report = build(folder, budget=flash(nearly(sizes, "zig")))
    assert tried(report) == ["zig"]
    report = build(folder, budget=flash(between(sizes, "zig -Os", "zig")))
    assert report.passed and tried(report) == ["zig", "zig -Os"]


def test_a_chosen_compiler_is_the_only_one(folder, sizes):
    report = build(folder, budget=flash(between(sizes, "zig -Os", "zig")), toolchain="zig")
    assert not report.passed and tried(report) == ["zig"]


PROFILE = """schema = 1
name = "tiny"
based_on = "cortex-m3"
[[memory]]
name = "flash"
kind = "flash"
origin = 0
size = "%d"
[[memory]]
name = "ram"
kind = "ram"
origin = 0x20000000
size = "64KiB"
"""


def test_what_nothing_links_names_all_that_was_tried(folder, monkeypatch, sizes):
    monkeypatch.setattr(GccToolchain, "available", lambda _: False)
    (folder / "tiny.toml").write_text(PROFILE % 9_000)
    with pytest.raises(OverflowedError, match="flash budget missed by") as caught:
        build(folder, target="tiny.toml")
    linked = caught.value.details[-1]
    start = "linked with zig -Os, the closest of zig and zig -Os: too large for flash by "
    assert linked.startswith(start)
    # Below what balanced kernels take smaller ones are linked, then with -Os.
    for flash_bytes in range(sizes[1]["zig"], 9_000, -300):
        (folder / "tiny.toml").write_text(PROFILE % flash_bytes)
        report = build(folder, target="tiny.toml", run="none")
        if kept(report) != ["zig"]:
            break
    assert report.passed and kept(report) == ["zig -Os"]
    assert [t.tool for t in report.compilers if t.too_large] == ["zig"]


@pytest.mark.parametrize("gcc", [pytest.param(True, marks=GCC), False])
@pytest.mark.parametrize("part", [1.4, 1.03, 0.92, 0.83, 0.79, 0.76, 0.6])
def test_a_forecast_knows_all_compilers_that_a_build_would_try(
    folder, monkeypatch, sizes, part, gcc
):
    """It never passes what a build refuses, nor refuses what one passes, and is seldom unsure."""
    if gcc and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no arm-none-eabi-gcc")
    if not gcc:
        monkeypatch.setattr(GccToolchain, "available", lambda _: False)
    limit = round(part * sizes[0]["zig"])
    found = forecast(
        BuildRequest(folder / "small.tflite", "cortex-m3", budget=flash(limit), optimize="balanced")
    )
    report = build(folder, budget=flash(limit))
    said, known = found.metrics.flash_bytes, report.metrics.flash_bytes
    assert said.least <= known.value <= said.most
    if not found.uncertain:
        assert found.passed == report.passed
    else:
        assert said.least < limit < said.most < 1.05 * said.least, "within the code's estimate"


@GCC
def test_a_missed_latency_keeps_the_fastest(folder, with_gcc):
    """All compilers of the first round are tried: the fastest is kept, not the smallest."""
    report = build(folder, budget=Budget(latency_us=1).named("the command line"))
    times = {trial.tool: trial.latency_us.value for trial in report.compilers}
    assert set(times) == {"zig", "gcc"} and kept(report) == [min(times, key=times.get)]
    (why,) = [note for note in report.notes if "compiled with" in note]
    assert "because the latency budget is missed" in why
    found = forecast(
        BuildRequest(
            folder / "small.tflite", "cortex-m3", budget=Budget(latency_us=1), optimize="balanced"
        )
    )
    said = found.metrics.flash_bytes
    assert said.least <= report.metrics.flash_bytes.value <= said.most
    assert any(note.startswith("latency is missed: a build tries zig, gcc") for note in found.notes)


@GCC
def test_missed_ram_tries_code_for_size_too(folder, with_gcc):
    """Its stack may be smaller."""
    report = build(folder, budget=Budget(ram_bytes=64).named("the command line"))
    assert not report.passed and len(tried(report)) == 4
    found = forecast(
        BuildRequest(
            folder / "small.tflite", "cortex-m3", budget=Budget(ram_bytes=64), optimize="balanced"
        )
    )
    said = found.metrics.flash_bytes
    assert said.least <= report.metrics.flash_bytes.value <= said.most


def test_a_latency_that_only_another_compiler_could_have_is_not_passed_over(
    folder, with_gcc, sizes
):
    """It is predicted for the preferred compiler, which needs more flash than there is."""
    budget = dataclasses.replace(flash(between(sizes, "gcc", "zig")), latency_us=1e6)
    found = forecast(
        BuildRequest(folder / "small.tflite", "cortex-m3", budget=budget, optimize="balanced")
    )
    assert not found.passed and found.uncertain
    assert "flash budget may be missed: between" in check_failure(found).message
