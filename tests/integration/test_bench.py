"""``edgebuild bench`` over a real serial line: the firmware in QEMU, a pseudo-terminal between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edgebuild
from edgebuild.cli.main import run as cli
from edgebuild.devices.qemu import QemuDevice
from edgebuild.errors import ToolError
from edgebuild.pipeline.runners import serial
from edgebuild.toolchain import Image
from tests.small import small_model


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "small.tflite").write_bytes(small_model())
    edgebuild.build(folder / "small.tflite", target="cortex-m4", out=folder / "out")
    return folder / "out" / "small-cortex-m4"


@pytest.fixture
def port(build):
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    image = Image(build / "firmware.elf", build / "firmware.bin", Path(), (), (), "")
    with QemuDevice(image, "mps2-an386", "small").emulator() as name:
        yield name


@pytest.mark.qemu
def test_measures_and_checks_every_byte(build, port, capsys):
    assert cli(["bench", str(build), "--port", port, "--samples", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"]["compared_bytes"] == 4 * 10
    assert report["comparison"]["different_bytes"] == 0
    shortest, longest = (report["run"][f"latency, {k}"]["value"] for k in ("shortest", "longest"))
    assert 0 < shortest <= longest == report["metrics"]["latency_us"]["value"]
    assert report["metrics"]["latency_us"]["how"] == "measured"
    assert all(layer["cycles"] is None for layer in report["layers"])
    assert sum(layer["share"] for layer in report["layers"]) == pytest.approx(1)
    parts = [report["memory"][k]["value"] for k in ("arena", "static data", "stack")]
    assert report["metrics"]["ram_bytes"]["value"] == sum(parts)


@pytest.mark.qemu
def test_a_missed_budget_fails(build, port, capsys):
    assert cli(["bench", str(build), "--port", port, "--samples", "1", "--max-latency", "1us"]) == 1
    captured = capsys.readouterr()
    assert "DOES NOT PASS" in captured.out
    assert "latency budget missed by" in captured.err
    assert "% of the time" in captured.err


@pytest.mark.qemu
def test_another_model_on_the_board_is_told_by_its_outputs(build, port, tmp_path, capsys):
    other = tmp_path / "other.tflite"
    other.write_bytes(small_model(seed=1))
    edgebuild.build(other, target="cortex-m4", name="small", out=tmp_path / "out", run="none")
    folder = tmp_path / "out" / "small-cortex-m4"
    assert cli(["bench", str(folder), "--port", port, "--samples", "4"]) == 1
    captured = capsys.readouterr()
    assert "MISMATCH" in captured.out
    assert "another build is on the device" in " ".join(captured.out.split())


@pytest.mark.parametrize(("flags", "baud"), [([], 9_600), (["--baud", "921600"], 921_600)])
def test_the_baud_rate_is_the_profiles_or_the_flags(
    build, flags, baud, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "copy"
    shutil.copytree(build, folder)
    report = json.loads((folder / "report.json").read_text())
    report["target"]["run"]["serial_baud"] = 9_600
    (folder / "report.json").write_text(json.dumps(report))
    lock = json.loads((folder / "build.lock").read_text())
    del lock["artifacts"]["report.json"]
    (folder / "build.lock").write_text(json.dumps(lock))
    opened = []

    def refuse(port, baud, **_):
        opened.append((port, baud))
        raise ToolError("refused")

    monkeypatch.setattr(serial, "SerialDevice", refuse)
    assert cli(["bench", str(folder), "--port", "/dev/x", *flags]) == 3
    assert opened == [("/dev/x", baud)] and "refused" in capsys.readouterr().err


def test_needs_a_whole_build(build, tmp_path, capsys):
    assert cli(["bench", str(tmp_path), "--port", "/dev/null"]) == 2
    assert "is not a build folder: build.lock is missing" in capsys.readouterr().err

    copy = tmp_path / "copy"
    shutil.copytree(build, copy)
    (copy / "model.tflite").write_bytes(b"other")
    assert cli(["bench", str(copy), "--port", "/dev/null"]) == 2
    assert "model.tflite has changed since the build" in capsys.readouterr().err

    (copy / "report.json").write_text("[]")
    assert cli(["bench", str(copy), "--port", "/dev/null"]) == 2
    assert "damaged" in capsys.readouterr().err

    report = json.loads((build / "report.json").read_text())
    (copy / "report.json").write_text(json.dumps({**report, "schema": 99}))
    assert cli(["bench", str(copy), "--port", "/dev/null"]) == 2
    assert "schema 99" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--port", "/dev/null"], ["--device", "all"], ["--usb"]])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", " is not a build folder: build.lock is missing"),
        ("absent", ": no such folder"),
        ("small.tflite", " is a file, not a build folder"),
    ],
)
def test_what_is_no_build_is_told_before_a_device_is_asked(tmp_path, name, words, flags, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "small.tflite").write_bytes(small_model())
    assert cli(["bench", str(tmp_path / name), *flags]) == 2
    error = capsys.readouterr().err
    assert f"{name}{words}" in error
    assert "try: pass the output folder of `edgebuild build`" in error


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        (["--device", "x"], "arm64 program (bench-arm64)"),
        (["--device", "all"], "arm64 program (bench-arm64)"),
        (["--host", "user@board"], "compiled model (model_edgetpu.tflite)"),
        (["--usb"], "compiled model (model_edgetpu.tflite)"),
    ],
)
def test_a_boards_build_is_not_for_other_devices(build, flags, missing, capsys):
    assert cli(["bench", str(build), *flags]) == 2
    error = capsys.readouterr().err
    assert f"{build} has no {missing}: it was built for cortex-m4" in error
    assert "try: to measure this build, connect its board and pass --port PORT; " in error


@pytest.mark.parametrize("target", ["host", "coral-devboard"])
def test_a_build_without_firmware(tmp_path, target, capsys):
    (tmp_path / "small.tflite").write_bytes(small_model())
    edgebuild.build(tmp_path / "small.tflite", target=target, out=tmp_path, run="none")
    folder = tmp_path / f"small-{target}"
    assert cli(["bench", str(folder), "--port", "/dev/null"]) == 2
    error = capsys.readouterr().err
    assert f"{folder} has no firmware: it was built for {target}" in error
    assert "try: build for a board" in error
    assert cli(["bench", str(folder), "--device", "all"]) == 2
    assert "has no arm64 program" in capsys.readouterr().err
