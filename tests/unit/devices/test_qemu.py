"""QEMU that is absent, refuses, or ends at once; a real one is in the integration tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edgebuild.devices import qemu
from edgebuild.devices.qemu import QemuDevice
from edgebuild.errors import ToolError
from edgebuild.toolchain import Image


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


@pytest.mark.qemu
def test_refuses_the_firmware():
    if shutil.which(qemu.PROGRAM) is None:
        pytest.skip("qemu-system-arm is not installed")
    with pytest.raises(ToolError, match=r"did not start|ended while it ran"):
        device().run([(b"",)])
