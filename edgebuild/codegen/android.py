"""Generate an Android library module around a ``.tflite``: values -> {path: text}. Pure.

``android_module(model, settings)`` gives a Gradle module: build file, manifest, shrinker rules and
a Kotlin wrapper. The caller puts the model at ``asset_path(model)`` beside it, and where one is
compiled for an NPU, that at ``npu_asset_path(model, npu)``. Two runtimes exist:

- ``Interpreter``: xnnpack (LiteRT 2, whose interpreter is for the CPU alone), gpu and nnapi
  (LiteRT 1.4, the last with delegates).
- ``CompiledModel`` (LiteRT 2): npu, and gpu when ``settings.api`` asks for it.

``native_module`` makes the same wrapper around generated C (JNI, built by CMake), without LiteRT.

The wrapper tries accelerators in turn, from the delegate to the plain CPU, with one run of each
before it is taken, and keeps the reason of each that failed for the app to read. An accelerator
that takes the model may still leave operators to the CPU, of which LiteRT's interpreter says
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgebuild.codegen.android_interface import (
    AndroidSettings,
    ModelInterface,
    NpuAsset,
    TensorInterface,
    interface_of,
)
from edgebuild.codegen.kotlin_names import (
    check_package,
    class_name,
    constant_names,
    kotlin_float,
    kotlin_string,
    model_identifier,
    plain_text,
)
from edgebuild.codegen.names import c_identifier
from edgebuild.codegen.templates import render
from edgebuild.errors import InputError
from edgebuild.graph import DType
from edgebuild.profile import GRADLE_PLUGINS

__all__ = [
    "AndroidSettings",
    "ModelInterface",
    "NpuAsset",
    "TensorInterface",
    "android_module",
    "asset_path",
    "interface_of",
    "native_module",
    "npu_asset_path",
]

LITERT = "2.3.2"
"""LiteRT with CompiledModel, and an Interpreter for the CPU alone (October 2026)."""

LITERT_DELEGATES = "1.4.2"
"""The last LiteRT whose Interpreter takes delegates (GPU, NNAPI)."""

_CPP = "src/main/cpp"
_RUNTIMES = {
    "interpreter": "Interpreter",
    "compiled_model": "CompiledModel",
    "native": "Native",
}
_GROUP = "com.google.ai.edge.litert"
_LABELS_A_FUNCTION = 500
"""The JVM limits the code of one function to 64 KiB."""


@dataclass(frozen=True)
class Variant:
    """What a delegate and an API need: accelerators in the order tried, artifacts, Android.

    ``suffix`` of the default package keeps two modules of one model apart in an app.
    """

    accelerators: tuple[str, ...]
    api: str
    artifacts: tuple[str, ...]
    min_sdk: int
    native_libraries: tuple[str, ...] = ()
    suffix: str = ""


_OPENCL = ("libOpenCL.so", "libOpenCL-pixel.so", "libOpenCL-car.so")

VARIANTS: dict[tuple[str, str], Variant] = {
    ("xnnpack", "interpreter"): Variant(
        ("XNNPACK", "CPU"), "interpreter", (f"litert:{LITERT}",), min_sdk=24
    ),
    ("gpu", "interpreter"): Variant(
        ("GPU", "XNNPACK", "CPU"),
        "interpreter",
        tuple(f"{a}:{LITERT_DELEGATES}" for a in ("litert", "litert-gpu", "litert-gpu-api")),
        min_sdk=21,
        native_libraries=_OPENCL,
    ),
    ("gpu", "compiled_model"): Variant(
        ("GPU", "CPU"),
        "compiled_model",
        (f"litert:{LITERT}", f"litert-gpu:{LITERT}"),
        min_sdk=24,
    ),
    ("nnapi", "interpreter"): Variant(
        ("NNAPI", "XNNPACK", "CPU"), "interpreter", (f"litert:{LITERT_DELEGATES}",), min_sdk=27
    ),
    ("npu", "compiled_model"): Variant(
        ("NPU", "CPU"),
        "compiled_model",
        (f"litert:{LITERT}",),
        min_sdk=24,
    ),
    ("native", "native"): Variant(("NATIVE",), "native", (), min_sdk=21, suffix=".jni"),
}
"""By delegate and API; the first row of a delegate is its default."""

NPU_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "qualcomm": ("libcdsprpc.so",),
    "mediatek": (
        "libneuron_sys_util.mtk.so",
        "libneuronusdk_adapter.mtk.so",
        "libneuronusdk_adapter.9.mtk.so",
        "libneuronusdk_adapter.10.mtk.so",
        "libneuron_adapter_mgvi.so",
    ),
    "google": ("libedgetpu_litert.so",),
}
"""By vendor, the phone's libraries that LiteRT's dispatch library opens to reach the NPU."""

COMPILED_TYPES = frozenset({DType.FLOAT32, DType.INT8, DType.INT32, DType.INT64, DType.BOOL})
"""What CompiledModel's buffers take from Kotlin."""


def asset_path(model: ModelInterface) -> str:
    """Return where the ``.tflite`` goes, relative to the module's folder."""
    return f"src/main/assets/{model_identifier(model.name)}.tflite"


def npu_asset_path(model: ModelInterface, npu: NpuAsset) -> str:
    """Return where the one that is compiled for an NPU goes, beside the other for the CPU."""
    return f"src/main/assets/{_npu_file(model_identifier(model.name), npu)}"


def android_module(
    model: ModelInterface, settings: AndroidSettings, *, npu: NpuAsset | None = None
) -> dict[str, str]:
    """Return the module's text files by path relative to its folder; same values, same text.

    Args:
        model: its inputs and outputs.
        settings: where and how it runs.
        npu: what is compiled for the NPU, where the delegate is one and the model was compiled.

    Raises:
        InputError: the delegate and API do not exist together, Android is too old for the
            runtime, the package is no package, or a tensor is of a type that the API cannot take.
    """
    if settings.delegate == "native":
        raise InputError("the native module needs generated C", hint="native_module()")
    if npu is not None and settings.delegate != "npu":
        raise InputError(f"delegate '{settings.delegate}' runs nothing compiled for {npu.soc}")
    return _render(model, settings, _npu_values(model_identifier(model.name), npu))


def _npu_file(identifier: str, npu: NpuAsset) -> str:
    return f"{identifier}_{npu.soc}.tflite"


def _npu_values(identifier: str, npu: NpuAsset | None) -> dict[str, object]:
    """Return what the templates say of the compiled model; ``npu`` is None without one."""
    if npu is None:
        return {"npu": None}
    file = _npu_file(identifier, npu)
    return {
        "npu": {"soc": npu.soc, "file": file, "asset": kotlin_string(file), "share": npu.share},
    }


def native_module(
    model: ModelInterface,
    settings: AndroidSettings,
    library: Mapping[str, str],
    *,
    abis: tuple[str, ...] = ("arm64-v8a",),
) -> dict[str, str]:
    """Return a module that runs the generated C through JNI, with the same wrapper and no LiteRT.

    Args:
        model: its name is the one that the library was generated with.
        settings: with ``delegate="native"``.
        library: what ``generate_library`` gives.
        abis: the processors that ``library`` has code for.
    """
    if settings.delegate != "native":
        raise InputError(f"delegate '{settings.delegate}' runs no generated C", hint="native")
    c_name = c_identifier(model.name)
    if f"{c_name}.h" not in library:
        raise InputError(f"the generated C has no {c_name}.h: it is of another model")
    sources = sorted(f"lib/{path}" for path in library if path.endswith(".c"))
    extra = {
        "abis": abis,
        "sources": sources,
        "c_name": c_name,
        "macro": c_name.upper(),
        "library": f"eb_{c_name}",
        **_npu_values(model.name, None),
    }
    files = _render(model, settings, extra)
    return {**files, **{f"{_CPP}/lib/{path}": text for path, text in library.items()}}


def _render(
    model: ModelInterface, settings: AndroidSettings, extra: Mapping[str, object]
) -> dict[str, str]:
    variant = _variant(settings)
    _check(model, settings, variant)
    identifier = model_identifier(model.name)
    package = check_package(settings.package or f"dev.edgebuild.{identifier}{variant.suffix}")
    values = {**_values(model, settings, variant, identifier, package), **extra}
    sources = f"src/main/kotlin/{package.replace('.', '/')}"
    name = values["cls"]
    values["jni_class"] = f"{package.replace('.', '/')}/{name}Native"
    runtime = _RUNTIMES[variant.api]
    files = {
        "README.md": "README.md.j2",
        "build.gradle.kts": "build.gradle.kts.j2",
        "consumer-rules.pro": "consumer-rules.pro.j2",
        "src/main/AndroidManifest.xml": "AndroidManifest.xml.j2",
        f"{sources}/{name}.kt": "Model.kt.j2",
        f"{sources}/{name}Tensor.kt": "ModelTensor.kt.j2",
        f"{sources}/{name}Runtime.kt": "ModelRuntime.kt.j2",
        f"{sources}/{name}{runtime}.kt": f"Model{runtime}.kt.j2",
    }
    if variant.api == "native":
        files[f"{_CPP}/CMakeLists.txt"] = "CMakeLists.txt.j2"
        files[f"{_CPP}/{extra['c_name']}_jni.c"] = "model_jni.c.j2"
    return {path: render(f"android/{template}", **values) for path, template in files.items()}


def _variant(settings: AndroidSettings) -> Variant:
    delegates = list(dict.fromkeys(delegate for delegate, _ in VARIANTS))
    if settings.delegate not in delegates:
        raise InputError(
            f"delegate '{settings.delegate}' is not known", hint=f"one of {', '.join(delegates)}"
        )
    apis = [api for delegate, api in VARIANTS if delegate == settings.delegate]
    api = settings.api or apis[0]
    if api not in apis:
        raise InputError(
            f"delegate '{settings.delegate}' has no API '{api}'", hint=f"one of {', '.join(apis)}"
        )
    return VARIANTS[settings.delegate, api]


def _check(model: ModelInterface, settings: AndroidSettings, variant: Variant) -> None:
    if settings.min_sdk < variant.min_sdk:
        raise InputError(
            f"min_sdk {settings.min_sdk} is below {variant.min_sdk}, the lowest for "
            f"'{settings.delegate}' with {', '.join(variant.artifacts) or 'the NDK'}",
            hint=f"min_sdk = {variant.min_sdk}",
        )
    if settings.compile_sdk < settings.min_sdk:
        raise InputError(f"compile_sdk {settings.compile_sdk} is below min_sdk {settings.min_sdk}")
    if settings.android_gradle_plugin not in GRADLE_PLUGINS:
        raise InputError(
            f"Android Gradle plugin {settings.android_gradle_plugin} is not known",
            hint=" or ".join(map(str, GRADLE_PLUGINS)),
        )
    if settings.delegate == "npu" and settings.vendor not in NPU_LIBRARIES:
        raise InputError(
            f"NPU vendor '{settings.vendor}' is not known",
            hint=f"one of {', '.join(NPU_LIBRARIES)}",
        )
    if variant.api == "compiled_model":
        for tensor in (*model.inputs, *model.outputs):
            if tensor.dtype not in COMPILED_TYPES:
                raise InputError(
                    f"CompiledModel cannot take '{tensor.name}' ({tensor.dtype}) from Kotlin",
                    details=[f"it takes {', '.join(sorted(COMPILED_TYPES))}"],
                    hint="convert the model with int8 or float32 inputs and outputs",
                )


def _values(
    model: ModelInterface,
    settings: AndroidSettings,
    variant: Variant,
    identifier: str,
    package: str,
) -> dict[str, object]:
    inputs = _tensors(model.inputs, "INPUT")
    outputs = _tensors(model.outputs, "OUTPUT")
    return {
        "name": plain_text(model.name),
        "identifier": identifier,
        "cls": class_name(identifier),
        "package": package,
        "folder": identifier + variant.suffix.replace(".", "-"),
        "asset": kotlin_string(f"{identifier}.tflite"),
        "asset_file": f"{identifier}.tflite",
        "delegate": settings.delegate,
        "api": variant.api,
        "accelerators": variant.accelerators,
        "hardware": settings.delegate in ("gpu", "nnapi", "npu"),
        "artifacts": [f"{_GROUP}:{artifact}" for artifact in variant.artifacts],
        "native_libraries": (
            NPU_LIBRARIES[settings.vendor]
            if settings.delegate == "npu"
            else variant.native_libraries
        ),
        "min_sdk": settings.min_sdk,
        "compile_sdk": settings.compile_sdk,
        "threads": settings.threads,
        "agp": settings.android_gradle_plugin,
        "inputs": inputs,
        "outputs": outputs,
        "single": len(inputs) == 1 and len(outputs) == 1,
        "named": bool(inputs) and all(t.signature_name for t in (*model.inputs, *model.outputs)),
        "has_labels": any(t.labels for t in model.outputs),
    }


def _tensors(tensors: tuple[TensorInterface, ...], prefix: str) -> list[dict[str, object]]:
    names = constant_names((t.name for t in tensors), prefix)
    return [
        {
            "constant": constant,
            "index": index,
            "name": kotlin_string(tensor.name),
            "signature_name": kotlin_string(tensor.signature_name),
            "text": plain_text(tensor.name),
            "shape": ", ".join(str(d) for d in tensor.shape),
            "shape_text": " x ".join(str(d) for d in tensor.shape) or "scalar",
            "type": str(tensor.dtype).upper(),
            "scale": kotlin_float(tensor.scale),
            "zero_point": str(tensor.zero_point),
            "meaning": _meaning(tensor),
            "labels": [
                [
                    kotlin_string(label)
                    for label in tensor.labels[start : start + _LABELS_A_FUNCTION]
                ]
                for start in range(0, len(tensor.labels), _LABELS_A_FUNCTION)
            ],
        }
        for index, (tensor, constant) in enumerate(zip(tensors, names, strict=True))
    ]


def _meaning(tensor: TensorInterface) -> str:
    if not tensor.scale:
        return str(tensor.dtype)
    return f"{tensor.dtype}, real value = {tensor.scale:.9g} * (q - {tensor.zero_point})"
