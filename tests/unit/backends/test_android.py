"""What a build for a phone has in its modules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgebuild.backends.android import AndroidBackend
from edgebuild.backends.base import DeliverySettings, Shipment
from edgebuild.backends.emit import emit_library
from edgebuild.delegates import npu as npu_delegate
from edgebuild.delegates.check import check_compatibility
from edgebuild.targets import load_target
from edgebuild.tflite.reader import read_tflite
from edgebuild.toolchain import npu
from tests.small import small_model

MODEL = small_model()


def shipment(target, *, library=False):
    graph = read_tflite(MODEL, name="net")
    made = emit_library(graph, "net", target.cpu.features) if library else None
    return Shipment("net", MODEL, graph, check_compatibility(graph, target), (), made)


def emitted(name, *, library=False, **delegate):
    target = load_target(name)
    target = replace(target, delegate=replace(target.delegate, **delegate))
    return AndroidBackend().emit(shipment(target, library=library), target)


@pytest.mark.parametrize("plugin", [8, 9])
def test_build_files_are_for_the_plug_in_of_the_profile(plugin):
    files = emitted("android-cpu", library=True, android_gradle_plugin=plugin)
    for module in ("android", "android-native"):
        applied = 'id("org.jetbrains.kotlin.android")' in files[f"{module}/build.gradle.kts"]
        assert applied == (plugin == 8)
        assert f"Android Gradle plugin {plugin}" in files[f"{module}/README.md"]


def test_both_modules_of_a_build_go_into_one_app():
    files = emitted("android-cpu", library=True)
    told = {}
    for module in ("android", "android-native"):
        paths = {p.removeprefix(f"{module}/") for p in files if p.startswith(f"{module}/")}
        sources = {p for p in paths if p.endswith(".kt")}
        packages = {files[f"{module}/{p}"].split("package ")[1].split()[0] for p in sources}
        (package,) = packages
        assert f'namespace = "{package}"' in files[f"{module}/build.gradle.kts"]
        assert all(p.startswith(f"src/main/kotlin/{package.replace('.', '/')}/") for p in sources)
        told[module] = package, files[f"{module}/README.md"].split('include(":')[1].split('"')[0]
    assert told == {
        "android": ("dev.edgebuild.net", "net"),
        "android-native": ("dev.edgebuild.net.jni", "net-jni"),
    }


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("android-npu", "libcdsprpc.so"),
        ("android-npu-google", "libedgetpu_litert.so"),
        ("android-npu-mediatek", "libneuronusdk_adapter.mtk.so"),
    ],
)
def test_the_manifest_is_for_the_vendor_of_the_profile(name, library):
    files = emitted(name, library=True)
    manifest = files["android/src/main/AndroidManifest.xml"]
    assert f'"{library}" android:required="false"' in manifest
    assert "uses-native-library" not in files["android-native/src/main/AndroidManifest.xml"]


def test_a_compiled_model_is_shipped_beside_the_one_for_the_cpu(tmp_path, monkeypatch):
    def compiled(model, delegate, folder):
        file = folder / f"model_{delegate.soc}.tflite"
        file.write_bytes(b"compiled")
        return npu.NpuModel(file, 3, 5, 2, "")

    monkeypatch.setattr(npu_delegate.Sdk, "missing", lambda self: "")
    monkeypatch.setattr(npu, "compile_for_npu", compiled)
    target = load_target("android-npu")
    labels = tuple(f"class {i}" for i in range(10))
    given = replace(shipment(target), labels=labels)
    for path, content in AndroidBackend().emit(given, target).items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    done = AndroidBackend().deliver(given, target, tmp_path, print, DeliverySettings())
    module = tmp_path / "android" / "src" / "main"
    assert (module / "assets" / "net.tflite").read_bytes() == MODEL
    assert (module / "assets" / "net_SM8750.tflite").read_bytes() == b"compiled"
    wrapper = (module / "kotlin" / "dev" / "edgebuild" / "net" / "Net.kt").read_text()
    assert "NPU_ASSET" in wrapper and '"class 9"' in wrapper
    assert done.notes == (
        "model_SM8750.tflite, in the module beside the model: in 2 partitions the NPU runs "
        "3 of 5 operators, the CPU the others",
    )
