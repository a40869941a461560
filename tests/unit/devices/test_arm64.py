"""The arm64 benchmark program: arguments, its answer from friend and foe, and runs under QEMU."""

from __future__ import annotations

import json
import shutil
import subprocess
import time

import pytest

from edgebuild.backends.arm64 import compile_arm64_program
from edgebuild.backends.emit import emit_library
from edgebuild.backends.native import compile_for_host
from edgebuild.devices import arm64
from edgebuild.devices.arm64 import (
    QemuArm64Device,
    parse_result,
    program_arguments,
    program_failure,
    split_outputs,
    to_run_result,
)
from edgebuild.errors import InputError, InternalError, ToolError
from edgebuild.targets import CpuFeatures
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import make_samples
from tests.conftest import ROOT
from tests.small import small_model

FIRST = {
    "edgebuild": 1,
    "model": "small",
    "isa": "dotprod",
    "cpus": [0, 4],
    "inputs": [64],
    "outputs": [10, 2],
    "layers": 2,
    "arena_bytes": 4096,
}
LAST = {
    "done": True,
    "times_ns": [1500, 1000, 2000],
    "layers_ns": [700, 300],
    "arena_used_bytes": 4000,
    "stack_bytes": None,
    "peak_rss_kib": 800,
    "governor": "schedutil",
}


def answer(first=FIRST, last=LAST):
    return f"{json.dumps(first)}\n{json.dumps(last)}\n"


def parsed(text=None, **options):
    asked = {"model": "small", "runs": 3, "layers": True, "label": "phone", **options}
    return parse_result(answer() if text is None else text, **asked)


def test_arguments():
    assert program_arguments("i", "o", 4) == [
        *("--input", "i", "--output", "o", "--count", "4", "--warmup", "0", "--runs", "0")
    ]
    whole = program_arguments("i", "o", 1, warmup=2, runs=3, isa="i8mm", cpus="0-3", layers=True)
    assert whole[6:] == [
        *("--warmup", "2", "--runs", "3", "--isa", "i8mm", "--cpus", "0-3", "--layers")
    ]
    with pytest.raises(InputError, match="'sve' is not an instruction set"):
        program_arguments("i", "o", 1, isa="sve")


def test_a_good_answer():
    result = parsed()
    assert (result.isa, result.cpus, result.governor) == ("dotprod", (0, 4), "schedutil")
    assert (result.times_ns, result.layers_ns) == ((1500, 1000, 2000), (700, 300))
    assert result.stack_bytes is None
    outputs = split_outputs(result, bytes(range(24)), 2, "phone")
    assert outputs[1] == (bytes(range(12, 22)), bytes([22, 23]))
    run = to_run_result(result, outputs, "phone", timed=True)
    assert (run.latency_us.value, run.shortest_us.value) == (2.0, 1.0)
    assert run.latency_us.source == "phone, dotprod kernels, 3 runs"
    assert [layer.time_us for layer in run.layers] == [0.7, 0.3]
    untimed = to_run_result(result, outputs, "qemu max", timed=False)
    assert (untimed.latency_us, untimed.shortest_us, untimed.layers) == (None, None, ())


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ({"edgebuild": 2}, {}, "'edgebuild' is 2, not 1: another version"),
        ({"edgebuild": True}, {}, "'edgebuild' is true, not an integer"),
        ({"model": "other"}, {}, "'model' is \"other\", not 'small'"),
        ({"model": ["small"]}, {}, "'model' is .* not a short text"),
        ({"isa": "sve"}, {}, "'isa' is \"sve\", not one of base, dotprod, i8mm"),
        ({"isa": None}, {}, "'isa' is null, not a short text"),
        ({"cpus": "0-3"}, {}, "'cpus' is \"0-3\", not a list"),
        ({"inputs": [64.5]}, {}, "'inputs' is .* not a list"),
        ({"outputs": [-1]}, {}, "'outputs' is .* not a list"),
        ({"layers": 10**9}, {}, "'layers' is 1000000000"),
        ({"arena_bytes": "4096"}, {}, "'arena_bytes' is \"4096\""),
        ({}, {"done": 1}, "'done' is 1, not true"),
        ({}, {"times_ns": [1, 2]}, "'times_ns' is .* not a list of 3 integers"),
        ({}, {"times_ns": [1, 2, 1e300]}, "'times_ns' is .* not a list"),
        ({}, {"layers_ns": [1]}, "'layers_ns' is .* not a list of 2"),
        ({}, {"arena_used_bytes": 5000}, "'arena_used_bytes' is 5000, .* to 4,096"),
        ({}, {"stack_bytes": -4}, "'stack_bytes' is -4"),
        ({}, {"peak_rss_kib": [1]}, "'peak_rss_kib' is"),
        ({}, {"governor": "a\nb"}, "'governor' is .* not a short text"),
        ({}, {"governor": "x" * 999}, "'governor' is .* not a short text"),
    ],
)
def test_each_wrong_value_is_named(first, last, message):
    with pytest.raises(ToolError, match=message) as caught:
        parsed(answer({**FIRST, **first}, {**LAST, **last}))
    assert caught.value.message.startswith("phone: the program's")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 of at least 2 lines"),
        (json.dumps(FIRST), "has 1 of at least 2 lines"),
        ("Segmentation fault\nbye\n", "first line is not a JSON object"),
        (json.dumps(FIRST) + "\n[1]\n", "last line is not a JSON object"),
        (json.dumps(FIRST) + "\n" + "[" * 100_000 + "\n", "last line is not a JSON object"),
        (json.dumps(FIRST) + '\n{"done":true,"times_n', "last line is not a JSON object"),
        ("{}\n{}\n", "'edgebuild' is absent"),
        (json.dumps(FIRST) + '\n{"done":true}\n', "'times_ns' is absent"),
        ("\x00\xff" * 50, "lines"),
        ("9" * 5000 + "\n{}\n", "first line is not a JSON object"),
    ],
)
def test_garbage(text, message):
    with pytest.raises(ToolError, match=message):
        parsed(text)


def test_the_answer_in_the_documentation():
    text = (ROOT / "docs" / "arm64.md").read_text()
    example = text.split("```json\n")[1].split("```")[0]
    result = parsed(example, model="net", runs=2)
    assert (result.layers, result.times_ns) == (2, (812_000, 809_000))


def test_an_endless_answer():
    with pytest.raises(ToolError, match="printed more than"):
        parsed("x" * (arm64.MAX_ANSWER_CHARS + 1))


def test_outputs_of_the_wrong_size():
    with pytest.raises(ToolError, match="phone: the program wrote 23 B of outputs, not 24 B"):
        split_outputs(parsed(), bytes(23), 2, "phone")


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (2, InternalError, "refused its arguments"),
        (3, ToolError, "cannot read or write a file"),
        (4, ToolError, "the model refused to run"),
        (5, ToolError, "instruction set or the CPUs are not available"),
        (139, ToolError, "ended with exit code 139"),
        (-9, ToolError, "ended with signal 9"),
    ],
)
def test_exit_codes(code, kind, message):
    error = program_failure(code, "why\nand where", "phone")
    assert isinstance(error, kind)
    assert error.message.startswith("phone: ") and message in error.message
    assert error.details == ("why", "and where")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The small model as an arm64 program, and what the host's build answers."""
    if shutil.which(arm64.QEMU) is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    folder = tmp_path_factory.mktemp("arm64")
    graph = read_tflite(small_model())
    samples = make_samples(graph, 5, seed=0)
    program = compile_arm64_program(
        emit_library(graph, "small", CpuFeatures(neon=True)), folder, lambda _: None
    )
    host = compile_for_host(
        emit_library(graph, "small", CpuFeatures()), "zig", folder, lambda _: None
    )
    return program, samples, host.run(samples).outputs


@pytest.mark.qemu
@pytest.mark.parametrize(("cpu", "isa"), [("cortex-a53", None), ("max", "base"), ("max", None)])
def test_qemu_answers_as_the_host(built, cpu, isa):
    program, samples, expected = built
    result = QemuArm64Device(program, "small", cpu=cpu, isa=isa).run(samples)
    assert result.outputs == expected
    assert result.latency_us is None and result.device == f"qemu {cpu}"
    assert 0 < result.stack_bytes.value < 4096
    assert result.arena_bytes.value > 64
    # 8 x 8 x 8 x 9 products of each convolution and 5120 of the layer behind them.
    assert 2_000 < result.instructions.value < 60_000
    assert sum(layer.instructions for layer in result.layers) == result.instructions.value
    again = QemuArm64Device(program, "small", cpu=cpu, isa=isa).run(samples[:1])
    assert again.instructions == result.instructions
    plain = QemuArm64Device(program, "small", cpu=cpu, isa=isa, count=False).run(samples)
    assert plain.outputs == expected and plain.instructions is None


@pytest.mark.qemu
def test_the_whole_protocol(built, tmp_path):
    program, samples, expected = built
    (tmp_path / "in").write_bytes(arm64.input_bytes(samples))
    arguments = program_arguments(
        *(str(tmp_path / "in"), str(tmp_path / "out"), len(samples)),
        warmup=1,
        runs=3,
        layers=True,
        cpus="0",
    )
    done = subprocess.run([arm64.QEMU, program, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    result = parse_result(done.stdout, model="small", runs=3, layers=True, label="qemu")
    assert split_outputs(result, (tmp_path / "out").read_bytes(), 5, "qemu") == expected
    assert result.cpus == (0,)
    assert all(ns > 0 for ns in result.times_ns)
    assert len(result.layers_ns) == result.layers == 5


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--isa", "dotprod"], 5, "the CPU lacks the instruction set"),
        (["--isa", "sve"], 2, "--isa: 'sve'"),
        (["--count", "-1"], 2, "--count: '-1'"),
        (["--count", "99999999999999999999"], 2, "--count"),
        (["--runs", "1x"], 2, "--runs: '1x'"),
        (["--cpus", "3-1"], 2, "--cpus: '3-1'"),
        (["--cpus", "0,"], 2, "--cpus: '0,'"),
        (["--cpus", "1023"], 5, "the CPUs cannot be used"),
        (["--fast", "1"], 2, "unknown option: '--fast'"),
        (["--output"], 3, "No such file"),
        (["--input", "absent"], 3, "absent: No such file or directory"),
        (["--output", "/"], 3, "/: Is a directory"),
        (["--count", "4"], 3, "has more than the 256 bytes"),
        (["--count", "6"], 3, "has fewer than the 384 bytes"),
    ],
)
def test_what_the_program_refuses(built, tmp_path, options, code, message):
    program, samples, _ = built
    (tmp_path / "in").write_bytes(arm64.input_bytes(samples))
    command = [arm64.QEMU, "-cpu", "cortex-a53", program]
    command += ["--input", "in", "--output", "out", "--count", "5", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr


@pytest.mark.qemu
def test_errors_of_the_device(built, tmp_path, monkeypatch):
    program, samples, _ = built
    with pytest.raises(ToolError, match="qemu cortex-a53: the instruction set"):
        QemuArm64Device(program, "small", cpu="cortex-a53", isa="i8mm").run(samples)
    with pytest.raises(ToolError, match="'model' is \"small\", not 'big'"):
        QemuArm64Device(program, "big").run(samples)
    with pytest.raises(ToolError, match="cannot read or write"):
        QemuArm64Device(program, "small").run([(b"short",)])
    with pytest.raises(ToolError, match="exit code"):
        QemuArm64Device(program, "small", cpu="cortex-z1").run(samples)
    with pytest.raises(ToolError, match=r"exit code|cannot be started"):
        QemuArm64Device(tmp_path / "absent", "small").run(samples)


def test_no_qemu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError, match="qemu-aarch64 is not installed") as caught:
        QemuArm64Device(tmp_path / "x", "small").run([(b"",)])
    assert "qemu-user" in caught.value.hint


def test_qemu_that_hangs(monkeypatch, tmp_path):
    script = tmp_path / arm64.QEMU
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(arm64, "_TIMEOUT_S", 0.3)
    start = time.monotonic()
    with pytest.raises(ToolError, match="did not end in 0 s"):
        QemuArm64Device(tmp_path / "x", "small", count=False).run([(b"",)])
    assert time.monotonic() - start < 10
