"""What a build would say, without a compiler: the same refusals, and figures with their bounds."""

from __future__ import annotations

import dataclasses
import json

import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.errors import (
    CheckFailedError,
    EdgebuildError,
    InputError,
    ModelError,
    OverflowedError,
    UnsupportedOperatorError,
)
from edgebuild.figures import How
from edgebuild.pipeline.forecast import forecast, overflow_failure
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.pipeline.resolve import resolve
from edgebuild.report.advice import check_failure
from edgebuild.tflite.writer import write_tflite
from tests.corpus.files import tflite_cases, wide, with_foreign_metadata, with_offline_plan
from tests.single_ops import base
from tests.small import small_graph, small_model


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(small_model())
    return path


def of(model, target="cortex-m4", budget=None, **options):
    return forecast(BuildRequest(model, target, budget=budget or Budget(), **options))


def test_a_build_agrees(model, tmp_path):
    """The arena is exact; flash, stack and latency lie within what is said of them."""
    for target in ("cortex-m4", "cortex-m0plus"):
        found = of(model, target)
        built = edgebuild.build(model, target=target, out=tmp_path)
        assert found.analysis.arena_bytes == built.memory["arena"].value
        assert [row.live_bytes for row in found.layers] == [r.live_bytes for r in built.layers]
        for name in ("flash_bytes", "ram_bytes"):
            said, known = getattr(found.metrics, name), getattr(built.metrics, name)
            assert said.least <= known.value <= said.most, (target, name)
        latency = found.metrics.latency_us
        assert latency.value == pytest.approx(built.metrics.latency_us.value, rel=0.05)
        assert found.name == built.name and found.target == built.target


def test_the_verdict(model):
    found = of(model)
    assert found.passed and found.to_json()["fits"] is True
    flash, ram = found.metrics.flash_bytes, found.metrics.ram_bytes
    assert (flash.how, ram.how) == (How.ESTIMATED, How.ESTIMATED)
    assert ram.value > found.analysis.arena_bytes
    assert f"constants {found.analysis.constant_bytes:,} B exactly" in flash.source
    latency = found.metrics.latency_us
    assert latency.how == How.PREDICTED and found.metrics.accuracy_drop is None
    assert latency.value == pytest.approx(found.analysis.cycles / 25)
    assert json.loads(json.dumps(found.to_json()))["target"] == "cortex-m4"


def test_budgets_that_are_missed(model):
    tight = Budget(flash_bytes=5_000, ram_bytes=1_000).named("the command line")
    found = of(model, budget=tight)
    assert [v.budget for v in found.violations] == ["flash", "ram"] and not found.uncertain
    error = check_failure(found)
    assert error.message.startswith("small for cortex-m4: flash budget missed by")
    assert "from the command line" in error.message
    (late,) = of(model, budget=Budget(latency_us=1.0)).violations
    assert late.budget == "latency" and "predicted: cortex-m4 zero wait" in late.sentence()
    # What cannot be known without a build is not kept in silence.
    (unknown,) = of(model, budget=Budget(max_accuracy_drop=0.0)).violations
    assert unknown.unknown and unknown.budget == "accuracy-drop"


def test_a_limit_within_the_estimate_is_not_known_to_be_kept(model):
    near = Budget(flash_bytes=round(of(model).metrics.flash_bytes.value))
    found = of(model, budget=near, toolchain="zig", optimize="balanced")
    assert not found.passed and found.uncertain
    error = check_failure(found)
    assert "flash budget may be missed: between" in error.message
    assert error.hint == "`edgebuild build`, which compiles the model and measures"


def test_what_only_a_build_measures(model):
    """Of a project's limits a note; what is asked for on the command line is not passed over."""
    limits = Budget(max_accuracy_drop=0.01).named("edgebuild.toml")
    found = of(model, budget=limits)
    assert found.passed
    assert found.notes == ("max-accuracy-drop of the project: not checked here, only by a build",)
    assert not of(model, budget=limits.named("the command line")).passed


def test_no_figures_are_known_of_a_computer(model):
    found = of(model, "host", Budget(flash_bytes=1 << 30))
    assert [v.unknown for v in found.violations] == [True]
    assert of(model, "host").passed


def test_no_time_is_known_where_no_run_tells_it(model):
    for target, run in (("cortex-m55", None), ("cortex-m4", "none"), ("cortex-m4", "host")):
        (violation,) = of(model, target, Budget(latency_us=1e9), run=run).violations
        assert violation.unknown and violation.budget == "latency"


def test_the_devices_memory_is_the_limit(model, tmp_path):
    profile = tmp_path / "tiny.toml"
    profile.write_text(
        'schema = 1\nname = "tiny"\nbased_on = "cortex-m4"\n'
        '[[memory]]\nname = "flash"\nkind = "flash"\norigin = 0\nsize = "8KiB"\n'
        '[[memory]]\nname = "ram"\nkind = "ram"\norigin = 0x20000000\nsize = "64KiB"\n'
    )
    found = of(model, str(profile))
    assert [(v.budget, v.limit) for v in found.violations] == [("flash", 8 * 1024)]


def both(model, target, **options):
    """Return the errors of a forecast and of a build."""
    found = []
    for ask in (of, lambda *a, **k: edgebuild.build(*a[:1], target=a[1], **k)):
        with pytest.raises(EdgebuildError) as caught:
            ask(model, target, **options)
        found.append(caught.value)
    return found


@pytest.mark.parametrize("target", ["cortex-m4", "host", "android-cpu", "coral-usb"])
def test_what_a_build_refuses_is_refused_in_the_same_words(tmp_path, target):
    model = tmp_path / "odd.tflite"
    for content in (
        small_model()[:2000],
        write_tflite(base("LSTM", "int32").graph()),
        b"",
        write_tflite(small_graph().replace(ops=())),
    ):
        model.write_bytes(content)
        try:
            of(model, target)
        except EdgebuildError:
            mine, its = both(model, target, out=tmp_path / "build")
            assert (mine.message, mine.details, mine.hint) == (its.message, its.details, its.hint)
            assert type(mine) is type(its)
        else:
            edgebuild.build(model, target=target, out=tmp_path / "build")


def test_ram_that_no_compiler_helps(tmp_path):
    model = tmp_path / "wide.tflite"
    model.write_bytes(write_tflite(wide(600_000)))
    mine, its = both(model, "cortex-m4", out=tmp_path / "build")
    assert isinstance(mine, CheckFailedError) and mine.message == its.message
    assert "RAM of cortex-m4 is too small: ram has" in mine.message


@pytest.mark.parametrize(
    ("spoil", "target", "note"),
    [
        (with_offline_plan, "cortex-m4", "arena is left out: the model carries a memory plan"),
        (with_offline_plan, "host", "arena is left out: the model carries a memory plan"),
        (with_foreign_metadata, "android-cpu", "TFLite metadata is left out: "),
    ],
)
def test_what_cannot_be_made_beside_the_model_stops_nothing(tmp_path, spoil, target, note):
    model = tmp_path / "side.tflite"
    model.write_bytes(spoil(small_model()))
    found, built = of(model, target), edgebuild.build(model, target=target, out=tmp_path)
    for notes in (found.notes, built.notes):
        assert [n for n in notes if note in n], notes
    assert found.passed and built.passed
    assert built.tflm_arena is None


def test_a_float_model_is_judged_as_what_a_build_makes_of_it(tmp_path):
    model = tmp_path / "float.tflite"
    model.write_bytes(write_tflite(base("FULLY_CONNECTED", "float32").graph()))
    for target in ("cortex-m4", "android-cpu"):
        assumed = of(model, target)
        given = of(model, target, data="random")
        built = edgebuild.build(model, target=target, data="random", out=tmp_path)
        assert given.passed and given.lack is None
        assert not assumed.passed and "needs calibration data" in assumed.lack.message
        for found in (assumed, given):
            assert len(found.layers) == len(built.layers)
        if assumed.compatibility is not None:
            assert assumed.metrics == built.metrics
            assert assumed.compatibility.plain() == built.compatibility


@pytest.mark.parametrize(("target", "form"), [("cortex-m4", None), ("android-cpu", "int8")])
def test_missing_data_are_asked_for_by_both_after_all_else(tmp_path, target, form):
    model, odd = tmp_path / "dense.tflite", tmp_path / "odd.tflite"
    model.write_bytes(write_tflite(base("FULLY_CONNECTED", "float32").graph()))
    odd.write_bytes(write_tflite(base("ABS", "float32").graph()))
    found = of(model, target, format=form, budget=Budget(flash_bytes=10))
    with pytest.raises(InputError, match="quantizing it to int8 needs calibration") as caught:
        edgebuild.build(model, target=target, format=form, out=tmp_path / "build")
    assert found.lack is not None and found.lack.message == caught.value.message
    ways = "\n".join(caught.value.details)
    assert "--data random" in ways and ("--format dynamic" in ways) == (target == "android-cpu")
    assert "np.savez('calibration.npz'" in caught.value.hint
    assert not [path for path in (tmp_path / "build").rglob("*") if path.is_file()]
    assert not found.passed and not found.uncertain
    assert found.to_json()["problems"][-1] == found.lack.message
    assert [violation.budget for violation in found.violations] == ["flash"]
    if target == "cortex-m4":  # what has no kernel is told before data are asked for
        mine, its = both(odd, target, out=tmp_path / "odd")
        assert isinstance(mine, UnsupportedOperatorError) and mine.message == its.message
        assert mine.details == its.details


def test_what_a_library_does_not_run_is_told_by_both(tmp_path):
    """LiteRT has no RIGHT_SHIFT of floats; TFLite Micro's verifier reads all of a file."""
    model = tmp_path / "shift.tflite"
    model.write_bytes(write_tflite(base("RIGHT_SHIFT", "float32").graph()))
    for options in ({}, {"data": "random"}):
        mine, its = both(model, "cortex-m4", out=tmp_path / "shift", **options)
        assert isinstance(mine, ModelError) and mine.message == its.message
        assert "LiteRT cannot run the model: RightShift currently only supports" in mine.message
    (damaged,) = (case for case in tflite_cases() if case.name == "flipped-16")
    model.write_bytes(damaged.content)
    mine, its = both(model, "cortex-m4", out=tmp_path / "damaged")
    assert isinstance(mine, ModelError) and mine.message == its.message


def test_several_answers_have_the_same_keys(model):
    first = of(model).to_json()
    assert first.keys() == of(model, budget=Budget(flash_bytes=1)).to_json().keys()
    assert dataclasses.asdict(of(model))["name"] == "small"


@pytest.mark.parametrize(
    ("missed", "first", "absent"),
    [
        ({"flash": 100}, "flash budget missed by 100 B: needs 1,048,676 B (linked: zig", "live"),
        ({"ram": 8}, "RAM budget missed by 8 B: needs 262,152 B (linked: zig", "B of weights"),
        ({"STACK_ROOM": 8}, "RAM budget missed by 8 B", "B of weights"),
    ],
)
def test_what_only_the_linker_knows_is_said_as_a_check_would_say_it(model, missed, first, absent):
    """The forecast passes, or is not sure: the linker's figures take the place of its own."""
    plan = make_plan(BuildRequest(model, "cortex-m4"))
    resolved = resolve(plan, lambda _: None)
    resolved.loaded.source.close()
    error = OverflowedError("it is too large", missed=missed, linked_with="zig")
    failure = overflow_failure(plan, resolved.emitted, error)
    assert failure.message.startswith(f"small for cortex-m4: {first}")
    assert failure.details[0].startswith("largest: layer ") and absent not in failure.details[0]
    assert failure.details[-1].startswith("linked with zig: too large for ")
    assert "or a target with more " in failure.hint
