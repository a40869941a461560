"""Builds for phones, and what all targets on which LiteRT runs the model have in common."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.errors import InputError
from edgebuild.models.float_tflite import pack, unpack
from edgebuild.models.tf_model import of_keras
from edgebuild.project import Normalization
from edgebuild.report.model import report_from_json
from edgebuild.tflite.metadata import read_metadata
from edgebuild.tflite.reader import read_tflite, read_tflite_file
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import Spec, t
from tests.small import small_graph, small_model

NEEDS_QEMU = pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None, reason="qemu-aarch64 (Debian: qemu-user) is not installed"
)


def test_an_int8_model_for_a_phone_s_cpu(folder):
    report = edgebuild.build("small.tflite", target="android-cpu")
    out = folder / "build" / "small-android-cpu"
    assert report.passed and report.comparison.equal and report.comparison.compared_bytes == 80
    found = report.compatibility
    assert [v.kind for v in found.fallbacks] == ["SOFTMAX"]
    assert "float32" in found.fallbacks[0].reason
    assert (found.delegated_partitions, found.crossing_bytes) == (1, 10)
    # The program is a static one for arm64; the module holds the same model as the build.
    elf = (out / "bench-arm64").read_bytes()
    assert elf[:5] == b"\x7fELF\x02" and elf[18:20] == b"\xb7\0"
    model = (out / "model.tflite").read_bytes()
    assert (out / "android/src/main/assets/small.tflite").read_bytes() == model
    assert (out / "android/build.gradle.kts").is_file()
    assert read_metadata(model).name == "small"
    assert read_tflite(model).fingerprint() == read_tflite(small_model()).fingerprint()
    assert report.metrics.flash_bytes.value == len(model)
    again = edgebuild.build("small.tflite", target="android-cpu")
    assert again.cached and again.compatibility == found
    value = json.loads((out / "report.json").read_text())
    assert report_from_json(value).to_json() == value


@NEEDS_QEMU
def test_the_program_runs_in_qemu(folder):
    report = edgebuild.build("small.tflite", target="android-cpu", run="qemu")
    assert report.comparison.equal and report.comparison.device.startswith("qemu")


@pytest.mark.keras
def test_float16_for_a_gpu_is_judged_as_litert_runs_it(place):
    names = np.array(["ant", "bee", "cat"])
    np.savez(place / "named.npz", **dict(np.load(place / "data.npz")), classes=names)
    report = edgebuild.build("net.keras", target="android-gpu", data="named.npz")
    assert report.passed and report.comparison is None
    assert report.accuracy.engine.startswith("LiteRT")
    assert abs(report.metrics.accuracy_drop.value) < 0.005
    assert report.accuracy.int8_reference is None
    out = place / "build/net-android-gpu"
    model = read_tflite_file(out / "model.tflite")
    assert "float16" in {t.dtype for t in model.tensors.values()}
    metadata = read_metadata((out / "model.tflite").read_bytes())
    assert metadata.outputs[0].labels == ("ant", "bee", "cat")
    assert any('"bee"' in path.read_text() for path in (out / "android").rglob("*.kt"))
    assert any(note.startswith("no generated C beside it") for note in report.notes)
    assert not (out / "lib").exists()


@pytest.mark.keras
def test_formats(place, trained):
    (place / "net.tflite").write_bytes(of_keras(trained).to_tflite())
    with pytest.raises(InputError, match="needs calibration data") as caught:
        edgebuild.build("net.tflite", target="android-cpu")
    assert any(line.startswith("--format dynamic") for line in caught.value.details)
    dynamic = edgebuild.build("net.tflite", target="android-cpu", format="dynamic")
    assert "dynamic range" in dynamic.notes[0]
    int8 = edgebuild.build("net.tflite", target="android-cpu", data="data.npz")
    assert int8.comparison.equal and int8.accuracy is not None
    floats = edgebuild.build("net.tflite", target="android-cpu", format="float32")
    sizes = [r.metrics.flash_bytes.value for r in (dynamic, int8, floats)]
    assert max(sizes[:2]) < sizes[2]
    for run in ("qemu", "adb"):
        with pytest.raises(InputError, match=f"no generated C that could run on {run}"):
            edgebuild.build("net.tflite", target="android-cpu", format="float32", run=run)


def test_a_microcontroller_takes_no_format(folder):
    with pytest.raises(InputError, match="--format is for targets on which LiteRT runs"):
        edgebuild.build("small.tflite", target="cortex-m4", format="float16")
    with pytest.raises(InputError, match="--fail-on is for targets"):
        edgebuild.build("small.tflite", target="cortex-m4", fail_on=("fallback",))
    with pytest.raises(InputError, match="unknown number format 'int7'; did you mean 'int8'"):
        edgebuild.build("small.tflite", target="android-cpu", format="int7")
    with pytest.raises(InputError, match="unknown --fail-on 'falback'"):
        edgebuild.build("small.tflite", target="android-cpu", fail_on=("falback",))
    assert not (folder / "build").exists()


@pytest.mark.parametrize("asked", ["float16", "dynamic", "float32"])
def test_a_format_that_an_int8_model_cannot_have_is_refused(folder, command, asked):
    build = ("build", "small.tflite", "--target", "android-gpu")
    code, out, err = command(*build, "--format", asked)
    assert (code, out) == (2, "")
    assert f"already has int8 numbers and cannot be converted to {asked}" in err
    assert list((folder / "build").iterdir()) == []
    for given in ((), ("--format", "int8")):
        code, out, _ = command(*build, *given, "--run", "none")
        kept = "small.tflite already has int8 numbers, which are kept" in out
        assert (code, kept) == (0, not given)


def test_fail_on(folder, command):
    code, out, err = command(
        *("build", "small.tflite", "--target", "android-cpu", "--fail-on", "fallback")
    )
    assert code == 1
    assert "DOES NOT PASS" in out and "1 operators fall back to the CPU" in err
    # The build is there all the same, and the next one knows.
    code, out, err = command(
        *("build", "small.tflite", "--target", "android-cpu", "--fail-on", "fallback")
    )
    assert code == 1 and "cached" in out
    code, out, err = command(
        *("build", "small.tflite", "--target", "android-cpu", "--fail-on", "partitions:1")
    )
    assert code == 0


def test_check(folder, command):
    code, out, err = command("check", "small.tflite", "--target", "android-cpu")
    assert (code, err) == (0, "")
    assert "XNNPACK runs 4 of 5 operators in 1 partition; 10 B cross" in out
    assert max(map(len, out.splitlines())) <= 80
    code, out, err = command(
        *("check", "small.tflite", "--target", "android-cpu", "--json", "--fail-on", "fallback")
    )
    value = json.loads(out)
    assert code == 1 and value["fallbacks"] == 1 and len(value["problems"]) == 1
    code, _, err = command(
        *("check", "small.tflite", "--target", "android-cpu", "--max-flash", "1KiB")
    )
    assert code == 1 and "flash budget missed" in err
    code, _, err = command("check", "small.tflite", "--target", "cortex-m4", "--fail-on", "x")
    assert code == 2 and "--fail-on is for targets" in err


@pytest.mark.parametrize(
    ("target", "limit", "sentence", "hint"),
    [
        (
            "android-cpu", ("--max-latency", "1ms"),
            "latency budget cannot be checked: the value is unknown (budget 1 ms",
            "measure it on a phone: `edgebuild bench BUILD --device",
        ),
        (
            "coral-usb", ("--max-latency", "1ms"),
            "latency budget cannot be checked: the value is unknown (budget 1 ms",
            "measure it on the board: `edgebuild bench BUILD --host",
        ),
        (
            "android-cpu", ("--max-ram", "1KiB"),
            "RAM budget cannot be checked: the value is unknown (budget 1,024 B",
            "leave --max-ram out: how much RAM LiteRT and its delegate use is not known",
        ),
        (
            "android-cpu", ("--max-accuracy-drop", "1%"),
            "accuracy budget cannot be checked: the value is unknown (budget 1 point",
            "`edgebuild build` with a float model and data with labels",
        ),
        (
            "cortex-m55", ("--max-latency", "1ms"),
            "latency budget cannot be checked: the value is unknown (budget 1 ms",
            "--run simulator, or measure it",
        ),
    ],
)  # fmt: skip
def test_a_budget_that_cannot_be_checked_is_not_kept(
    folder, command, target, limit, sentence, hint
):
    model = ("small.tflite", "--target", target, *limit)
    for verb in (("check",), ("build", "--run", "none")):
        code, _, err = command(*verb, *model)
        assert code == 1 and sentence in err and f"try: {hint}" in err
        assert "largest:" not in err
    code, out, _ = command("check", *model, "--json")
    (violation,) = json.loads(out)["violations"]
    assert code == 1 and violation["value"] is None


def test_the_arena_of_generated_c_is_not_called_the_phone_s_ram(folder, command):
    out = command("build", "small.tflite", "--target", "android-cpu", "--run", "none")[1]
    (row,) = [line for line in out.splitlines() if "arena" in line]
    assert row.split()[:3] == ["generated", "C's", "arena"]


def test_the_options_of_the_example_app_can_be_met(folder, command):
    app = Path(__file__).resolve().parents[2] / "examples/android/app/build.gradle.kts"
    options = re.search(r"options = listOf\((.*)\)", app.read_text())[1].replace('"', "")
    code, _, err = command(
        *("build", "small.tflite", "--target", "android-cpu"), *options.split(", ")
    )
    assert (code, err) == (0, "")


def test_what_a_target_does_not_take_is_refused(folder, command):
    build = ("build", "small.tflite", "--target")
    code, _, err = command(*build, "android-cpu", "--edgetpu-container", "image")
    assert code == 2 and "--edgetpu-container is for Coral boards" in err
    code, _, err = command(*build, "coral-usb", "--format", "float16")
    assert code == 2 and "the Edge TPU computes in int8" in err
    together = ("check", "small.tflite", "--with", "small.tflite", "--target", "coral-usb")
    for flags in (("--fail-on", "fallback"), ("--max-flash", "1KiB")):
        code, _, err = command(*together, *flags)
        assert code == 2 and "--with shows how memory is shared" in err


def test_a_chip_that_litert_does_not_know_is_refused(folder, command):
    (folder / "mine.toml").write_text(
        'schema = 1\nname = "mine"\nbased_on = "android-npu"\ndelegate.soc = "SM8755"\n'
    )
    for verb in ("check", "build"):
        code, out, err = command(verb, "small.tflite", "--target", "mine.toml")
        assert (code, out) == (2, "")
        assert "LiteRT does not compile for Qualcomm chip 'SM8755'; did you mean 'SM8750'?" in err
        assert "known: SA8255" in err


@pytest.mark.parametrize("target", ["android-cpu", "android-gpu", "coral-usb"])
def test_a_custom_operator_that_nothing_runs_is_refused(folder, command, target):
    graph = small_graph()
    mine = dataclasses.replace(graph.ops[-1], kind="CUSTOM Mine", attrs={})
    model = write_tflite(graph.replace(ops=(*graph.ops[:-1], mine)))
    (folder / "mine.tflite").write_bytes(model)
    for verb in ("check", "build"):
        code, out, err = command(verb, "mine.tflite", "--target", target)
        assert (code, out) == (2, "")
        assert "mine.tflite: no runtime at hand has 1 of the model's custom operators" in err
        assert (
            "CUSTOM Mine (int8 -> int8), operator 4" in err
            and "try: convert it with TFLITE_BUILTINS" in err
        )
    assert list((folder / "build").iterdir()) == []
    code, out, _ = command("inspect", "mine.tflite", "--target", target, "--json")
    reason = json.loads(out)["operators"][4]["reason"]
    assert code == 0 and reason.endswith("LiteRT's CPU has no kernel for it")


@pytest.mark.parametrize("form", ["int8", "float16", "dynamic"])
def test_a_float_model_with_one_is_refused_before_it_is_converted(folder, command, form):
    spec = Spec("CUSTOM Mine", (t(),), (t(),), {})
    (folder / "mine.tflite").write_bytes(write_tflite(spec.graph()))
    asked = ("build", "mine.tflite", "--target", "android-cpu", "--data", "random")
    code, _, err = command(*asked, "--format", form)
    assert code == 2 and "), operator 0: XNNPACK has no CUSTOM Mine" in err


def test_of_several_subgraphs_the_first_is_looked_at(folder, command):
    model = unpack(small_model())
    model.subgraphs.append(model.subgraphs[0])
    (folder / "two.tflite").write_bytes(pack(model))
    code, out, _ = command("check", "two.tflite", "--target", "android-cpu")
    assert code == 0 and "1 further subgraphs of the model are not examined" in out
    report = edgebuild.build("two.tflite", target="android-cpu")
    (note,) = report.notes
    assert note.startswith("no generated C beside it: the model has 2 subgraphs (control flow")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("net.h5", "inspect reads .tflite files, and this is a Keras .h5 file"),
        ("saved", "inspect reads .tflite files, and this is a SavedModel"),
        ("folder", "'folder' is not a SavedModel"),
    ],
)
def test_inspect_takes_tflite_files(folder, command, name, words):
    (folder / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"x")
    (folder / "folder").mkdir()
    code, _, err = command("inspect", name, "--target", "android-cpu")
    assert code == 2 and words in err


def test_settings_of_one_target(folder, command):
    (folder / "edgebuild.toml").write_text(
        'model = "small.tflite"\ntargets = ["host", "android-cpu"]\n'
        '[target.android-cpu]\nformat = "int8"\nfail_on = ["fallback"]\n'
    )
    code, _, err = command("build")
    assert code == 1 and "fall back to the CPU" in err
    code, _, err = command("build", "--target", "host")
    assert code == 0


def test_a_search_is_for_generated_c(folder, command):
    code, _, err = command(
        *("search", "small.tflite", "--target", "android-gpu", "--data", "random")
    )
    assert code == 2 and "LiteRT runs the model" in err


def test_inspect_shows_each_operator_as_the_delegate_takes_it(folder, command):
    edgebuild.build("small.tflite", target="android-cpu")
    model = "build/small-android-cpu/model.tflite"
    code, out, err = command("inspect", model, "--target", "android-cpu")
    assert (code, err) == (0, "")
    assert "input: int8 1x8x8x1, scale 0.00392157" in out and "metadata: small" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["2", "RESHAPE", "int8", "1x512", "8"] in rows
    assert any(row[:4] == ["4", "SOFTMAX", "int8", "1x10"] and len(row) > 5 for row in rows)
    code, out, _ = command("inspect", model, "--target", "coral-usb", "--json")
    value = json.loads(out)
    assert code == 0 and [row["reason"] for row in value["operators"]] == [""] * 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "bench needs a device: --port, --device, --host or --usb"),
        (["--usb", "--port", "x"], "--port and --usb cannot be used together"),
        (["--port", "x", "--no-edgetpu"], "--no-edgetpu cannot be used with --port"),
        (["--usb", "--baud", "9600"], "--baud cannot be used with --usb"),
        (["--usb", "--isa", "base"], "--isa is for phones"),
        (["--usb", "--runs", "0"], "runs is 0"),
        (["--usb", "--time-limit", "0s"], "the time limit in seconds is 0"),
        (["--usb", "--samples", "0"], "samples is 0"),
        (["--host", "bad host;rm"], "'bad host;rm' is not a host"),
        (["--host", "-oProxyCommand=x"], "'-oProxyCommand=x' is not a host"),
        (["--port", "x", "--baud", "0"], "baud is 0"),
        (["--device", "x", "--runs", "0"], "runs is 0"),
        (["--device", "x", "--time-limit", "0s"], "the time limit in seconds is 0"),
        (["--device", "x", "--cpus", "4-1"], "'4-1' is not a list of CPUs"),
        (
            ["--device", "all", "--device", "x"],
            "--device all and --device SERIAL cannot be used together",
        ),
        (["--device", "x", "--benchmark-model", "none"], "File 'none' does not exist"),
        (
            ["--device", "x", "--benchmark-model", "small.tflite", "--benchmark-library", "none"],
            "File 'none' does not exist",
        ),
    ],
)
def test_flags_of_bench_are_checked(folder, command, flags, words):
    edgebuild.build("small.tflite", target="host", run="none", out="out")
    code, _, err = command("bench", "out/small-host", *flags)
    assert code == 2 and words in err


@pytest.mark.keras
def test_names_ranges_and_normalization_reach_the_app(tmp_path, monkeypatch):
    """Of a Keras model whose names are words of Kotlin, or the same in capitals."""
    import keras

    monkeypatch.chdir(tmp_path)
    val, every = keras.Input((4,), name="val"), keras.Input((4,), name="all")
    both = keras.layers.Add(name="sum")([val, every])
    outputs = {name: keras.layers.Dense(3)(both) for name in ("CLASS", "all")}
    outputs["class"] = keras.layers.Dense(3, activation="softmax")(both)
    keras.Model([val, every], outputs).save("net.keras")
    x = np.linspace(-1, 2, 40).astype(np.float32).reshape(10, 4)
    np.savez("set.npz", all=np.full((10, 4), 5, np.uint8), val=x)
    for target in ("android-cpu", "android-gpu"):
        edgebuild.build(
            Path("net.keras"),
            target=target,
            data="set.npz",
            run="none",
            normalization={"val": Normalization((0.5,), (2.0,))},
        )
        out = Path(f"build/net-{target}")
        (kotlin,) = out.glob("android/src/main/kotlin/**/Net.kt")
        constants = re.findall(r"val (\w+) = NetTensor\(\s*\d+, \w+, (\"\w+\")", kotlin.read_text())
        assert constants == [
            *(("VAL", '"val"'), ("INPUT_ALL", '"all"')),
            *(("CLASS", '"CLASS"'), ("OUTPUT_ALL", '"all"'), ("CLASS_2", '"class"')),
        ]
        said = read_metadata((out / "model.tflite").read_bytes())
        assert [t.name for t in said.inputs] == ["val", "all"]
        assert [t.name for t in said.outputs] == ["CLASS", "all", "class"]
        first, second = said.inputs
        assert (first.mean, first.std) == ((0.5,), (2.0,))
        assert (second.mean, second.std) == ((0.0,), (1.0,))
        assert first.minimum[0] == pytest.approx(-1, abs=0.02)
        assert second.maximum[0] == pytest.approx(5, abs=0.05)
        assert said.outputs[2].maximum[0] == pytest.approx(1, abs=0.005)
    library = Path("build/net-android-cpu/lib/net.c").read_text()
    assert [f'"{name}"' in library for name in ("val", "all", "CLASS", "class")] == [True] * 4
