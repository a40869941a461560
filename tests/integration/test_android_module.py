"""Generated Kotlin is compiled by kotlinc and run on a JVM, with LiteRT behind stand-ins.

There is no Android SDK here: ``tests/integration/android/README.md`` says what stands in for it.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebuild.codegen.android import (
    AndroidSettings,
    NpuAsset,
    android_module,
    asset_path,
    interface_of,
    npu_asset_path,
)
from edgebuild.delegates.npu import COMPILED_OP
from edgebuild.models.data import dequantize, quantize_input
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.signatures import signature_names
from edgebuild.tflite.writer import write_tflite
from tests.android_models import digits_graph, mixed_graph, with_signature
from tests.kotlin_tools import kotlin_lib, kotlinc, run

pytestmark = [pytest.mark.android, pytest.mark.slow]

HERE = Path(__file__).parent / "android"
DIGITS = np.array([-1.5, 0.024999, 0.025, 7.0], np.float32)
A = np.array([-1, -0.05, 0.05, 0.15, 12.3, 100], np.float32)
B = np.array([3, -30, 0.1, 0.3, 0.5, -0.1], np.float32)
C = np.array([-70, -0.25, 0.25, 0.75, 59.0, 2.5], np.float32)
HOSTILE = '*/ "); System.exit(1) // \\u0022 ${println()} $x\n\u2028\U0001f600\0'


@pytest.fixture(scope="module")
def kotlin() -> Path:
    """The ``lib`` folder of a Kotlin compiler."""
    return kotlin_lib()


def write_module(
    folder: Path, graph, data: bytes, name: str, settings, npu=None, **interface
) -> None:
    model = interface_of(graph, name, signature=signature_names(data), **interface)
    for path, text in android_module(model, settings, npu=npu).items():
        target = folder / "module" / settings.delegate / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (folder / "assets").mkdir(exist_ok=True)
    (folder / "assets" / Path(asset_path(model)).name).write_bytes(data)
    if npu is not None:
        compiled = data + COMPILED_OP.encode()
        (folder / "assets" / Path(npu_asset_path(model, npu)).name).write_bytes(compiled)


def compile_and_run(folder: Path, kotlin: Path, java: list[str], kt: list[Path]) -> dict[str, str]:
    """Return what the program prints, ``key=value`` for each line."""
    classes = folder / "classes"
    stubs = [str(p) for name in java for p in sorted((HERE / name).rglob("*.java"))]
    run(["javac", "-proc:none", "-d", classes, *stubs])
    sources = [*sorted((folder / "module").rglob("*.kt")), *kt]
    kotlinc(kotlin, str(classes), classes, sources)
    data = folder / "data"
    data.mkdir()
    for name, values in (("digits", DIGITS), ("a", A), ("b", B), ("c", C)):
        (data / f"{name}.f32").write_bytes(values.astype("<f4").tobytes())
    properties = {
        "assets": folder / "assets",
        "data": data,
        "python": sys.executable,
        "child": HERE / "litert_child.py",
    }
    main = next(p.stem for p in kt if "Main" in p.stem) + "Kt"
    text = run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{kotlin / 'kotlin-stdlib.jar'}"]
        + [f"-Dstub.{key}={value}" for key, value in properties.items()]
        + [main]
    )
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture(scope="module")
def litert1(tmp_path_factory, kotlin):
    folder = tmp_path_factory.mktemp("litert1")
    digits, mixed = digits_graph(), mixed_graph()
    settings = AndroidSettings("gpu", min_sdk=24)
    labels = ("one", "zwölf", "drei")
    write_module(folder, digits, write_tflite(digits), "Digits-Net 2", settings, labels=labels)
    settings = AndroidSettings("nnapi", min_sdk=27, package="com.example.nn")
    write_module(folder, mixed, write_tflite(mixed), "mixed", settings)
    return compile_and_run(folder, kotlin, ["common", "litert1"], [HERE / "Litert1Main.kt"])


@pytest.fixture(scope="module")
def litert2(tmp_path_factory, kotlin):
    folder = tmp_path_factory.mktemp("litert2")
    digits, mixed = digits_graph(), mixed_graph()
    tensors = {**digits.tensors}
    first = digits.inputs[0]
    tensors[first] = replace(tensors[first], name=HOSTILE)
    last = digits.outputs[0]
    tensors[last] = replace(tensors[last], name="all")  # beside the list of all outputs
    hostile = replace(digits, tensors=tensors)
    settings = AndroidSettings("xnnpack", min_sdk=24, package="com.example.cpu", threads=3)
    labels = ('"', HOSTILE, "$it")
    write_module(folder, hostile, write_tflite(digits), "sharp", settings, labels=labels)
    settings = AndroidSettings("npu", min_sdk=31, vendor="qualcomm", package="com.example.npu")
    reversed_signature = with_signature(
        mixed, {"sea": 2, "bee": 1, "ay": 0}, {"x": 5, "y": 4, "z": 3}
    )
    write_module(folder, mixed, reversed_signature, "mixed", settings)
    settings = replace(settings, package="com.example.npu.compiled")
    npu = NpuAsset("SM8750", 2, 3)
    write_module(folder, mixed, reversed_signature, "mixed", settings, npu)
    settings = AndroidSettings("gpu", min_sdk=24, package="com.example.gpu2", api="compiled_model")
    write_module(folder, digits, write_tflite(digits), "string", settings)
    return compile_and_run(
        folder,
        kotlin,
        ["common", "litert2"],
        [HERE / "Litert2Main.kt", HERE / "litert2kt" / "LiteRt.kt"],
    )


def expected(data: bytes, inputs: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return LiteRT's outputs as they are, and as real values."""
    from ai_edge_litert.interpreter import Interpreter

    graph = read_tflite(data)
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for index, values in zip(graph.inputs, inputs, strict=True):
        tensor = graph.tensors[index]
        shaped = values.reshape(tensor.shape)
        interpreter.set_tensor(index, quantize_input(shaped, tensor))
    interpreter.invoke()
    raw = [interpreter.get_tensor(index).ravel() for index in graph.outputs]
    real = [dequantize(q, graph.tensors[i]) for q, i in zip(raw, graph.outputs, strict=True)]
    return raw, real


def numbers(text: str) -> np.ndarray:
    return np.array(ast.literal_eval(text), np.float32)


def test_outputs_are_litert_s_bit_for_bit(litert1):
    (raw,), (real,) = expected(write_tflite(digits_graph()), [DIGITS])
    assert len(set(raw.tolist())) == 3
    assert numbers(litert1["gpu.raw"]).tolist() == raw.tolist()
    assert numbers(litert1["gpu.output"]).tolist() == real.tolist()
    assert numbers(litert1["compressed.output"]).tolist() == real.tolist()


def test_several_inputs_and_outputs_of_several_types(litert1):
    graph = mixed_graph()
    _, real = expected(write_tflite(graph), [A, B, C])
    for i, values in enumerate(real):
        assert numbers(litert1[f"nnapi.output{i}"]).tolist() == values.tolist()
    for i, values in enumerate((A, B)):
        stored = quantize_input(values, graph.tensors[i])
        assert numbers(litert1[f"nnapi.input{i}"]).tolist() == stored.tolist()


def test_the_first_choice_works(litert1):
    assert litert1["gpu.accelerator"] == "GPU"
    assert litert1["gpu.fallbacks"] == "[]"
    assert litert1["gpu.options"] == "threads 4 xnnpack true"
    assert litert1["gpu.resets"] == "1"
    assert litert1["nnapi.accelerator"] == "NNAPI"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("noGpu", "GPU: this device is not on the GPU delegate's compatibility list"),
        ("noLibrary", "GPU: no tensorflowlite_gpu_jni"),
        ("delegateFails", "GPU: Internal error: Failed to apply delegate"),
        ("runFails", "GPU: Internal error: Failed to run on the given Interpreter"),
    ],
)
def test_a_gpu_that_does_not_work_is_told(litert1, fault, reason):
    assert litert1[f"{fault}.accelerator"] == "XNNPACK"
    assert litert1[f"{fault}.fallbacks"] == f"[{reason}]"
    assert litert1[f"{fault}.output"] == litert1["gpu.output"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("nnapiErrno", "NNAPI failed with error 4"),
        ("runFails", "Internal error: Failed to run on the given Interpreter"),
    ],
)
def test_what_nnapi_tells_of_is_a_fallback(litert1, fault, reason):
    assert litert1[f"nnapi.{fault}.accelerator"] == "XNNPACK"
    assert litert1[f"nnapi.{fault}.fallbacks"] == f"[NNAPI: {reason}]"
    assert litert1[f"nnapi.{fault}.left"] == "0 0"


def test_fallback_goes_to_the_plain_cpu(litert1):
    assert litert1["noXnnpack.accelerator"] == "CPU"
    assert litert1["noXnnpack.options"] == "threads 1 xnnpack false"


def test_without_a_fallback_loading_fails_with_the_reason(litert1):
    assert re.match(
        r"IllegalStateException: .*\[GPU\]: \| GPU: this device is not", litert1["only"]
    )


def test_everything_is_closed(litert1):
    assert litert1["gpu.open"] == "1 1"
    for key in ("gpu", "noGpu", "noLibrary", "delegateFails", "runFails", "other"):
        assert litert1[f"{key}.left"] == "0 0"


def test_refusals(litert1):
    assert litert1["closed"] == "IllegalStateException: the model is closed"
    assert "takes 4 values, not 3" in litert1["size"]
    assert "NaN has no quantized value" in litert1["nan"]
    assert "digits_net_2.tflite has 3 inputs, not 1" in litert1["other"]
    assert "digits_net_2.tflite" in litert1["missing"]


def test_labels(litert1):
    _, (real,) = expected(write_tflite(digits_graph()), [DIGITS])
    order = np.argsort(-real)[:2]
    names = [("one", "zwölf", "drei")[i] for i in order]
    assert [
        entry.split(",")[0].lstrip("[( ") for entry in litert1["gpu.best"].split("), ")
    ] == names


def test_hostile_names_reach_kotlin_as_they_are(litert2):
    def units(text):
        raw = text.encode("utf-16-be")
        return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]

    assert ast.literal_eval(litert2["cpu.labels"]) == [units('"'), units(HOSTILE), units("$it")]
    assert ast.literal_eval(litert2["cpu.name"]) == units(HOSTILE)
    assert litert2["cpu.options"] == "threads 3 xnnpack true"


@pytest.mark.parametrize(
    ("fault", "accelerator", "fallbacks"),
    [
        ("none", "NPU", "[]"),
        ("noNpu", "CPU", "[NPU: LiteRT does not list this device's chip as one with an NPU]"),
        ("noAccelerator", "CPU", "[NPU: Failed to compile model]"),
    ],
)
def test_compiled_model_by_signature_names(litert2, fault, accelerator, fallbacks):
    _, real = expected(write_tflite(mixed_graph()), [A, B, C])
    for i, values in enumerate(real):
        assert numbers(litert2[f"npu.{fault}.output{i}"]).tolist() == values.tolist()
    assert litert2[f"npu.{fault}.accelerator"] == accelerator
    assert litert2[f"npu.{fault}.fallbacks"] == fallbacks
    assert litert2[f"npu.{fault}.left"] == "0"


@pytest.mark.parametrize(
    ("fault", "accelerator", "fallbacks"),
    [
        ("none", "NPU", "[]"),
        ("noNpu", "CPU", "[NPU: LiteRT does not list this device's chip as one with an NPU]"),
        ("otherChip", "CPU", "[NPU: Failed to invoke the compiled model]"),
    ],
)
def test_a_partly_compiled_model_runs_on_its_chip_and_elsewhere(
    litert2, fault, accelerator, fallbacks
):
    _, real = expected(write_tflite(mixed_graph()), [A, B, C])
    for i, values in enumerate(real):
        assert numbers(litert2[f"compiled.{fault}.output{i}"]).tolist() == values.tolist()
    assert litert2[f"compiled.{fault}.accelerator"] == accelerator
    assert litert2[f"compiled.{fault}.fallbacks"] == fallbacks
    assert litert2[f"compiled.{fault}.left"] == "0"


def test_compiled_model_without_a_signature(litert2):
    _, (real,) = expected(write_tflite(digits_graph()), [DIGITS])
    assert litert2["gpu2.accelerator"] == "GPU"
    assert numbers(litert2["gpu2.output"]).tolist() == real.tolist()
    assert numbers(litert2["cpu.output"]).tolist() == real.tolist()
    assert litert2["gpu2.left"] == "0"
