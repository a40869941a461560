"""What this process started ends with it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edgebuild import children
from edgebuild.files import _OWNER
from tests.small import small_model

pytestmark = pytest.mark.skipif(os.name != "posix", reason="process groups")

PARENT = """
import subprocess, sys, time
from edgebuild import children
from tests.small import small_model
from edgebuild.toolchain.process import run_limited
import threading
# A compiler that starts another: both are in one group.
script = "sleep 300 & echo $! > {folder}/grandchild; echo $$ > {folder}/child; wait"
threading.Thread(target=lambda: run_limited(
    ["sh", "-c", script], what="sleeping", timeout_s=300, missing_hint=""), daemon=True).start()
time.sleep(300)
"""


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_compilers_end_with_a_parent_that_is_killed(tmp_path, how):
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(folder=tmp_path)])
    try:
        files = [tmp_path / "child", tmp_path / "grandchild"]
        wait_for(lambda: all(f.exists() and f.read_text().strip() for f in files))
        pids = [int(f.read_text()) for f in files]
        assert all(alive(pid) for pid in pids)
    finally:
        parent.send_signal(how)
        parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids))


def test_what_has_ended_is_forgotten():
    done = children.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    with pytest.raises(subprocess.TimeoutExpired):
        children.run(["sleep", "30"], timeout=0.1)
    with pytest.raises(FileNotFoundError):
        children.run(["/nonexistent/program"], timeout=1)


def test_a_guard_that_is_gone_is_replaced():
    children.run(["true"], timeout=20)
    children._guard.kill()
    children._guard.wait()
    assert children.run(["true"], timeout=20).returncode == 0
    assert children._guard.poll() is None


def workers_of(parent):
    """Return the processes below ``parent`` that hold a model."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"edgebuild.models.worker_child" in words and above == parent:
            found.append(int(folder.name))
    return found


def has_tensorflow(pid):
    """Return whether the process has loaded TensorFlow's library."""
    with suppress(OSError):
        return "libtensorflow" in Path(f"/proc/{pid}/maps").read_text()
    return False


@pytest.mark.keras
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_tensorflow_ends_with_a_build_that_is_killed_and_its_folders_go_with_the_next(tmp_path):
    keras = pytest.importorskip("keras")
    temporary, model = tmp_path / "tmp", tmp_path / "net.keras"
    temporary.mkdir()
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(model)
    (tmp_path / "small.tflite").write_bytes(small_model())
    edgebuild = [sys.executable, "-m", "edgebuild"]
    settings = {"env": {**os.environ, "TMPDIR": str(temporary)}, "cwd": tmp_path}
    build = subprocess.Popen(
        [*edgebuild, "build", str(model), "--target", "host", "--data", "random"],
        **settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: any(has_tensorflow(pid) for pid in workers_of(build.pid)), 120)
        (worker,) = workers_of(build.pid)
        left = set(temporary.glob("edgebuild-model-*"))
        assert alive(worker) and left
    finally:
        build.kill()
        build.wait()
    wait_for(lambda: not alive(worker))
    assert set(temporary.glob("edgebuild-*")) >= left
    for mark in temporary.glob(f"edgebuild-*/{_OWNER}"):
        os.utime(mark, (0, 0))  # a run that is just beginning keeps its folder
    check = [*edgebuild, "check", "small.tflite", "--target", "host"]
    assert subprocess.run(check, **settings, stdout=subprocess.DEVNULL).returncode == 0
    assert not list(temporary.glob("edgebuild-*"))
    assert [path for path in tmp_path.rglob("*") if path.name == "report.json"] == []
