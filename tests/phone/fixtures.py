"""Fixtures of tests with phones: the real adb server, a build for phones, phones on loopback."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import edgebuild
from edgebuild.cli.main import run as cli
from edgebuild.devices.phone import workspace
from tests.phone.daemon import Faults, LoopbackPhone
from tests.phone.server import AdbServer, adb_program
from tests.small import small_model

QUICK = ("--samples", "2", "--warmup", "0", "--runs", "4")


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory):
    program = adb_program()
    if program is None:
        pytest.skip("no adb (pip install adbutils, or Debian: adb)")
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (Debian: qemu-user)")
    with AdbServer(program, tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture(scope="session")
def phone_build(tmp_path_factory, adb_server):
    folder = tmp_path_factory.mktemp("build")
    return build_of(folder, small_model())


def build_of(folder, model):
    (folder / "small.tflite").write_bytes(model)
    edgebuild.build(folder / "small.tflite", target="android-cpu", out=folder, run="none")
    return folder / "small-android-cpu"


def edited(build, copy, *, delegate=None, without=()):
    """Return a copy of a build for another delegate, or without some of its files."""
    shutil.copytree(build, copy)
    report = json.loads((copy / "report.json").read_text())
    if delegate is not None:
        report["target"]["delegate"]["kind"] = delegate
    (copy / "report.json").write_text(json.dumps(report))
    lock = json.loads((copy / "build.lock").read_text())
    for name in ("report.json", *without):
        lock["artifacts"].pop(name, None)
    (copy / "build.lock").write_text(json.dumps(lock))
    return copy


@pytest.fixture
def phones(adb_server, tmp_path, monkeypatch):
    """Start and connect phones; none of them, and not this machine, may keep anything."""
    for name, value in adb_server.environment.items():
        if name != "HOME":
            monkeypatch.setenv(name, value)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(workspace, "REJOIN_S", 1.0)
    before = children()
    started = []
    with ExitStack() as stack:

        def start(**options):
            faults = Faults(
                **{k: options.pop(k) for k in list(options) if k in Faults.__annotations__}
            )
            root = tmp_path / f"phone{len(started)}"
            phone = stack.enter_context(LoopbackPhone(root, faults=faults, **options))
            started.append(phone)
            if faults.offline or faults.unauthorized:  # the server waits long before it gives up
                threading.Thread(target=adb_server.connect, args=(phone,), daemon=True).start()
                wait_for(lambda: phone.serial in adb_server.adb("devices").stdout)
            else:
                assert adb_server.connect(phone).startswith("connected")
            return phone

        yield start
        for phone in started:
            assert phone.wait_for_calm() == []
            assert phone.files() == []
        assert list(scratch.iterdir()) == []
        assert children() == before
        for phone in started:
            adb_server.adb("disconnect", phone.serial)
    wait_for(
        lambda: adb_server.adb("devices").stdout.split() == ["List", "of", "devices", "attached"]
    )


def children():
    """Return this process's children, without those that the phones run."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {pid for pid in found if b"adb" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def wait_for(condition, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def bench(build, phone, *flags):
    return cli(["bench", str(build), "--device", phone.serial, *flags])
