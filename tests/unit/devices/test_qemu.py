"""The firmware on QEMU's boards, and a QEMU that is absent, refuses, hangs or ends."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

import edgebuild
from edgebuild.devices import qemu
from edgebuild.devices.qemu import QemuDevice
from edgebuild.errors import ToolError
from edgebuild.targets import list_targets
from edgebuild.toolchain import Image
from tests.small import small_model

BOARDS = sorted(t.name for t in list_targets() if t.name == t.run.qemu_machine)


def device(machine="mps2-an386"):
    return QemuDevice(Image(Path("none.elf"), Path(), Path(), (), (), ""), machine, "net")


def script(folder, text, monkeypatch):
    program = folder / qemu.PROGRAM
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_absent(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError, match="qemu-system-arm is not installed") as caught:
        device().run([])
    assert "--run simulator" in caught.value.hint


def test_ends_at_once(tmp_path, monkeypatch):
    script(tmp_path, "echo no such board >&2; exit 1", monkeypatch)
    with pytest.raises(ToolError, match="did not start") as caught:
        device().run([])
    assert "no such board" in " ".join(caught.value.details)


def test_never_names_its_terminal(tmp_path, monkeypatch):
    script(tmp_path, "exec sleep 60", monkeypatch)
    monkeypatch.setattr(qemu, "_START_S", 0.3)
    with pytest.raises(ToolError, match="did not start"):
        device().run([])


MUTE = """
import os, sys, time
open("pid", "w").write(str(os.getpid()))
master, slave = os.openpty()
print("char device redirected to", os.ttyname(slave), "(label serial0)", flush=True)
time.sleep({seconds})
sys.exit("qemu: fatal: it broke")
"""


def mute(folder, seconds, monkeypatch):
    (folder / "mute.py").write_text(MUTE.format(seconds=seconds))
    script(folder, f"exec {sys.executable} mute.py", monkeypatch)
    monkeypatch.chdir(folder)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_hangs(tmp_path, monkeypatch):
    mute(tmp_path, 600, monkeypatch)
    start = time.monotonic()
    with pytest.raises(ToolError, match="no answer to identify"):
        device().run([])
    assert time.monotonic() - start < 15
    assert gone(int((tmp_path / "pid").read_text()))


def test_ends_while_it_is_asked(tmp_path, monkeypatch):
    mute(tmp_path, 0.5, monkeypatch)
    with pytest.raises(ToolError, match="qemu-system-arm ended while it ran") as caught:
        device().run([])
    assert "qemu: fatal: it broke" in caught.value.details


def test_is_ended_when_the_user_interrupts(tmp_path, monkeypatch):
    mute(tmp_path, 600, monkeypatch)
    with pytest.raises(KeyboardInterrupt), device().emulator():
        raise KeyboardInterrupt
    assert gone(int((tmp_path / "pid").read_text()))


@pytest.mark.qemu
@pytest.mark.parametrize("board", BOARDS)
def test_every_byte_over_the_serial_line(board, tmp_path):
    """The oracle is TFLite Micro; samples are zeros, highest, lowest and random ones."""
    if shutil.which(qemu.PROGRAM) is None:
        pytest.skip("qemu-system-arm is not installed")
    (tmp_path / "small.tflite").write_bytes(small_model())
    report = edgebuild.build(
        tmp_path / "small.tflite", target=board, out=tmp_path, run="qemu", samples=8
    )
    comparison = report.comparison
    assert comparison is not None and comparison.device == f"qemu {board}"
    assert (comparison.compared_bytes, comparison.different_bytes) == (80, 0)
    assert report.passed
    assert 0 < report.memory["stack"].value < 4096
    assert report.memory["stack"].how == "measured"


def test_all_of_qemus_boards_are_run():
    assert BOARDS == ["mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547"]


@pytest.mark.qemu
def test_refuses_the_firmware():
    if shutil.which(qemu.PROGRAM) is None:
        pytest.skip("qemu-system-arm is not installed")
    with pytest.raises(ToolError, match=r"did not start|ended while it ran"):
        device().run([(b"",)])
