"""The text of Android modules; ``tests/integration/test_android_module.py`` compiles it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from edgebuild.codegen.android import (
    NPU_LIBRARIES,
    VARIANTS,
    AndroidSettings,
    ModelInterface,
    NpuAsset,
    TensorInterface,
    android_module,
    asset_path,
    interface_of,
    native_module,
    npu_asset_path,
)
from edgebuild.errors import InputError
from edgebuild.graph import DType
from edgebuild.profile import NPU_VENDORS
from tests.android_models import digits_graph, mixed_graph

XML = "{http://schemas.android.com/apk/res/android}"


def make(delegate="xnnpack", name="digits", graph=None, **settings):
    vendor = "qualcomm" if delegate == "npu" else ""
    settings = {"min_sdk": 31, "vendor": vendor, **settings}
    return android_module(
        interface_of(graph or digits_graph(), name), AndroidSettings(delegate, **settings)
    )


@pytest.mark.parametrize(("delegate", "api"), [v for v in VARIANTS if v[0] != "native"])
def test_files_of_every_variant(delegate, api):
    files = make(delegate, api=api)
    sources = [path for path in files if path.endswith(".kt")]
    assert len(sources) == 4
    assert all(path.startswith("src/main/kotlin/dev/edgebuild/digits/Digits") for path in sources)
    for path, text in files.items():
        assert text.endswith("\n"), path
        assert "{{" not in text and "{%" not in text, path
        assert not re.search(r"[ \t]$", text, re.MULTILINE), path
        assert "\n\n\n" not in text, path
    assert files == make(delegate, api=api)


def test_build_file():
    text = make("gpu", min_sdk=26, compile_sdk=37, package="com.example.a")["build.gradle.kts"]
    assert 'namespace = "com.example.a"' in text
    assert "minSdk = 26" in text
    assert "compileSdk = 37" in text
    assert 'noCompress += "tflite"' in text
    assert re.findall(r'implementation\("(.*?)"\)', text) == [
        "com.google.ai.edge.litert:litert:1.4.2",
        "com.google.ai.edge.litert:litert-gpu:1.4.2",
        "com.google.ai.edge.litert:litert-gpu-api:1.4.2",
    ]


def test_kotlin_plugin_only_where_the_android_plugin_has_no_kotlin():
    assert "org.jetbrains.kotlin" not in make()["build.gradle.kts"]
    assert 'id("org.jetbrains.kotlin.android")' in make(android_gradle_plugin=8)["build.gradle.kts"]


@pytest.mark.parametrize(
    ("delegate", "vendor", "libraries"),
    [
        ("gpu", "", ["libOpenCL.so", "libOpenCL-pixel.so", "libOpenCL-car.so"]),
        ("npu", "qualcomm", ["libcdsprpc.so"]),
        ("npu", "google", ["libedgetpu_litert.so"]),
        (
            "npu",
            "mediatek",
            [
                "libneuron_sys_util.mtk.so",
                "libneuronusdk_adapter.mtk.so",
                "libneuronusdk_adapter.9.mtk.so",
                "libneuronusdk_adapter.10.mtk.so",
                "libneuron_adapter_mgvi.so",
            ],
        ),
        ("xnnpack", "", []),
    ],
)
def test_manifest_names_the_libraries_of_the_vendor(delegate, vendor, libraries):
    root = ET.fromstring(make(delegate, vendor=vendor)["src/main/AndroidManifest.xml"])
    found = [e.get(f"{XML}name") for e in root.iter("uses-native-library")]
    assert found == libraries
    assert all(e.get(f"{XML}required") == "false" for e in root.iter("uses-native-library"))


def test_every_vendor_has_libraries():
    assert set(NPU_LIBRARIES) == set(NPU_VENDORS)


def test_asset_is_the_one_that_the_wrapper_loads():
    model = interface_of(digits_graph(), "My Net")
    assert asset_path(model) == "src/main/assets/my_net.tflite"
    text = make(name="My Net")["src/main/kotlin/dev/edgebuild/my_net/MyNet.kt"]
    assert 'const val ASSET: String = "my_net.tflite"' in text


def with_npu(npu_operators, operators):
    model = interface_of(digits_graph(), "digits")
    settings = AndroidSettings("npu", 31, vendor="qualcomm")
    npu = NpuAsset("SM8750", npu_operators, operators)
    assert npu_asset_path(model, npu) == "src/main/assets/digits_SM8750.tflite"
    return android_module(model, settings, npu=npu)


@pytest.mark.parametrize(
    ("counts", "share"),
    [((3, 3), "all 3 operators"), ((2, 3), "2 of 3 operators, the CPU the others")],
)
def test_a_compiled_model_stands_beside_the_one_for_the_cpu(counts, share):
    files = with_npu(*counts)
    sources = "src/main/kotlin/dev/edgebuild/digits/Digits"
    assert 'NPU_ASSET: String = "digits_SM8750.tflite"' in files[f"{sources}.kt"]
    assert 'ASSET: String = "digits.tflite"' in files[f"{sources}.kt"]
    assert f"NPU runs {share}.\n" in files[f"{sources}.kt"]
    assert f"NPU runs {share}.\n" in files["README.md"]
    opened = files[f"{sources}CompiledModel.kt"]
    assert "NPU -> CompiledModel.Options(Accelerator.NPU, Accelerator.CPU)\n" in opened
    for path, text in files.items():
        assert "\n\n\n" not in text, path


def test_without_a_compiled_model_the_npu_is_asked_for_alone():
    opened = make("npu")["src/main/kotlin/dev/edgebuild/digits/DigitsCompiledModel.kt"]
    assert "NPU -> CompiledModel.Options(Accelerator.NPU)\n" in opened
    assert "NPU_ASSET" not in opened


def test_only_an_npu_runs_what_is_compiled_for_one():
    model, npu = interface_of(digits_graph(), "digits"), NpuAsset("SM8750", 1, 1)
    with pytest.raises(InputError, match="'gpu' runs nothing compiled for SM8750"):
        android_module(model, AndroidSettings("gpu", 31), npu=npu)


def test_quantization_constants():
    text = make()["src/main/kotlin/dev/edgebuild/digits/Digits.kt"]
    assert "Type.INT8, 0.0500000007f, -3," in text
    assert "Type.INT8, 0.0700000003f, 7," in text


def test_nnapi_is_called_deprecated():
    files = make("nnapi")
    for path in ("README.md", "src/main/kotlin/dev/edgebuild/digits/Digits.kt"):
        assert "NNAPI is deprecated since Android 15" in files[path]


def test_what_nnapi_does_not_tell_is_said():
    files = make("nnapi")
    for path in ("README.md", "src/main/kotlin/dev/edgebuild/digits/Digits.kt"):
        assert "LiteRT does not tell an app how many operators NNAPI took" in files[path]


def test_many_labels_are_split():
    tensor = TensorInterface("y", (1, 1201), DType.INT8, 0.1, 0, ("l",) * 1201)
    model = ModelInterface("m", (TensorInterface("x", (1,), DType.FLOAT32),), (tensor,))
    text = android_module(model, AndroidSettings("xnnpack", 24))[
        "src/main/kotlin/dev/edgebuild/m/M.kt"
    ]
    assert "labels = labels0part0() + labels0part1() + labels0part2()," in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delegate": "tpu"}, "delegate 'tpu' is not known"),
        ({"api": "compiled_model"}, "has no API 'compiled_model'"),
        ({"min_sdk": 21}, "min_sdk 21 is below 24"),
        ({"delegate": "nnapi", "min_sdk": 26}, "min_sdk 26 is below 27"),
        ({"compile_sdk": 30}, "compile_sdk 30 is below min_sdk 31"),
        ({"delegate": "npu", "vendor": "intel"}, "NPU vendor 'intel' is not known"),
        ({"android_gradle_plugin": 7}, "Android Gradle plugin 7 is not known"),
        ({"package": "x"}, "cannot be the package"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make(**settings)


def test_a_type_that_compiled_model_cannot_take():
    graph = digits_graph()
    model = interface_of(graph, "m")
    odd = replace(model, inputs=(replace(model.inputs[0], dtype=DType.UINT8, zero_point=3),))
    android_module(odd, AndroidSettings("gpu", 31))
    with pytest.raises(InputError, match=r"CompiledModel cannot take .* \(uint8\)"):
        android_module(odd, AndroidSettings("npu", 31, vendor="google"))


@pytest.mark.parametrize(
    "values",
    [
        {"shape": (1, 0)},
        {"shape": (1 << 20, 1 << 20)},
        {"scale": float("nan")},
        {"scale": -1.0},
        {"zero_point": 300},
        {"dtype": DType.FLOAT32},
        {"labels": ("a",)},
        {"dtype": DType.FLOAT16, "scale": 0.0},
    ],
)
def test_tensors_that_are_refused(values):
    good = {"name": "x", "shape": (1, 2), "dtype": DType.INT8, "scale": 0.5, "zero_point": 0}
    TensorInterface(**good)
    with pytest.raises(InputError):
        TensorInterface(**{**good, **values})


def test_interface_of_a_graph():
    model = interface_of(mixed_graph(), "m", labels=("p", "q", "r"))
    assert [t.name for t in model.inputs] == ["a", "b", "c"]
    assert model.inputs[1].zero_point == -6
    assert model.inputs[2].scale == 0.0
    assert model.outputs[0].labels == ("p", "q", "r")
    assert model.outputs[1].labels == ()


def test_native_module_has_the_c_and_no_litert():
    model = interface_of(digits_graph(), "fun net")
    library = {"fun_net.h": "/* h */", "fun_net.c": "/* c */", "edgebuild/k/k.c": "/* k */"}
    files = native_module(model, AndroidSettings("native", 24), library)
    assert files["src/main/cpp/lib/edgebuild/k/k.c"] == "/* k */"
    assert "    lib/edgebuild/k/k.c\n    lib/fun_net.c\n" in files["src/main/cpp/CMakeLists.txt"]
    assert '"dev/edgebuild/fun_net/jni/FunNetNative"' in files["src/main/cpp/fun_net_jni.c"]
    build = files["build.gradle.kts"]
    assert "litert" not in build
    assert 'abiFilters += "arm64-v8a"' in build
    for path, text in files.items():
        assert "\n\n\n" not in text and "{%" not in text, path


@pytest.mark.parametrize(
    ("name", "delegate", "message"),
    [("other", "native", "has no other.h"), ("net", "gpu", "runs no generated C")],
)
def test_native_module_that_does_not_fit(name, delegate, message):
    with pytest.raises(InputError, match=message):
        native_module(
            interface_of(digits_graph(), name), AndroidSettings(delegate, 24), {"net.h": ""}
        )


def test_native_needs_its_own_function():
    with pytest.raises(InputError, match="needs generated C"):
        make("native")
