"""What a target profile says, as frozen values. ``edgebuild.targets`` reads them from TOML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebuild.budget import Budget

FAMILIES = ("cortex-m", "host", "android", "coral")
MEMORY_KINDS = ("flash", "ram")
RUN_KINDS = ("simulator", "qemu", "serial", "adb", "host")
DELEGATES: Mapping[str, tuple[str, ...]] = {
    "android": ("xnnpack", "gpu", "nnapi", "npu"),
    "coral": ("edgetpu",),
}
"""By family, what may run a model's operators."""

FORMATS = ("int8", "dynamic", "float16", "float32")
"""Number formats that a model is shipped in; ``dynamic``: int8 weights, float activations."""

NPU_VENDORS = ("qualcomm", "mediatek", "google")

GRADLE_PLUGINS = (8, 9)
"""Major versions of the Android Gradle plug-in that modules are written for."""


@dataclass(frozen=True)
class CpuFeatures:
    """What kernels may use. ``dsp``: the Arm DSP extension (SMLAD); ``mve``: Helium; ``fpu``: a
    single-precision floating-point unit; ``neon``: AArch64 with Advanced SIMD, whose later
    extensions (dot product, i8mm) kernels look for when they run."""

    dsp: bool = False
    mve: bool = False
    fpu: bool = False
    neon: bool = False


CORES: Mapping[str, CpuFeatures] = {
    "cortex-m0": CpuFeatures(),
    "cortex-m0plus": CpuFeatures(),
    "cortex-m3": CpuFeatures(),
    "cortex-m4": CpuFeatures(dsp=True, fpu=True),
    "cortex-m7": CpuFeatures(dsp=True, fpu=True),
    "cortex-m33": CpuFeatures(dsp=True, fpu=True),
    "cortex-m55": CpuFeatures(dsp=True, mve=True, fpu=True),
}
"""The Cortex-M cores that edgebuild compiles for, with what it uses of each (M4: the M4F)."""

APPLICATION_CORES: Mapping[str, CpuFeatures] = {"arm64": CpuFeatures(fpu=True, neon=True)}
"""Processors that run an operating system; programs for them are static."""


@dataclass(frozen=True)
class Cpu:
    """The processor. ``core`` is a key of ``CORES``, or ``host``; ``clock_hz`` is the clock that
    edgebuild's firmware sets, None where it is not known (the host)."""

    core: str
    clock_hz: int | None
    features: CpuFeatures = CpuFeatures()


@dataclass(frozen=True)
class Memory:
    """A region of the memory map. ``reserved_bytes`` at its end are left to the application."""

    name: str
    kind: str
    origin: int
    size_bytes: int
    reserved_bytes: int = 0

    @property
    def end(self) -> int:
        """The first address behind the region."""
        return self.origin + self.size_bytes

    @property
    def usable_bytes(self) -> int:
        """What a build may use: all but the reserved part."""
        return self.size_bytes - self.reserved_bytes


@dataclass(frozen=True)
class Firmware:
    """How the benchmark firmware talks: a port in ``firmware/ports`` and the macros it needs."""

    port: str
    defines: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Run:
    """Where a build for this target may run. ``qemu_machine`` is set when ``kinds`` has qemu."""

    default: str
    kinds: tuple[str, ...]
    qemu_machine: str | None = None
    serial_baud: int = 115_200


@dataclass(frozen=True)
class Latency:
    """How the speed is known: ``measured`` (on the board itself), ``modelled`` with the cycle model
    ``model``, or ``unknown``. An unknown speed is never shown as a number."""

    how: str = "unknown"
    model: str | None = None


@dataclass(frozen=True)
class Delegate:
    """What LiteRT hands a model's operators to.

    ``kind`` is one of ``DELEGATES``, ``format`` the number format that it runs best. ``min_sdk`` is
    the oldest Android API level of the phones. Of NNAPI, ``feature_level`` is an API level from 27
    on, or 1000006 to 1000008, which phones from Android 12 on may report; a profile's ``min_sdk``
    follows it. Of NPUs, ``vendor`` is one of ``NPU_VENDORS`` and ``soc`` the chip as its vendor
    names it. ``android_gradle_plugin`` is one of ``GRADLE_PLUGINS``, what the app is built with.
    """

    kind: str
    format: str = "int8"
    min_sdk: int = 26
    feature_level: int | None = None
    vendor: str | None = None
    soc: str | None = None
    android_gradle_plugin: int = 9


@dataclass(frozen=True)
class TargetProfile:
    """A core, a board, a phone or accelerator, or the host. ``file`` is where it was read from.

    ``delegate`` is set where LiteRT runs the model; elsewhere generated C does.

    The first region of each kind is the one that a build uses; further ones are for the
    application.
    """

    name: str
    family: str
    description: str
    vendor: str
    cpu: Cpu
    memories: tuple[Memory, ...]
    run: Run
    firmware: Firmware | None = None
    delegate: Delegate | None = None
    latency: Latency = Latency()
    budget: Budget = field(default_factory=Budget)
    file: Path | None = field(default=None, compare=False)

    @property
    def flash(self) -> Memory | None:
        """The region that holds code and weights; None on the host."""
        return self._first("flash")

    @property
    def ram(self) -> Memory | None:
        """The region that holds data, stack and arena; None on the host."""
        return self._first("ram")

    def default_budget(self) -> Budget:
        """Return the profile's budget; where it has none, the device's own memory is the limit."""
        device = Budget(
            flash_bytes=self.flash.usable_bytes if self.flash else None,
            ram_bytes=self.ram.usable_bytes if self.ram else None,
        ).named(f"memory of {self.name}")
        return device.overridden_by(self.budget.named(f"profile {self.name}"))

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain JSON values, without where it was read from."""
        values = dataclasses.asdict(dataclasses.replace(self, file=None, budget=Budget()))
        del values["file"]
        values["budget"] = self.budget.to_json()
        values["memories"] = list(values["memories"])
        values["run"]["kinds"] = list(self.run.kinds)
        return values

    @property
    def sha256(self) -> str:
        """A hash of everything that the profile says; comments and layout do not count."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _first(self, kind: str) -> Memory | None:
        return next((memory for memory in self.memories if memory.kind == kind), None)
