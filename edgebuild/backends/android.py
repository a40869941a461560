"""Android phones: the model as a library module of an app, and generated C as a program for adb."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgebuild.backends.arm64 import compile_arm64_program
from edgebuild.backends.base import Cut, Delivered, DeliverySettings, Progress, Shipment
from edgebuild.backends.emit import LIBRARY
from edgebuild.codegen.android import (
    AndroidSettings,
    ModelInterface,
    NpuAsset,
    android_module,
    asset_path,
    interface_of,
    native_module,
    npu_asset_path,
)
from edgebuild.delegates.npu import SDKS, after_compilation
from edgebuild.devices.arm64 import QemuArm64Device
from edgebuild.devices.base import Device
from edgebuild.errors import InternalError, ToolError
from edgebuild.files import atomic_write
from edgebuild.targets import Delegate, TargetProfile
from edgebuild.tflite.signatures import signature_names
from edgebuild.toolchain import find_toolchain

MODULE = "android"
"""Folder of the library module in a build, which runs the ``.tflite`` with LiteRT."""

NATIVE_MODULE = "android-native"
"""Folder of the one that runs the generated C through JNI, without LiteRT."""


class AndroidBackend:
    """LiteRT in an app; for int8 models, a static arm64 program that needs no LiteRT."""

    family = "android"
    has_library = True
    has_metadata = True

    def emit(self, shipment: Shipment, target: TargetProfile) -> Mapping[str, str | bytes]:
        """Return the library module with the model in it, and the generated C."""
        if target.delegate is None:
            raise InternalError(f"target {target.name} has no delegate")
        module = _litert_module(shipment, target.delegate)
        if shipment.library is None:
            return module
        own = _settings(target.delegate, "native")
        library = {
            path.removeprefix(f"{LIBRARY}/"): text for path, text in shipment.library.files.items()
        }
        native = native_module(_interface(shipment), own, library)
        return {
            **module,
            **{f"{NATIVE_MODULE}/{path}": text for path, text in native.items()},
            **shipment.library.files,
        }

    def cuts(self, _shipment: Shipment) -> Sequence[Cut]:
        """Return nothing: LiteRT parts the model itself, on the phone."""
        return ()

    def deliver(
        self,
        shipment: Shipment,
        target: TargetProfile,
        out: Path,
        progress: Progress,
        _settings: DeliverySettings,
    ) -> Delivered:
        """Compile for the NPU where its SDK is installed, and ``bench-arm64`` where there is
        generated C."""
        delivered = _compile_for_npu(shipment, target, out, progress)
        if shipment.library is None:
            return delivered
        program = compile_arm64_program(shipment.library, out, progress)

        def open_device(kind: str) -> Device:
            if kind == "qemu":
                return QemuArm64Device(program, shipment.name)
            if kind == "adb":
                from edgebuild.devices.adb import AdbDevice

                return AdbDevice(program, shipment.name)
            raise ToolError(f"this program cannot run on {kind}", hint="--run qemu")

        toolchain = find_toolchain("zig").version()
        return dataclasses.replace(delivered, toolchain=toolchain, open_device=open_device)


def _interface(shipment: Shipment) -> ModelInterface:
    return interface_of(
        shipment.graph,
        shipment.name,
        labels=shipment.labels,
        signature=signature_names(shipment.model),
    )


def _litert_module(
    shipment: Shipment, delegate: Delegate, npu: NpuAsset | None = None
) -> dict[str, str | bytes]:
    """Return the module that runs the ``.tflite``, which the CPU needs beside one for an NPU."""
    model = _interface(shipment)
    files = android_module(model, _settings(delegate, delegate.kind), npu=npu)
    module: dict[str, str | bytes] = {f"{MODULE}/{path}": text for path, text in files.items()}
    module[f"{MODULE}/{asset_path(model)}"] = shipment.model
    return module


def _settings(delegate: Delegate, kind: str) -> AndroidSettings:
    return AndroidSettings(
        kind,
        delegate.min_sdk,
        vendor=delegate.vendor or "",
        android_gradle_plugin=delegate.android_gradle_plugin,
    )


def _compile_for_npu(
    shipment: Shipment, target: TargetProfile, out: Path, progress: Progress
) -> Delivered:
    """Compile with the vendor's SDK where that is installed, and write the module that has both.

    Without it the delegate's own notes say what is missing.
    """
    delegate = target.delegate
    if delegate is None or delegate.kind != "npu" or SDKS[delegate.vendor or ""].missing():
        return Delivered("none")
    from edgebuild.toolchain.npu import compile_for_npu

    progress(f"compiling for {delegate.soc}")
    made = compile_for_npu(shipment.model, delegate, out)
    counts = made.npu_operators, made.operators
    npu = NpuAsset(delegate.soc or "", *counts)
    module = _litert_module(shipment, delegate, npu)
    module[f"{MODULE}/{npu_asset_path(_interface(shipment), npu)}"] = made.file.read_bytes()
    for path, content in module.items():
        atomic_write(out / path, content)
    note = (
        f"{made.file.name}, in the module beside the model: in {made.partitions} partitions the "
        f"NPU runs {npu.share}"
    )
    found = after_compilation(shipment.compatibility, shipment.graph, *counts)
    return Delivered("none", notes=(note,), compatibility=found)
