"""What users do wrong and machines do to them: exit code, words, and nothing half-written."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import edgebuild
from edgebuild.cli.main import run as cli
from edgebuild.errors import EdgebuildError
from tests.conftest import NIGHTLY_PUBLIC
from tests.small import small_model

PROGRAM = [sys.executable, "-m", "edgebuild"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.tflite").write_bytes(small_model())
    return tmp_path


def failed(capsys, *words):
    """Check what was printed: an error with a remedy, and no traceback."""
    captured = capsys.readouterr()
    text = " ".join(captured.err.split())
    assert text.startswith("error: ")
    assert "Traceback" not in captured.err + captured.out
    for word in words:
        assert word in text, text
    return text


def test_truncated_models(place, capsys):
    whole = small_model()
    for length in [0, 3, 4, 8, 100, *range(200, len(whole), len(whole) // 20)]:
        (place / "cut.tflite").write_bytes(whole[:length])
        assert cli(["build", "cut.tflite", "--target", "cortex-m4", "--run", "none"]) == 2, length
        assert "cut.tflite" in failed(capsys)
        assert not (place / "build" / "cut-cortex-m4").exists()


def flipped(whole, rng, most):
    content = bytearray(whole)
    for _ in range(rng.randint(1, most)):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


@pytest.mark.parametrize("count", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_bit_flips_are_refused_or_analysed(place, capsys, count):
    """Everything before the compiler; the codes are those of a verdict or of bad input."""
    rng = random.Random(count)
    codes = set()
    for _ in range(count):
        (place / "flip.tflite").write_bytes(flipped(small_model(), rng, 4))
        code = cli(["check", "flip.tflite", "--target", "cortex-m4"])
        captured = capsys.readouterr()
        assert code in (0, 1, 2), captured.err
        assert (code == 0) == (captured.err == ""), captured.err
        codes.add(code)
    assert codes >= {0, 2}


@pytest.mark.parametrize("seed", range(6))
def test_bit_flips_are_refused_or_built_right(place, seed):
    """A damaged model may still be one: then the generated C equals TFLite Micro's."""
    rng = random.Random(seed)
    for number in range(3):
        path = place / f"flip{number}.tflite"
        path.write_bytes(flipped(small_model(), rng, 2))
        try:
            report = edgebuild.build(path, target="host", out=place / "out", samples=4)
        except EdgebuildError as error:
            assert int(error.exit_code) in (1, 2), error
        else:
            assert report.comparison.equal, path


@pytest.mark.parametrize("mlperf_dir", NIGHTLY_PUBLIC, indirect=True)
@pytest.mark.parametrize("name", ["kws", "ad01", "resnet8", "vww96"])
def test_bit_flips_of_real_models(mlperf_dir, place, capsys, name):
    whole = (mlperf_dir / f"{name}_int8.tflite").read_bytes()
    rng = random.Random(1)
    for _ in range(100):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            # Tables are at the end, weights in the middle: most flips go where structure is.
            where = len(whole) - 1 - int(rng.expovariate(1 / 4000)) % len(whole)
            content[where] ^= 1 << rng.randrange(8)
        (place / "flip.tflite").write_bytes(bytes(content))
        code = cli(["check", "flip.tflite", "--target", "cortex-m4"])
        assert code in (0, 1, 2), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((20, 9, 9, 1), np.float32)}, "8"),
        ({"x": np.zeros((20, 8, 8, 1), "U3")}, "x"),
        ({"x": np.zeros((0, 8, 8, 1), np.float32)}, "x"),
        ({"x": np.full((20, 8, 8, 1), np.nan, np.float32)}, "x"),
        ({"x": np.zeros((20, 8, 8, 1), np.float32), "y": np.full(20, 99)}, "99"),
        ({"x": np.zeros((20, 8, 8, 1), np.float32), "y": np.zeros(7, int)}, "7"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "x"),
    ],
)
def test_data_that_does_not_fit(place, capsys, arrays, words):
    np.savez(place / "data.npz", **arrays)
    assert cli(["build", "small.tflite", "--target", "host", "--data", "data.npz"]) == 2
    failed(capsys, "data.npz", words)
    assert not (place / "build" / "small-host").exists()


def test_unknown_names(place, capsys):
    assert cli(["build", "small.tflite", "--target", "cortex-m5"]) == 2
    failed(capsys, "cortex-m5", "did you mean", "cortex-m55")
    assert cli(["build", "absent.tflite", "--target", "cortex-m4"]) == 2
    failed(capsys, "absent.tflite")
    assert cli(["build", "small.tflite"]) == 2
    failed(capsys, "--target cortex-m4")
    assert cli(["build", "small.tflite", "--target", "cortex-m4", "--run", "qmu"]) == 2
    failed(capsys, "qmu")
    assert cli(["build", "small.tflite", "--target", "cortex-m0plus", "--run", "qemu"]) == 2
    failed(capsys, "cannot run on qemu", "try: --run simulator")
    assert cli(["build", "small.tflite", "--target", "cortex-m4", "--max-flash", "12 bananas"]) == 2
    failed(capsys, "bananas")
    assert cli(["buld", "small.tflite"]) == 2
    failed(capsys, "did you mean", "build")
    assert not (place / "build").exists()


def test_faults_of_a_profile_come_together(place, capsys):
    (place / "board.toml").write_text(
        'schema = 1\nname = "board"\nbased_on = "cortex-m4"\n[cpu]\nclok_hz = 5\n'
        '[run]\ndefault = "simulatr"\n'
    )
    assert cli(["build", "small.tflite", "--target", "board.toml"]) == 2
    failed(capsys, "clok_hz", "clock_hz", "simulatr", "simulator")


def test_a_float_model_needs_data(place, capsys):
    from edgebuild.graph import DType, Graph, Op, Tensor
    from edgebuild.tflite.writer import write_tflite

    tensors = {i: Tensor(i, f"t{i}", (1, 4), DType.FLOAT32) for i in range(2)}
    graph = Graph("float", (0,), (1,), (Op("RELU", (0,), (1,)),), tensors)
    (place / "float.tflite").write_bytes(write_tflite(graph))
    assert cli(["build", "float.tflite", "--target", "cortex-m4"]) == 2
    failed(capsys, "--data calibration.npz", "--data random")


def test_no_compiler(place, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    arguments = ["build", "small.tflite", "--target", "cortex-m4", "--toolchain", "gcc"]
    assert cli(arguments) == 3
    failed(capsys, "arm-none-eabi-gcc", "--toolchain zig")
    assert not (place / "build" / "small-cortex-m4").exists()


def test_zig_is_not_installed(place):
    """In a child, as the package must be hidden from its interpreter."""
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'ziglang' else find(name, *a)\n"
        "from edgebuild.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    arguments = ["build", "small.tflite", "--target", "cortex-m4", "--toolchain", "zig"]
    env = {**os.environ, "EDGEBUILD_CACHE_DIR": str(place / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env
    )
    assert done.returncode == 3, done.stderr
    assert "pip install ziglang" in done.stderr and "Traceback" not in done.stderr


def test_the_output_folder_is_a_file(place, capsys):
    (place / "out").write_text("mine")
    arguments = ["build", "small.tflite", "--target", "host", "--run", "none", "--out", "out"]
    assert cli(arguments) == 2
    failed(capsys, "out")
    assert (place / "out").read_text() == "mine"


def test_a_folder_with_other_files_is_left_alone(place, capsys):
    mine = place / "build" / "small-host"
    mine.mkdir(parents=True)
    (mine / "thesis.txt").write_text("years of work")
    assert cli(["build", "small.tflite", "--target", "host", "--run", "none"]) == 2
    failed(capsys, "did not make", "try:")
    assert (mine / "thesis.txt").read_text() == "years of work"


@contextmanager
def tmpfs(folder, options):
    """Mount a file system of its own; skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "edgebuild-test", str(folder)]
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount")
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(place, capsys):
    edgebuild.build(place / "small.tflite", target="host", out=place / "elsewhere", run="none")
    with tmpfs(place / "out", "size=16k") as out:
        arguments = ["build", "small.tflite", "--target", "host", "--run", "none"]
        assert cli([*arguments, "--out", str(out)]) == 3
        failed(capsys, "no space left", "--out")
        assert [p.name for p in out.iterdir() if not p.name.startswith(".")] == []


def test_a_read_only_folder(place, capsys):
    with tmpfs(place / "out", "ro,size=1m") as out:
        arguments = ["build", "small.tflite", "--target", "host", "--run", "none"]
        assert cli([*arguments, "--out", str(out)]) == 2
        failed(capsys, "read-only", "--out")


def test_a_folder_without_permission(place, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    (place / "out").mkdir(mode=0o500)
    arguments = ["build", "small.tflite", "--target", "host", "--run", "none", "--out", "out"]
    assert cli(arguments) == 2
    failed(capsys, "no permission", "--out")


def test_an_old_build_stays_when_the_new_one_fails(place, capsys):
    arguments = ["build", "small.tflite", "--target", "host", "--run", "none"]
    assert cli(arguments) == 0
    folder = place / "build" / "small-host"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    (place / "small.tflite").write_bytes(small_model(seed=3)[:500])
    assert cli(arguments) == 2
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.parametrize("moment", ["compiling", "running"])
def test_ctrl_c(place, moment):
    """In the middle of a build: code 130, no output, no child left."""
    out, scratch = place / "build", place / "tmp"
    scratch.mkdir()
    env = {**os.environ, "PYTHONFAULTHANDLER": "1", "TMPDIR": str(scratch)}
    arguments = ["build", "small.tflite", "--target", "cortex-m4"]
    if moment == "compiling":
        env["EDGEBUILD_CACHE_DIR"] = str(place / "cache")
    else:
        arguments += ["--samples", "1000000"]
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wanted = "firmware.ld" if moment == "compiling" else "firmware.bin"
    deadline = time.monotonic() + 60
    while not list(scratch.glob(f"edgebuild-compilers-*/*/{wanted}")):
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            pytest.fail(f"no {wanted}: {process.communicate()}")
        time.sleep(0.02)
    time.sleep(0.3)
    children = children_of(process.pid)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler says where it was
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert [p.name for p in out.iterdir() if not p.name.endswith(".lock")] == []
    assert list(scratch.iterdir()) == []
    deadline = time.monotonic() + 20
    while left := [pid for pid in children if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
