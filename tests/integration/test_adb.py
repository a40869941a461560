"""``edgebuild bench --device``: the real adb, a phone on loopback, the arm64 program in QEMU."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgebuild.cli.main import run as cli
from edgebuild.devices.adb import AdbDevice, AdbOptions
from edgebuild.devices.phone import link, workspace
from edgebuild.errors import EdgebuildError
from edgebuild.pipeline.plan import hash_path
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import make_samples
from tests.phone.fixtures import QUICK, bench, build_of, edited, wait_for
from tests.small import small_model

pytestmark = pytest.mark.adb
ROOT = Path(__file__).resolve().parents[2]
TMP = "/data/local/tmp"


WARM = {
    "thermalservice": (
        "Thermal Status: 2\nCached temperatures:\n"
        "\tTemperature{mValue=99.0, mType=0, mName=CPU0, mStatus=0}\n"
        "Current temperatures from HAL:\n"
        "\tTemperature{mValue=61.5, mType=0, mName=CPU0, mStatus=0}\n"
        "\tTemperature{mValue=38.25, mType=3, mName=skin, mStatus=0}"
    ),
    "battery": "  AC powered: false\n  USB powered: true\n  level: 77\n  temperature: 301",
}


def test_the_phone_is_one_to_adb_itself(adb_server, phones, tmp_path):
    phone = phones()
    content = os.urandom(700_001)
    (tmp_path / "file").write_bytes(content)
    on = ("-s", phone.serial)
    assert adb_server.adb(*on, "push", str(tmp_path / "file"), f"{TMP}/file").returncode == 0
    assert "file" in adb_server.adb(*on, "ls", TMP).stdout
    assert adb_server.adb(*on, "pull", f"{TMP}/file", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == content
    done = adb_server.adb(*on, "shell", f"wc -c < {TMP}/file; echo no >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "700001\n", "no\n")
    done = adb_server.adb(*on, "shell", f"base64 -w0 {TMP}/file; rm {TMP}/file")
    assert len(done.stdout) == 4 * -(-len(content) // 3)


def answer(outputs):
    first = {"edgebuild": 1, "model": "small", "isa": "base", "cpus": [0], "inputs": [64]}
    first |= {"outputs": outputs, "layers": 0, "arena_bytes": 64}
    last = {"done": True, "times_ns": [1] * 4, "layers_ns": [], "arena_used_bytes": 1}
    return f"{json.dumps(first)}\n{json.dumps(last)}\n".encode()


def test_measures_and_checks_every_byte(phone_build, phones, capsys):
    phone = phones(dumpsys=WARM)
    cpu = phone.place("/sys/devices/system/cpu/cpu4/cpufreq")
    cpu.mkdir(parents=True)
    for name, khz in (("scaling_cur", 900_000), ("scaling_max", 1_800_000), ("cpuinfo_max", 2.4e6)):
        (cpu / f"{name}_freq").write_text(f"{khz:.0f}\n")
    assert bench(phone_build, phone, "--samples", "5", "--runs", "30", "--cpus", "0", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"]["compared_bytes"] == 5 * 10
    assert report["comparison"]["different_bytes"] == 0
    assert phone.serial in report["comparison"]["device"]
    latency, run = report["metrics"]["latency_us"], report["run"]
    for part in ("median, Example Phone 1, Maker SM0001, Android 15 (API 35)", "CPU 0", "30 runs"):
        assert part in latency["source"]
    assert latency["how"] == "measured" and latency == run["latency, median"]
    order = [run[f"latency, {k}"]["value"] for k in ("shortest", "median", "p90", "p95", "p99")]
    assert order == sorted(order) and order[0] > 0
    assert order[-1] <= run["latency, longest"]["value"]
    assert all(layer["time_us"] >= 0 for layer in report["layers"])
    assert sum(layer["share"] for layer in report["layers"]) == pytest.approx(1)
    assert run["CPU temperature after"]["value"] == 61.5
    assert run["skin temperature before"]["value"] == 38.25
    assert run["battery temperature after"]["value"] == 30.1 and run["battery"]["value"] == 0.77
    assert report["memory"]["peak resident memory"]["value"] > 100_000
    assert "stack" in report["memory"] and "arena touched" in report["memory"]
    notes = "\n".join(report["notes"])
    assert "thermal status moderate" in notes
    assert "CPU 4 were limited, to 1.80 of 2.40 GHz" in notes


def test_the_report_for_people_and_a_missed_budget(phone_build, phones, capsys):
    phone = phones()
    assert bench(phone_build, phone, *QUICK, "--max-latency", "1ns") == 1
    captured = capsys.readouterr()
    text = " ".join(captured.out.split())
    assert "DOES NOT PASS" in text and "latency, p99" in text
    assert "the phone reports neither temperature" in text
    assert "latency budget missed by" in captured.err


def test_another_models_program_is_told_by_its_outputs(phone_build, phones, tmp_path, capsys):
    phone = phones()
    other = build_of(tmp_path, small_model(seed=1))
    shutil.copy(phone_build / "bench-arm64", other / "bench-arm64")
    other = edited(other, tmp_path / "other", without=["bench-arm64"])
    lock = json.loads((other / "build.lock").read_text())
    lock["artifacts"]["bench-arm64"] = hash_path(other / "bench-arm64")
    (other / "build.lock").write_text(json.dumps(lock))
    assert bench(other, phone, *QUICK) == 1
    assert "MISMATCH" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("faults", "message", "hint"),
    [
        ({"drop_push_after": 50_000}, "the connection broke while pushing bench-arm64", "adb dev"),
        ({"full_after": 50_000}, "pushing bench-arm64 failed: write failed: No space", "free some"),
        ({"push_refused": True}, "Permission denied", "shell user"),
        ({"full_output": True}, "No space left on device", "free space"),
        ({"noexec": True}, "the program cannot be started", "allowed to run"),
        ({"hang": True}, "bench-arm64 did not end in 1 s and was killed", "--time-limit"),
        ({"garbage": b"\xff\x00\x1b[2J\n{]\n"}, "first line is not a JSON object", "run it again"),
        ({"garbage": b'{"edgebuild": 1}\n{"done": true}\n'}, "'model' is absent", "run it again"),
        ({"garbage": answer([1 << 39])}, "the program reports 1,099,511,627,776 B", "--samples"),
        ({"garbage": answer([1, 9]), "outputs": bytes(20)}, "outputs of [1, 9] B", "another build"),
        ({"garbage": answer([9]), "outputs": bytes(18)}, "outputs of [9] B", "another build"),
        ({"garbage_packets": b"\xff" * 64}, "garbage while asking what it is", "cable"),
        ({"garbage_files": b"\xff" * 8}, "garbage while pulling output.bin", "cable"),
        ({"garbage_files": b"DATA\xff\xff\xff\x7f"}, "the file has more than 20 B", "adb shell"),
        ({"garbage_files": b"DATA\x15\0\0\0" + b"x" * 21}, "the file has more than 20 B", "adb"),
        ({"garbage_files": b"FAIL\xff\xff\xff\x7f"}, "garbage while pulling", "cable"),
        ({"garbage_files": b"FAIL\x04\0\0\0gone"}, "pulling output.bin failed: gone", "adb"),
        (
            {"garbage_files": b"STAT" + b"\x07\0\0\0" * 3, "garbage_files_for": b"STAT"},
            "pushing bench-arm64 failed: 7 of",
            "adb shell",
        ),
        (
            {"garbage_files": b"NOPE" + bytes(12), "garbage_files_for": b"STAT"},
            "garbage while pushing bench-arm64",
            "cable",
        ),
        ({"short_file": True}, "wrote 19 B of outputs, not 20 B", "run it again"),
        ({"vanish_on": "bench-arm64 --input"}, "the connection broke", "adb devices"),
        ({"vanish_after": "getprop"}, "the connection broke while", "adb devices"),
        ({"vanish_after": "@thermal"}, "the connection broke while", "adb devices"),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_a_fault_is_explained_and_leaves_nothing(
    phone_build, phones, faults, message, hint, capsys
):
    phone = phones(**faults)
    started = time.monotonic()
    code = bench(phone_build, phone, *QUICK, "--time-limit", "1s" if "hang" in faults else "60s")
    captured = capsys.readouterr()
    assert code == 3, captured.err
    assert message in captured.err and phone.serial in captured.err
    assert hint in captured.err.split("try:")[1]
    assert captured.out == "" and "\x1b" not in captured.err and "Traceback" not in captured.err
    assert time.monotonic() - started < 30


def test_a_phone_that_does_not_answer(phone_build, phones, monkeypatch, capsys):
    monkeypatch.setattr(link, "ANSWER_S", 2.0)
    phone = phones(silent_from="getprop")
    assert bench(phone_build, phone) == 3
    assert "no answer in time while asking what it is" in capsys.readouterr().err


def test_a_phone_that_tells_no_temperature_in_time_is_measured(
    phone_build, phones, monkeypatch, capsys
):
    from edgebuild.devices.phone import health

    monkeypatch.setattr(health, "_LIMIT_S", 0.3)
    phone = phones(silent_from="@thermal")
    assert bench(phone_build, phone, *QUICK, "--json") == 0
    notes = " ".join(json.loads(capsys.readouterr().out)["notes"])
    assert "neither temperature nor clocks" in notes


def test_what_may_be_left_on_a_vanished_phone_is_said(phone_build, phones, capsys):
    phone = phones(vanish_on="bench-arm64 --input", vanish_after_s=0.3)
    assert bench(phone_build, phone, "--runs", "1000000") == 3
    words = capsys.readouterr().err
    assert f"may be left on {phone.serial}; to remove it: adb -s {phone.serial} shell rm" in words


def test_a_phone_that_comes_back_is_cleaned_up(phone_build, phones, monkeypatch, capsys):
    monkeypatch.setattr(workspace, "REJOIN_S", 15.0)
    phone = phones(vanish_on="bench-arm64 --input")
    threading.Timer(1.0, phone.start).start()
    assert bench(phone_build, phone, *QUICK) == 3
    words = capsys.readouterr().err
    assert "the connection broke" in words and "may be left" not in words
    assert any("rm -rf" in command and "mkdir" not in command for command in phone.commands)


def test_a_killed_edgebuild_leaves_nothing_on_the_phone(phone_build, phones, adb_server):
    phone = phones()
    command = [
        sys.executable,
        "-m",
        "edgebuild",
        "bench",
        str(phone_build),
        "--device",
        phone.serial,
    ]
    process = subprocess.Popen(
        [*command, "--runs", "1000000"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: any(b"aarch64" in cmdline(p) for p in phone.processes()), 30)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # The fixture checks that files and processes go.


def cmdline(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"unauthorized": True}, "is not ready: unauthorized", "Allow USB debugging"),
        ({"offline": True}, "is not ready: offline", "reconnect"),
        ({"properties": {"ro.product.cpu.abi": "x86_64"}}, "ABI is 'x86_64'", "64-bit Arm"),
        ({"features": "cmd"}, "reports no exit codes", "Android 7"),
    ],
    ids=["unauthorized", "offline", "abi", "old"],
)
def test_a_phone_that_cannot_be_used(phone_build, phones, options, message, hint, capsys):
    phone = phones(**options)
    assert bench(phone_build, phone) == 3
    words = capsys.readouterr().err
    assert message in words and hint in words


def test_which_device(phone_build, phones, adb_server, tmp_path, capsys):
    program = phone_build / "bench-arm64"
    with pytest.raises(EdgebuildError, match="no device is connected"):
        AdbDevice(program, "small", client=adb_server.client)
    assert cli(["bench", str(phone_build), "--device", "all"]) == 3
    one = phones()
    assert AdbDevice(program, "small", client=adb_server.client).serial == one.serial
    two = phones()
    with pytest.raises(EdgebuildError, match="several devices") as caught:
        AdbDevice(program, "small", client=adb_server.client)
    assert sorted(caught.value.details) == sorted([one.serial, two.serial])
    capsys.readouterr()
    assert cli(["bench", str(phone_build), "--device", f"{one.serial}9"]) == 3
    assert f"did you mean '{one.serial}'" in capsys.readouterr().err


def test_two_phones_at_once_each_with_its_own_outcome(phone_build, phones, capsys):
    good, bad = phones(), phones(full_after=10)
    assert cli(["bench", str(phone_build), "--device", "all", *QUICK, "--json"]) == 3
    found = {d["device"]: d for d in json.loads(capsys.readouterr().out)["devices"]}
    assert found[good.serial]["report"]["comparison"]["different_bytes"] == 0
    assert "No space left" in found[bad.serial]["error"]["message"]
    both = ["bench", str(phone_build), "--device", good.serial, "--device", bad.serial, *QUICK]
    bad.faults.full_after = None
    assert cli(both) == 0
    assert capsys.readouterr().out.count("output bytes are identical") == 2


def test_an_instruction_set_that_the_phone_lacks(phone_build, phones, capsys):
    phone = phones(cpu="cortex-a53")
    assert bench(phone_build, phone, *QUICK, "--isa", "i8mm") == 3
    assert "instruction set or the CPUs are not available" in capsys.readouterr().err
    assert bench(phone_build, phone, *QUICK, "--json") == 0
    assert "base kernels" in json.loads(capsys.readouterr().out)["metrics"]["latency_us"]["source"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "bench needs a device: --port, --device, --host or --usb"),
        (["--port", "x", "--device", "y"], "--port and --device cannot be used together"),
        (["--port", "x", "--runs", "3"], "--runs is for phones"),
        (["--device", "x", "--baud", "9600"], "--baud cannot be used with --device"),
        (["--device", "x", "--accelerator", "a"], "--accelerator without --benchmark-model"),
    ],
)
def test_flags_that_do_not_go_together(phone_build, flags, message, capsys):
    assert cli(["bench", str(phone_build), *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_build_without_the_program(phone_build, phones, tmp_path, capsys):
    phone = phones()
    copy = edited(phone_build, tmp_path / "copy", without=["bench-arm64"])
    assert bench(copy, phone) == 2
    assert "has no arm64 program (bench-arm64)" in capsys.readouterr().err


def test_a_phones_build_has_no_firmware(phone_build, capsys):
    assert cli(["bench", str(phone_build), "--port", "/dev/null"]) == 2
    error = capsys.readouterr().err
    assert "has no firmware: it was built for android-cpu" in error
    assert "try: to measure this build, pass --device SERIAL" in error


def test_a_phone_without_timeout_is_measured_too(phone_build, phones, adb_server):
    """Old Androids have no timeout program; the host's time limit holds alone."""
    phone = phones()
    on = AdbDevice(phone_build / "bench-arm64", "small", phone.serial, client=adb_server.client)
    samples = make_samples(read_tflite(small_model()), 2, 0)
    with without_timeout(phone):
        assert len(on.run(samples).outputs) == 2
        phone.faults.hang = True
        options = AdbOptions(time_limit_s=0.5)
        on = AdbDevice(
            phone_build / "bench-arm64",
            "small",
            phone.serial,
            options=options,
            client=adb_server.client,
        )
        with pytest.raises(EdgebuildError, match="was killed"):
            on.run(samples)


@contextmanager
def without_timeout(phone):
    """Give the phone a path on which there is no timeout."""
    tools = phone.place("/system/bin")
    for name in ("sh", "mkdir", "rm", "cat", "grep", "chmod", "kill", "echo", "wc"):
        (tools / name).symlink_to(shutil.which(name))
    phone.path = str(tools)
    yield


def test_doctor_tells_the_phones(phones, capsys):
    phone = phones()
    cli(["doctor", "--json"])
    checks = {c["name"]: c for c in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["adb"]["status"] == "ok" and "1.0" in checks["adb"]["found"]
    assert checks["phones"]["found"] == f"{phone.serial} (device)"
