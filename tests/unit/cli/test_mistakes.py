"""The commonest mistakes: each is named, and what to do next is said, without looking it up."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from edgebuild.cli.main import run
from edgebuild.tflite.writer import write_tflite
from tests.single_ops import base
from tests.small import small_model

M4 = ("-t", "cortex-m4")
PROJECT = 'model = "small.tflite"\ntargets = ["cortex-m4"]\n'
PROFILE = """schema = 1
name = "tiny"
based_on = "cortex-m4"
[[memory]]
name = "flash"
kind = "flash"
origin = 0
size = "{}"
[[memory]]
name = "ram"
kind = "ram"
origin = 0x20000000
size = "{}"
"""


def write_files(folder):
    x = np.zeros((8, 8, 8, 1), np.float32)
    (folder / "small.tflite").write_bytes(small_model())
    (folder / "float.tflite").write_bytes(write_tflite(base("FULLY_CONNECTED", "float32").graph()))
    (folder / "cut.tflite").write_bytes(small_model()[:3000])
    (folder / "empty.tflite").write_bytes(b"")
    (folder / "packed.tflite").write_bytes(gzip.compress(small_model()))
    (folder / "uint8.tflite").write_bytes(write_tflite(base("CONV_2D", "uint8").graph()))
    (folder / "page.tflite").write_bytes(b"<!DOCTYPE html><html></html>")
    (folder / "pointer.tflite").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    (folder / "net.pt").write_bytes(b"\x80\x02\x8a")
    (folder / "good.npz").touch()
    np.savez(folder / "good.npz", x=x, y=np.zeros(8, int))
    np.savez(folder / "channels_first.npz", x=np.zeros((8, 3, 8, 8), np.float32))
    np.savez(folder / "text.npz", x=np.full((8, 8, 8, 1), "a"))
    np.savez(folder / "short.npz", x=x, y=np.zeros(5, int))
    np.savez(folder / "nan.npz", x=np.full((8, 8, 8, 1), np.nan, np.float32))
    np.savez(folder / "unlabeled.npz", x=x)
    np.savez(folder / "fractions.npz", x=x, y=np.full(8, 0.5))
    (folder / "notes.txt").write_text("x")
    (folder / "flash.toml").write_text(PROFILE.format("4KiB", "64KiB"))
    (folder / "ram.toml").write_text(PROFILE.format("1MiB", "4KiB"))
    (folder / "source.py").write_text("def make():\n    return None\n")


MISTAKES = {
    "no such model": (("check", "smal.tflite", *M4), 2, "did you mean 'small.tflite'", "spelling"),
    "no such command": (("chekc", "small.tflite"), 2, "did you mean 'check'", "edgebuild check"),
    "no such option": (
        ("check", "small.tflite", *M4, "--max-flsh", "1MiB"), 2, "--max-flsh", "--max-flash 1MiB"),
    "no model": (("check",), 2, "no MODEL given", "edgebuild check model.tflite --target"),
    "no target": (("check", "small.tflite"), 2, "no --target given", "edgebuild targets list"),
    "no such target": (
        ("check", "small.tflite", "-t", "cortex-m5"), 2, "'cortex-m5'", "edgebuild targets list"),
    "no such profile": (
        ("check", "small.tflite", "-t", "./my.toml"), 2, "my.toml: no such file", "targets show"),
    "a budget without a unit": (
        ("check", "small.tflite", *M4, "--max-flash", "12"), 2, "'12' has no unit", "write 12KiB"),
    "a time without a unit": (
        ("check", "small.tflite", *M4, "--max-latency", "5"), 2, "needs a unit", "for example"),
    "ONNX": (("check", "net.onnx", *M4), 2, "ONNX models", "onnx2tf"),
    "PyTorch": (("check", "net.pt", *M4), 2, "PyTorch files", "litert_torch.convert"),
    "a damaged model": (("check", "cut.tflite", *M4), 2, "damaged or truncated", "copy the model"),
    "an empty model": (("check", "empty.tflite", *M4), 2, "is empty", "copy or download"),
    "a packed model": (("check", "packed.tflite", *M4), 2, "with gzip", "gzip -dc packed.tflite"),
    "a web page": (("check", "page.tflite", *M4), 2, "a web page", "Raw button"),
    "a pointer of Git LFS": (("check", "pointer.tflite", *M4), 2, "LFS pointer", "git lfs pull"),
    "a folder": (("check", ".", *M4), 2, "not a SavedModel", "pass one of the models in it"),
    "data as the model": (("check", "good.npz", *M4), 2, "not a model", "--data good.npz"),
    "a number format without kernels": (
        ("check", "uint8.tflite", *M4), 2, "CONV_2D (uint8", "int8"),
    "a float model without data": (
        ("check", "float.tflite", *M4), 2, "needs calibration data", "--data calibration.npz"),
    "no such data": (
        ("build", "small.tflite", *M4, "--data", "god.npz"), 2, "'good.npz'", ".npz or .npy file"),
    "data of another shape": (
        ("build", "small.tflite", *M4, "--data", "channels_first.npz"), 2, "samples of shape",
        "(samples, 8, 8, 1)"),
    "data of another type": (
        ("build", "small.tflite", *M4, "--data", "text.npz"), 2, "x has dtype", "float32"),
    "too few labels": (
        ("build", "small.tflite", *M4, "--data", "short.npz"), 2, "5 labels for 8 samples",
        "one label per sample"),
    "data that are not numbers": (
        ("build", "small.tflite", *M4, "--data", "nan.npz"), 2, "NaN", "np.isfinite"),
    "data in another format": (
        ("build", "small.tflite", *M4, "--data", "notes.txt"), 2, "neither .npz", "np.savez"),
    "no such function": (
        ("build", "small.tflite", *M4, "--data", "source:mak"), 2, "did you mean 'make'",
        "define mak() in source.py"),
    "a function that returns nothing": (
        ("build", "small.tflite", *M4, "--data", "source:make"), 2, "returned NoneType",
        "return NumPy arrays"),
    "an accuracy budget without labels": (
        ("check", "small.tflite", *M4, "--data", "unlabeled.npz", "--max-accuracy-drop", "1%"), 1,
        "accuracy budget cannot be checked", "x and y"),
    "a model too large for the flash": (
        ("check", "small.tflite", "-t", "./flash.toml"), 1, "flash budget missed by",
        "a target with more flash"),
    "a model too large for the RAM": (
        ("check", "small.tflite", "-t", "./ram.toml"), 1, "RAM of tiny is too small",
        "a target with more RAM"),
    "a latency that is missed": (
        ("check", "small.tflite", *M4, "--max-latency", "1us"), 1, "latency budget missed by",
        "a faster target"),
    "an output folder that is a file": (
        ("build", "small.tflite", *M4, "--out", "notes.txt"), 2, "is a file", "--out"),
    "an unknown pass": (
        ("check", "small.tflite", *M4, "--compress", "prun:ratio=0.4"), 2, "did you mean 'prune'",
        "--compress prune:"),
    "an option of a pass out of range": (
        ("check", "small.tflite", *M4, "--compress", "prune:ratio=2"), 2, "ratio 2", "ratio="),
    "an option of a pass without a number": (
        ("check", "small.tflite", *M4, "--compress", "prune:ratio=half"), 2, "ratio=half",
        "ratio="),
    "a region that is not there": (
        ("check", "small.tflite", *M4, "--place", "weights=qspi"), 2, "'qspi'", "choose one"),
    "an input that is not there": (
        ("check", "small.tflite", *M4, "--input-shape", "x=1,8"), 2, "'x' is not an input",
        "--input-shape image="),
    "a device that the target lacks": (
        ("build", "small.tflite", "-t", "host", "--run", "qemu"), 2, "cannot run on qemu",
        "--run host"),
    "no build to measure": (
        ("bench", "build/none", "--port", "/dev/x"), 2, "build/none", "the output folder"),
    "compressing what is quantized": (
        ("search", "small.tflite", *M4), 2, "can be compressed", "the Keras model"),
    "a name without letters": (
        ("build", "small.tflite", *M4, "--name", "--"), 2, "no letter", "--name my_model"),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    write_files(folder)
    return folder


@pytest.fixture
def said(files, capsys, monkeypatch):
    """Run a command in the folder; return its exit code, what is wrong and what to try."""
    monkeypatch.chdir(files)
    monkeypatch.setenv("EDGEBUILD_CACHE_DIR", str(files / "cache"))

    def call(*arguments):
        code = run(list(arguments))
        text = capsys.readouterr().err
        assert text.startswith("error: ") and "Traceback" not in text
        wrong, _, remedy = (" ".join(part.split()) for part in text.partition("\ntry: "))
        return code, wrong, remedy

    return call


@pytest.mark.parametrize(
    ("arguments", "exit_code", "named", "step"), MISTAKES.values(), ids=MISTAKES
)
def test_a_mistake_is_named_and_has_a_next_step(said, arguments, exit_code, named, step):
    code, wrong, remedy = said(*arguments)
    assert (code, remedy != "") == (exit_code, True), wrong
    assert named in wrong
    assert step in wrong + remedy


@pytest.mark.parametrize(
    ("lines", "named", "step"),
    [
        (f'{PROJECT}bugdet = "x"\n', "bugdet is not a field; did you mean 'budget'", "correct"),
        (f'{PROJECT}[budget]\nmax_latency = "5"\n', "max_latency", "50ms"),
        (f"{PROJECT}model = \n", "edgebuild.toml, line 3", "a line is `name = value`"),
        ('model = "smal.tflite"\ntargets = ["cortex-m4"]\n', "smal.tflite", "spelling"),
        (
            'model = "small.tflite"\ntargets = ["cortex-m5"]\n',
            "did you mean 'cortex-m55'",
            "correct",
        ),
    ],
)
def test_a_mistake_in_the_project_file(said, files, lines, named, step):
    (files / "edgebuild.toml").write_text(lines)
    try:
        code, wrong, remedy = said("check")
    finally:
        (files / "edgebuild.toml").unlink()
    assert code == 2 and named in wrong and remedy
    assert step in wrong + remedy


def test_a_tool_that_is_missing(said, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, wrong, remedy = said("build", "small.tflite", *M4, "--toolchain", "gcc", "--no-cache")
    assert code == 3 and "arm-none-eabi-gcc" in wrong
    assert "install" in remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(said, tmp_path):
    tmp_path.chmod(0o500)
    code, wrong, remedy = said("build", "small.tflite", *M4, "--out", str(tmp_path / "build"))
    assert code == 2 and str(tmp_path) in wrong and "--out" in remedy


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_file_system_that_takes_no_folders(said):
    code, wrong, remedy = said("build", "small.tflite", *M4, "--out", "/proc/nope")
    assert code == 2 and "/proc/nope" in wrong and "choose another folder with --out" in remedy
