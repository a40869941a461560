"""Builds for Coral boards: what the Edge TPU takes, its compiler, and a board's own times."""

from __future__ import annotations

import dataclasses
import json

import pytest

import edgebuild
from edgebuild.coral.bench import run_model
from edgebuild.coral.checks import model_differences
from edgebuild.errors import ToolError
from edgebuild.graph import Quantization
from edgebuild.tflite.reader import read_tflite_file
from tests.small import small_model


@pytest.mark.parametrize("target", ["coral-usb", "android-cpu"])
def test_a_compiled_model_is_no_source(coral_dir, folder, command, target):
    model = coral_dir / "split_concat_edgetpu.tflite"
    for verb in ("check", "build"):
        code, _, err = command(verb, model, "--target", target)
        assert code == 2 and "is already compiled for the Edge TPU" in err
    code, _, err = command("check", "small.tflite", "--with", model, "--target", "coral-usb")
    assert code == 2 and "split_concat_edgetpu is already compiled for the Edge TPU" in err
    assert list((folder / "build").iterdir()) == []


def test_a_coral_board(folder):
    report = edgebuild.build("small.tflite", target="coral-usb")
    assert report.passed and report.compatibility.delegate == "Edge TPU"
    assert report.flash["cached on chip"].value > 0
    out = folder / "build" / "small-coral-usb"
    # Without the compiler there is nothing that looks as if it were compiled.
    assert [p.name for p in out.glob("*.tflite")] == ["model.tflite"]


@pytest.mark.models
@pytest.mark.parametrize("coral_dir", ["public"], indirect=True)
def test_a_coral_board_with_its_compiler(stand_in, coral_dir, folder):
    """The stand-in replays what the real compiler made of this model."""
    report = edgebuild.build(
        coral_dir / "deeplabv3_mnv2_dm05_pascal_quant.tflite", target="coral-usb", name="net"
    )
    out = folder / "build" / "net-coral-usb"
    compiled = coral_dir / "deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite"
    assert (out / "model_edgetpu.tflite").read_bytes() == compiled.read_bytes()
    assert (report.flash["cached on chip"].value, str(report.flash["cached on chip"].how)) == (
        766_720,
        "measured",
    )
    # It left to the CPU just what was predicted, and the report says nothing of it.
    assert not any("predicted" in note for note in report.notes)
    assert len(report.compatibility.fallbacks) == 8
    assert report.toolchain.startswith("edgetpu_compiler 16")
    stand_in("crash")
    with pytest.raises(ToolError):
        edgebuild.build("small.tflite", target="coral-usb")
    assert not (folder / "build" / "small-coral-usb").exists()


@pytest.mark.parametrize("coral_dir", ["made"], indirect=True)
def test_a_coral_board_with_what_its_compiler_left_to_the_cpu(stand_in, coral_dir, folder):
    report = edgebuild.build(coral_dir / "with_class.tflite", target="coral-usb", name="net")
    compiled = (coral_dir / "with_class_edgetpu.tflite").read_bytes()
    assert (folder / "build/net-coral-usb/model_edgetpu.tflite").read_bytes() == compiled
    cached = report.flash["cached on chip"]
    assert (cached.value, str(cached.how)) == (640, "measured")
    assert [verdict.kind for verdict in report.compatibility.fallbacks] == ["ABS", "ARG_MAX"]
    stand_in("crash")
    with pytest.raises(ToolError):
        edgebuild.build("small.tflite", target="coral-usb")


def test_models_that_are_compiled_together_share_the_chip(folder, command):
    big = small_model("big", side=64, channels=20, classes=100)  # 8.2 MB of weights
    (folder / "big.tflite").write_bytes(big)
    order = ["small.tflite", "big.tflite", "small.tflite"]
    code, out, _ = command(
        *("check", order[0], "--with", order[1], "--with", order[2]),
        *("--target", "coral-usb", "--json"),
    )
    plans = json.loads(out)["models"]
    assert code == 0 and [row["model"] for row in plans] == order
    assert plans[0]["cached_bytes"] > 5_120 and plans[0]["streamed_bytes"] == 0
    assert plans[1]["streamed_bytes"] > 8_000_000
    code, out, _ = command(
        *("check", "small.tflite", "--with", "big.tflite", "--target", "coral-usb")
    )
    assert code == 0 and "estimated, in the order given" in out
    code, _, err = command(
        *("check", "small.tflite", "--with", "big.tflite", "--target", "android-cpu")
    )
    assert code == 2 and "--with is for Coral boards" in err


def test_models_of_which_nothing_maps_are_named_beside_the_others(mlperf_dir, folder, command):
    floats = mlperf_dir / "resnet8_float.tflite"
    count = str(len(read_tflite_file(floats).ops))
    asked = ("check", floats, "--with", "small.tflite", "--target", "coral-usb")
    code, out, _ = command(*asked)
    rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["resnet8_float.tflite", "0", "of", count] in [row[:4] for row in rows]
    assert ["small.tflite", "5", "of", "5"] in [row[:4] for row in rows]
    words = " ".join(out.split())
    assert f"resnet8_float.tflite: Edge TPU runs none of {count} operators: everything" in words
    assert "small.tflite: Edge TPU" not in words
    value = json.loads(command(*asked, "--json")[1])["models"]
    assert [(row["operators"], row["mapped"]) for row in value] == [(int(count), 0), (5, 5)]


def test_a_coral_board_s_cpu_is_measured_and_compared(folder, command):
    """The runner of the board runs here, with LiteRT on the model that was not compiled."""
    edgebuild.build("small.tflite", target="coral-usb")
    build = "build/small-coral-usb"
    code, out, err = command(
        *("bench", build, "--usb", "--no-edgetpu", "--samples", "5", "--runs", "3", "--json")
    )
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["comparison"]["compared_bytes"] == 50
    assert report["comparison"]["different_bytes"] == report["comparison"]["close_bytes"] == 0
    assert report["comparison"]["oracle"].startswith("LiteRT")
    assert report["metrics"]["latency_us"]["value"] > 0
    code, out, _ = command("bench", build, "--usb", "--no-edgetpu", "--runs", "3")
    shown = [line.split("  ")[0].strip() for line in out.splitlines()]
    assert code == 0 and "model" in shown
    # The Edge TPU did nothing: neither its mapping nor its memory stand beside the CPU's times.
    assert "Edge TPU runs" not in out and not {"cached on chip", "streamed"} & set(shown)
    code, _, err = command("bench", build, "--usb")
    assert code == 2 and "no compiled model (model_edgetpu.tflite)" in err
    code, _, err = command("bench", build, "--host", "nobody@127.0.0.1", "--no-edgetpu")
    assert code == 3 and "nobody@127.0.0.1" in err


def test_a_model_that_was_compiled_elsewhere_is_measured(coral_dir, folder, command, monkeypatch):
    edgebuild.build(coral_dir / "split_concat.tflite", target="coral-usb", name="net")
    build = folder / "build/net-coral-usb"
    measure = ("bench", build, "--usb", "--runs", "1")
    code, _, err = command(*measure)
    assert code == 2 and "put model_edgetpu.tflite" in " ".join(err.split())

    compiled = (coral_dir / "split_concat_edgetpu.tflite").read_bytes()
    (build / "model_edgetpu.tflite").write_bytes(compiled)
    code, _, err = command(*measure)
    assert code == 3 and "no Edge TPU (libedgetpu" in err  # it got as far as the runner

    wrong = {
        "dense_256_edgetpu.tflite": "is not this build's model.tflite, compiled",
        "split_concat.tflite": "model_edgetpu.tflite is not compiled for the Edge TPU",
    }
    for name, words in wrong.items():
        (build / "model_edgetpu.tflite").write_bytes((coral_dir / name).read_bytes())
        code, _, err = command(*measure)
        assert code == 2 and words in " ".join(err.split())
        assert "try: edgetpu_compiler" in err
    (build / "model_edgetpu.tflite").write_bytes(compiled[:1000])
    assert command(*measure)[0] == 2

    def on_the_cpu(model, samples, transport, options):
        assert model.read_bytes() == compiled
        cpu = dataclasses.replace(options, edgetpu=False)
        result = run_model(model.with_name("model.tflite"), samples, transport, cpu)
        return dataclasses.replace(result, edgetpu=True)

    (build / "model_edgetpu.tflite").write_bytes(compiled)
    monkeypatch.setattr("edgebuild.devices.coral.run_model", on_the_cpu)
    code, out, _ = command(*measure, "--json")
    report = json.loads(out)
    assert code == 0 and report["comparison"]["different_bytes"] == 0
    assert report["notes"][-1].startswith("model_edgetpu.tflite was compiled elsewhere")


def test_a_compiled_model_shows_how_its_ends_differ(coral_dir):
    source, compiled = (
        read_tflite_file(coral_dir / f"dense_256{end}.tflite") for end in ("", "_edgetpu")
    )
    assert model_differences(source, compiled) == []
    (index,) = source.inputs
    for change, words in (
        ({"name": "other"}, "the source has 'other' uint8"),
        ({"quantization": Quantization((0.5,), (3,))}, "scale 0.5, zero point 3"),
    ):
        tensor = dataclasses.replace(source.tensors[index], **change)
        changed = source.replace(tensors={**source.tensors, index: tensor})
        (difference,) = model_differences(changed, compiled)
        assert difference.startswith("inputs: 'serving_default") and words in difference
