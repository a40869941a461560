"""A small int8 model, made on the spot, through the whole pipeline: API and command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.errors import CheckFailedError, InputError, UnsupportedOperatorError
from edgebuild.figures import How
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.report.model import report_from_json
from edgebuild.tflite.writer import write_tflite
from edgebuild.versions import JSON_SCHEMA
from tests.single_ops import base
from tests.small import small_graph, small_model

OUTPUT_BYTES = 10
KINDS = ["CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]


def files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("target", "toolchain"),
    [
        ("cortex-m4", "zig"),
        ("cortex-m0plus", "zig"),
        ("cortex-m33", "zig"),
        pytest.param("cortex-m4", "gcc", marks=pytest.mark.gcc),
        pytest.param("cortex-m0plus", "gcc", marks=pytest.mark.gcc),
    ],
)
def test_firmware(folder, target, toolchain):
    if toolchain == "gcc" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    report = edgebuild.build("small.tflite", target=target, toolchain=toolchain)
    assert report.passed and not report.cached
    assert toolchain in report.toolchain
    assert report.comparison.device == f"simulated {target}"
    assert (report.comparison.samples, report.comparison.compared_bytes) == (8, 8 * OUTPUT_BYTES)
    assert [layer.kind for layer in report.layers] == KINDS
    assert report.model["macs"] == 8 * 8 * (9 * 8 + 9 * 8) + 512 * 10
    assert sum(layer.share for layer in report.layers) == pytest.approx(1, abs=1e-6)
    flash, ram = report.flash, report.memory
    assert report.metrics.flash_bytes.value == sum(f.value for f in flash.values())
    assert flash["weights"].value >= report.model["parameter_bytes"] - 8  # the reshape's shape
    assert report.metrics.ram_bytes.value == sum(
        ram[part].value for part in ("arena", "static data", "stack")
    )
    assert ram["arena touched"].value <= ram["arena"].value
    assert ram["stack"].value <= ram["stack bound"].value <= 512
    assert ram["arena"].value >= ram["arena lower bound"].value
    assert {f.how for f in flash.values()} == {How.LINKED}
    assert report.metrics.latency_us.how == How.MODELLED
    assert report.tflm_arena.value > ram["arena"].value


def test_files_of_a_build(folder):
    report = edgebuild.build("small.tflite", target="cortex-m4", out=folder / "there")
    place = folder / "there" / "small-cortex-m4"
    assert report.out_dir == str(place)
    written = files(place)
    assert {
        "build.lock", "report.json", "model.tflite", "model_data.h", "model_data.cc",
        "firmware.elf", "firmware.bin", "firmware.map", "firmware.ld",
        "lib/small.h", "lib/small.c", "lib/small_weights.c", "lib/edgebuild/eb.h",
    } <= written  # fmt: skip
    # report.json cannot hold its own hash, and the lock holds that of every other file.
    assert set(report.artifacts) == written - {"build.lock", "report.json"}
    lock = json.loads((place / "build.lock").read_text())
    assert set(lock["artifacts"]) == written - {"build.lock"}
    assert (place / "model.tflite").read_bytes() == (folder / "small.tflite").read_bytes()
    kernels = {path.split("/")[2] for path in written if path.startswith("lib/edgebuild/")}
    assert kernels == {
        "common",
        "eb.h",
        "eb_version.h",
        "conv2d",
        "depthwise_conv2d",
        "fully_connected",
        "softmax",
    }
    assert [p for p in folder.rglob("*") if ".tmp" in p.name or "staging" in p.name] == []


def test_a_build_is_deterministic(folder):
    for out in ("one", "two"):
        edgebuild.build("small.tflite", target="cortex-m4", out=folder / out)
    one, two = (folder / out / "small-cortex-m4" for out in ("one", "two"))
    assert files(one) == files(two)
    different = [p for p in files(one) if (one / p).read_bytes() != (two / p).read_bytes()]
    assert different == []


def test_the_host_target(folder):
    report = edgebuild.build("small.tflite", target="host")
    assert report.passed and report.comparison.device == "host"
    assert report.metrics.flash_bytes is None and report.metrics.ram_bytes is None
    assert report.flash == {} and report.sections == ()
    with pytest.raises(InputError, match="target host cannot run on qemu"):
        edgebuild.build("small.tflite", target="host", run="qemu")


def test_run_host_and_run_none(folder):
    on_host = edgebuild.build("small.tflite", target="cortex-m4", run="host")
    assert on_host.comparison.device == "host" and on_host.passed
    assert on_host.metrics.latency_us is None
    not_run = edgebuild.build("small.tflite", target="cortex-m4", run="none")
    assert not_run.comparison is None and not_run.passed
    assert not_run.metrics.ram_bytes.how == How.PLANNED
    assert "not known without a run" in not_run.metrics.ram_bytes.source


def test_report_json_is_the_report(folder):
    report = edgebuild.build("small.tflite", target="cortex-m4")
    value = json.loads((folder / "build/small-cortex-m4/report.json").read_text())
    assert value["schema"] == JSON_SCHEMA and value["passed"] is True
    again = report_from_json(value)
    assert again.to_json() == report.to_json() == value
    assert sum(s["size"] for s in value["sections"] if s["in_flash"]) > sum(
        f["value"] for f in value["flash"].values()
    )


def test_the_cache_knows_what_changed(folder):
    def build(**options):
        return edgebuild.build("small.tflite", target="cortex-m4", **options)

    first = build()
    assert not first.cached
    second = build()
    assert second.cached and second.to_json() == first.to_json()
    assert not build(use_cache=False).cached
    assert build().cached
    assert not build(seed=1).cached  # other samples
    assert not build().cached
    (folder / "build/small-cortex-m4/lib/small.c").write_text("changed")
    assert not build().cached
    assert (folder / "build/small-cortex-m4/lib/small.c").read_text() != "changed"
    (folder / "small.tflite").write_bytes(small_model(seed=1))
    assert not build().cached


def test_real_samples_are_run(folder):
    x = np.random.default_rng(0).random((5, 8, 8, 1)).astype(np.float32)
    np.savez(folder / "set.npz", x=x, y=np.arange(5))
    report = edgebuild.build("small.tflite", target="cortex-m4", data="set.npz")
    assert report.passed and report.accuracy.samples == 5
    assert report.accuracy.float_baseline is None
    # The generated C answers as the reference does, right or wrong.
    ours, reference = report.accuracy.shipped, report.accuracy.int8_reference
    assert abs(ours.value - reference.value) <= 0.2
    assert report.metrics.accuracy_drop is None


@pytest.mark.parametrize("names", [("a", "b"), ("x0", "x1")])
def test_two_inputs_and_two_outputs(folder, names):
    q, probability = Quantization((0.1,), (0,)), Quantization((1 / 256,), (-128,))
    tensors = [Tensor(i, name, (1, 4), DType.INT8, q) for i, name in enumerate("abs")]
    tensors.append(Tensor(3, "p", (1, 4), DType.INT8, probability))
    ops = (
        Op("ADD", (0, 1), (2,), {"fused_activation_function": "NONE"}),
        Op("SOFTMAX", (2,), (3,), {"beta": 1.0}),
    )
    graph = Graph("two", (0, 1), (3, 2), ops, {t.index: t for t in tensors})
    (folder / "two.tflite").write_bytes(write_tflite(graph))
    x = np.random.default_rng(0).normal(0, 3, (2, 30, 4)).astype(np.float32)
    np.savez(folder / "set.npz", **dict(zip(names, x, strict=True)), y=x.sum(axis=0).argmax(axis=1))
    report = edgebuild.build("two.tflite", target="cortex-m4", data="set.npz")
    assert report.passed and report.comparison.compared_bytes == 8 * 8
    assert report.accuracy.shipped.value >= 0.9
    np.savez(folder / "set.npz", **dict(zip(names, x[::-1], strict=True)))
    assert edgebuild.build("two.tflite", target="cortex-m4", data="set.npz").accuracy is None


def test_missed_budgets_of_the_api(folder):
    budget = Budget(flash_bytes=4096, ram_bytes=1 << 20)
    report = edgebuild.build("small.tflite", target="cortex-m4", budget=budget)
    assert not report.passed
    (violation,) = report.violations
    assert violation.over == report.metrics.flash_bytes.value - 4096


def test_a_met_budget(folder, command):
    limits = ("--max-flash", "64KiB", "--max-ram", "8KiB", "--max-latency", "1s")
    code, out, err = command("build", "small.tflite", "--target", "cortex-m4", *limits)
    assert (code, err) == (0, "")
    assert out.startswith("small for cortex-m4: fits\n")
    assert "64 KiB" in out and "█" in out
    assert "checked: 8 samples on simulated cortex-m4: all 80 output bytes" in out.replace(
        "\n", " "
    )
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = command("build", "small.tflite", "--target", "cortex-m4", *limits)
    assert code == 0 and "cached: nothing changed since the last build" in out.replace("\n", " ")
    code, out, _ = command("build", "small.tflite", "--target", "cortex-m4", *limits, "--no-cache")
    assert code == 0 and "cached" not in out


@pytest.mark.parametrize(
    ("flag", "limit", "words", "advice"),
    [
        (
            "--max-flash",
            "8KiB",
            ["flash budget missed by", "flash by compiler"],
            "--max-flash ",
        ),
        ("--max-ram", "512B", ["RAM budget missed by", "B live"], "--max-ram "),
        ("--max-latency", "10us", ["latency budget missed by", "% of the time"], "a faster target"),
        ("--max-accuracy-drop", "1%", ["cannot be checked"], "data with labels"),
    ],
)
def test_a_missed_budget(folder, command, flag, limit, words, advice):
    code, out, err = command("build", "small.tflite", "--target", "cortex-m4", flag, limit)
    assert code == 1
    assert out.startswith("small for cortex-m4: DOES NOT PASS\n")
    assert err.startswith("error: small for cortex-m4: ") and "Traceback" not in err
    for word in (*words, advice, "from the command line"):
        assert word in err
    # A build that misses its budget is still there to be looked into.
    assert (folder / "build/small-cortex-m4/firmware.elf").is_file()


def test_memory_that_does_not_suffice(folder, command):
    (folder / "tiny.toml").write_text(
        'schema = 1\nname = "tiny"\nbased_on = "cortex-m4"\n'
        '[[memory]]\nname = "flash"\nkind = "flash"\norigin = 0\nsize = "8KiB"\n'
        '[[memory]]\nname = "ram"\nkind = "ram"\norigin = 0x20000000\nsize = "64KiB"\n'
    )
    code, out, err = command("build", "small.tflite", "--target", "tiny.toml")
    assert code == 1 and out == ""
    assert err.startswith("error: small for tiny: flash budget missed by ")
    assert "FULLY_CONNECTED 5,160 B of weights" in err
    assert "linked with " in err and "too large for flash by " in err
    assert "try: " in err and "or a target with more flash" in err
    code, out, said = command("check", "small.tflite", "--target", "tiny.toml")
    first, *_, hint = err.splitlines()
    assert code == 1 and said.splitlines()[0] == first and said.splitlines()[-1] == hint
    assert not (folder / "build").exists() or files(folder / "build") == set()
    small_ram = (folder / "tiny.toml").read_text().replace("64KiB", "4KiB")
    (folder / "tiny.toml").write_text(small_ram.replace("8KiB", "1MiB"))
    with pytest.raises(CheckFailedError, match="RAM of tiny is too small: ram has") as caught:
        edgebuild.build("small.tflite", target="./tiny.toml")
    assert any("CONV_2D" in line for line in caught.value.details)


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
@pytest.mark.parametrize("name", ["eb", "EB Arena", "sem", "main"])
def test_names_that_are_taken_compile(folder, target, name):
    (folder / "small.tflite").rename(folder / f"{name}.tflite")
    report = edgebuild.build(f"{name}.tflite", target=target, samples=1)
    assert report.passed and report.name.startswith("model_")
    assert any("the C code is called model_" in note for note in report.notes)


def test_json(folder, command):
    code, out, err = command("build", "small.tflite", "--target", "cortex-m0plus", "--json")
    assert (code, err) == (0, "")
    (value,) = json.loads(out)["reports"]
    assert value["passed"] and value["cached"] is False
    assert report_from_json(value).target["name"] == "cortex-m0plus"
    code, out, _ = command(
        *("build", "small.tflite", "--target", "cortex-m0plus", "--json", "--max-ram", "100B")
    )
    assert code == 1
    (value,) = json.loads(out)["reports"]
    assert value["violations"][0]["budget"] == "ram"


def test_two_targets_on_one_line(folder, command):
    code, out, _ = command(
        *("build", "small.tflite", "--target", "cortex-m4", "--target", "host", "--name", "net")
    )
    assert code == 0
    assert [line for line in out.splitlines() if line.endswith(": fits")] == [
        "net for cortex-m4: fits",
        "net for host: fits",
    ]
    assert (folder / "build/net-cortex-m4/lib/net.h").is_file()
    assert (folder / "build/net-host/lib/net.h").is_file()


def test_a_project_with_two_targets(folder, command):
    (folder / "edgebuild.toml").write_text(
        'model = "small.tflite"\ntargets = ["cortex-m4", "mine.toml"]\nout = "made"\n'
        '[budget]\nmax_flash = "64KiB"\n[target.cortex-m4.budget]\nmax_flash = "8KiB"\n'
    )
    (folder / "mine.toml").write_text(
        'schema = 1\nname = "mine"\nbased_on = "cortex-m0plus"\ncpu.clock_hz = 8_000_000\n'
    )
    code, out, err = command("build")
    assert code == 1
    assert "small for cortex-m4: DOES NOT PASS" in out and "small for mine: fits" in out
    assert "flash budget missed" in err and "8 KiB" in err
    assert (folder / "made/small-mine/firmware.elf").is_file()
    code, out, err = command("build", "--target", "cortex-m4", "--max-flash", "64KiB")
    assert (code, err) == (0, "")
    code, out, err = command("build", "--json")
    reports = {r["target"]["name"]: r for r in json.loads(out)["reports"]}
    assert code == 1 and set(reports) == {"cortex-m4", "mine"}
    mine = reports["mine"]
    assert mine["cached"] is True
    cycles, latency = mine["run"]["cycles"]["value"], mine["metrics"]["latency_us"]["value"]
    assert latency == pytest.approx(cycles / 8)


def test_check(folder, command):
    code, out, err = command("check", "small.tflite", "--target", "cortex-m4")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "small.tflite fits cortex-m4"
    assert max(map(len, out.splitlines())) <= 80
    code, out, err = command(
        *("check", "small.tflite", "--target", "cortex-m4", "--max-ram", "256B")
    )
    assert code == 1 and "small for cortex-m4: RAM budget missed by" in err
    slow = ("check", "small.tflite", "--max-latency", "1us", "--target")
    code, out, err = command(*slow, "cortex-m4")
    assert code == 1 and "latency budget missed by" in err and "predicted: cortex-m4" in err
    code, out, err = command(*slow, "cortex-m55")
    assert code == 1 and "not known without a run" in out
    assert "small for cortex-m55: latency budget cannot be checked" in err
    code, out, _ = command("check", "small.tflite", "--target", "cortex-m4", "--json")
    found = json.loads(out)
    assert found["fits"] is True and found["target"] == "cortex-m4"
    built = edgebuild.build("small.tflite", target="cortex-m4")
    assert found["arena_bytes"] == built.memory["arena"].value
    flash = found["metrics"]["flash_bytes"]["value"]
    assert flash == pytest.approx(built.metrics.flash_bytes.value, rel=0.35)
    latency = found["metrics"]["latency_us"]
    assert latency["how"] == "predicted"
    assert latency["value"] == pytest.approx(built.metrics.latency_us.value, rel=0.03)


def test_a_boards_latency_has_the_waits_for_its_memory(folder, command):
    """As bounds, beside the one with zero wait states; a limit between them is not kept."""
    built = edgebuild.build("small.tflite", target="nucleo-f446re")
    latency, zero_wait = built.metrics.latency_us, built.run["latency, zero wait states"]
    assert zero_wait.value < latency.low < latency.high == latency.value
    assert latency.source.endswith("plus waits for flash") and latency.how == "modelled"
    assert sum(layer.wait_cycles for layer in built.layers) > 0
    _, out, _ = command("check", "small.tflite", "--target", "nucleo-f446re", "--json")
    found = json.loads(out)
    predicted = found["metrics"]["latency_us"]
    assert predicted["low"] == pytest.approx(latency.low, rel=0.1)
    assert predicted["high"] == pytest.approx(latency.high, rel=0.1)
    assert found["zero_wait_us"]["value"] == pytest.approx(zero_wait.value, rel=0.03)
    between = f"{(predicted['low'] + predicted['high']) / 2:.1f}us"
    code, out, err = command(
        *("check", "small.tflite", "--target", "nucleo-f446re", "--max-latency", between),
        *("--optimize", "balanced"),
    )
    assert code == 1 and "latency budget may be missed" in err
    assert "with zero wait states" in out


def test_check_json_of_a_miss(folder, command):
    code, out, err = command(
        *("check", "small.tflite", "--target", "cortex-m4", "--max-flash", "1KiB", "--json")
    )
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["fits"] is False and found["violations"][0]["budget"] == "flash"


def test_check_without_data_ends_as_a_build_without_data(folder, command):
    Path("dense.tflite").write_bytes(write_tflite(base("FULLY_CONNECTED", "float32").graph()))
    same = []
    for verb in ("check", "build"):
        code, out, err = command(verb, "dense.tflite", "--target", "cortex-m4")
        assert code == 2 and (" B exactly, code about" in " ".join(out.split())) == (
            verb == "check"
        )
        same.append(err)
        code, out, err = command(verb, "dense.tflite", "--target", "cortex-m4", "--json")
        found = json.loads(out)
        assert (code, err) == (2, "") and ("metrics" in found) == (verb == "check")
        same.append(json.dumps(found["error"]))
    assert same[:2] == same[2:] and same[0].startswith(
        "error: dense.tflite: quantizing it to int8 needs calibration data, and there is no --data"
    )
    twice = ("check", "dense.tflite", "--target", "cortex-m4", "--target", "host", "--json")
    code, out, _ = command(*twice)
    found = json.loads(out)
    assert code == 2 and len(found["checks"]) == 2 and json.dumps(found["error"]) == same[1]
    code, _, err = command("check", "dense.tflite", "--target", "cortex-m4", "--max-flash", "1B")
    assert code == 2 and "flash budget missed" in err and "needs calibration data" in err


def test_inspect(folder, command):
    code, out, err = command("inspect", "small.tflite")
    assert (code, err) == (0, "")
    assert "14,336 MACs" in out
    for kind in KINDS:
        assert kind in out
    assert "memory over time on cortex-m4" in out
    assert re.search(r"predicted: [\d,]+ cycles, [\d.]+ ms on cortex-m4", out)
    assert max(map(len, out.splitlines())) <= 80
    code, out, _ = command("inspect", "small.tflite", "--target", "cortex-m0plus", "--json")
    found = json.loads(out)
    assert found["target"] == "cortex-m0plus" and found["macs"] == 14_336
    assert found["inputs"] == ["int8 1x8x8x1, scale 0.00392157, zero point -128 (image)"]


def test_an_unsupported_operator(folder, command):
    graph = small_graph()
    ops = (*graph.ops[:-1], Op("LOG_SOFTMAX", (11,), (12,)))
    (folder / "odd.tflite").write_bytes(write_tflite(graph.replace(ops=ops)))
    with pytest.raises(UnsupportedOperatorError, match="LOG_SOFTMAX"):
        edgebuild.build("odd.tflite", target="cortex-m4")
    code, _, err = command("build", "odd.tflite", "--target", "cortex-m4")
    assert code == 2 and "operator 4" in err and "`edgebuild ops list`" in err
    assert not (folder / "build").exists() or files(folder / "build") == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "cortex-m5"}, "did you mean 'cortex-m"),
        ({"target": "cortex-m4", "toolchain": "tcc"}, "unknown toolchain 'tcc'"),
        ({"target": "cortex-m4", "run": "simulater"}, "did you mean 'simulator'"),
        ({"target": "cortex-m4", "samples": 0}, "samples must be 1 to 4,294,967,295, not 0"),
        ({"target": "cortex-m4", "data": "no.npz"}, "no.npz"),
    ],
)
def test_bad_requests(folder, options, message):
    with pytest.raises(InputError, match=message):
        edgebuild.build("small.tflite", **options)
    assert not (folder / "build").exists() or files(folder / "build") == set()
