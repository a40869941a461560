"""The native module's C is built by its own CMake file and called from its Kotlin on a JVM."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgebuild.codegen.android import AndroidSettings, interface_of, native_module
from edgebuild.codegen.c_library import generate_library
from edgebuild.memory import plan_memory
from edgebuild.schedule import schedule_graph
from edgebuild.targets import load_target
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import make_samples
from tests.kotlin_tools import ROOT, kotlin_lib, kotlinc, run
from tests.small import small_model

pytestmark = [pytest.mark.android, pytest.mark.slow]

HERE = ROOT / "tests" / "integration" / "android"


def jni_includes() -> list[Path]:
    """Return the folders of jni.h; skips without a JDK or CMake."""
    if not shutil.which("javac") or not shutil.which("cmake"):
        pytest.skip("no JDK or no CMake")
    home = Path(shutil.which("javac")).resolve().parents[1]
    return [home / "include", home / "include" / "linux"]


def write_module(folder: Path, target: str) -> bytes:
    model = small_model()
    graph = read_tflite(model, name="small")
    calls = schedule_graph(graph, load_target(target).cpu.features).calls
    library = generate_library(graph, calls, plan_memory(graph, calls), "small_net")
    settings = AndroidSettings("native", 24)
    for path, text in native_module(interface_of(graph, "Small-Net"), settings, library).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return model


def test_outputs_are_the_oracle_s(tmp_path):
    lib, includes = kotlin_lib(), jni_includes()
    model = write_module(tmp_path, "host")
    flags = " ".join(f"-I{folder}" for folder in includes) + " -Wall -Wextra -Werror"
    native = tmp_path / "native"
    run(["cmake", "-S", tmp_path / "src/main/cpp", "-B", native, f"-DCMAKE_C_FLAGS={flags}"])
    run(["cmake", "--build", native])
    classes = tmp_path / "classes"
    run(["javac", "-d", classes, *(HERE / "common").rglob("*.java")])
    sources = [*(tmp_path / "src").rglob("*.kt"), HERE / "NativeMain.kt"]
    kotlinc(lib, str(classes), classes, sources)
    samples = make_samples(read_tflite(model), 4, seed=2)
    (tmp_path / "input.bin").write_bytes(b"".join(sample[0] for sample in samples))
    text = run(
        [
            *("java", "-Xcheck:jni", f"-Djava.library.path={native}", f"-Dstub.data={tmp_path}"),
            *("-cp", f"{classes}:{lib / 'kotlin-stdlib.jar'}", "NativeMainKt"),
        ]
    )
    assert "WARNING" not in text
    shown = dict(line.split("=", 1) for line in text.splitlines())
    assert shown.pop("accelerator") == "NATIVE"
    expected = run_oracle(model, samples).outputs
    assert len({outputs[0] for outputs in expected}) > 1
    for i, outputs in enumerate(expected):
        got = np.array(ast.literal_eval(shown[f"output{i}"]), np.int8)
        assert got.tobytes() == outputs[0]


def test_it_compiles_for_arm64_with_neon(tmp_path):
    """As far as it goes without the NDK: the same sources, for Linux on the same processor."""
    import ziglang

    includes = jni_includes()
    write_module(tmp_path, "android-cpu")
    cpp = tmp_path / "src" / "main" / "cpp"
    assert any("neon" in path.name for path in cpp.rglob("*.c"))
    folders = [cpp / "lib", *includes]
    out = tmp_path / "libeb_small_net.so"
    run(
        [
            *(Path(ziglang.__file__).parent / "zig", "cc", "-target", "aarch64-linux-musl"),
            *("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden"),
            *(f"-I{folder}" for folder in folders),
            *(*sorted(cpp.rglob("*.c")), "-o", out),
        ]
    )
    assert b"JNI_OnLoad" in out.read_bytes()
