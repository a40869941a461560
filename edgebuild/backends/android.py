"""Android phones: the model as a library module of an app, and generated C as a program for adb."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgebuild.backends.arm64 import compile_arm64_program
from edgebuild.backends.base import Delivered, Progress, Shipment
from edgebuild.devices.arm64 import QemuArm64Device
from edgebuild.devices.base import Device
from edgebuild.errors import ToolError
from edgebuild.targets import TargetProfile
from edgebuild.toolchain import find_toolchain


class AndroidBackend:
    """LiteRT in an app; for int8 models, a static arm64 program that needs no LiteRT."""

    family = "android"
    has_library = True

    def emit(self, shipment: Shipment, target: TargetProfile) -> Mapping[str, str | bytes]:
        """Return the generated C and the Android library module."""
        return dict(shipment.library.files) if shipment.library is not None else {}

    def deliver(
        self, shipment: Shipment, target: TargetProfile, out: Path, progress: Progress
    ) -> Delivered:
        """Compile ``bench-arm64`` where there is generated C."""
        if shipment.library is None:
            return Delivered("none")
        program = compile_arm64_program(shipment.library, out, progress)

        def open_device(kind: str) -> Device:
            if kind == "qemu":
                return QemuArm64Device(program, shipment.name)
            raise ToolError(f"this program cannot run on {kind}", hint="--run qemu")

        return Delivered(find_toolchain("zig").version(), open_device=open_device)
