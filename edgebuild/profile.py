"""What a target profile says, as frozen values. ``edgebuild.targets`` reads them from TOML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgebuild.budget import MEMORY_OF, Budget
from edgebuild.errors import InputError
from edgebuild.regions import Cache, Memory, Placement, placement_faults, placement_of
from edgebuild.units import quoted

FAMILIES = ("cortex-m", "host", "android", "coral")
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


class Optimize(StrEnum):
    """What kernels are chosen for: ``edgebuild.schedule``."""

    SPEED = "speed"
    BALANCED = "balanced"
    SIZE = "size"
    RAM = "ram"


AGAINST = {"latency": Optimize.SPEED, "flash": Optimize.SIZE, "ram": Optimize.RAM}
"""What kernels are chosen for where a budget is missed."""


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
    edgebuild's firmware sets, None where it is not known (the host). The caches are those of the
    core, as edgebuild's firmware switches them on, for regions with ``core_caches``."""

    core: str
    clock_hz: int | None
    features: CpuFeatures = CpuFeatures()
    instruction_cache: Cache | None = None
    data_cache: Cache | None = None


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


INPUT_BY = ("run", "rows")
"""How generated C takes its input: whole before each run, or row by row, as a sensor gives it."""


@dataclass(frozen=True)
class TargetProfile:
    """A core, a board, a phone or accelerator, or the host. ``file`` is where it was read from.

    ``delegate`` is set where LiteRT runs the model; elsewhere generated C does. ``place`` says in
    which regions a role goes, over what the regions themselves hold: see ``placement``.
    ``optimize`` is what kernels are chosen for; they and constants should take at most
    ``kernel_flash`` bytes where that is given. ``keep_inputs``: a run leaves the inputs as they
    are. ``input_by`` is one of ``INPUT_BY``: how the caller gives the input.
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
    place: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    optimize: Optimize = Optimize.BALANCED
    kernel_flash: int | None = None
    keep_inputs: bool = False
    input_by: str = INPUT_BY[0]
    file: Path | None = field(default=None, compare=False)

    @property
    def placement(self) -> Placement | None:
        """Where each role goes; None on targets without a memory map."""
        return placement_of(self.memories, self.place)

    @property
    def flash(self) -> Memory | None:
        """The region that holds the code; None on targets without a memory map."""
        return self.placement.code if self.placement else None

    @property
    def ram(self) -> Memory | None:
        """The region that holds data and stack; None on targets without a memory map."""
        return self.placement.data if self.placement else None

    def placed(self, place: Mapping[str, tuple[str, ...]]) -> TargetProfile:
        """Return the profile with ``place`` over its own.

        Raises InputError for regions that it does not have, and for roles that cannot go there.
        """
        if not place:
            return self
        profile = dataclasses.replace(self, place={**self.place, **place})
        if not self.memories:
            raise InputError(f"target {self.name} has no memory regions to place roles in")
        faults = list(placement_faults(profile.memories, profile.place))
        if faults:
            regions = ", ".join(f"{m.name} ({m.kind})" for m in self.memories)
            raise InputError(
                f"{self.name}: " + "; ".join(f"{key} {fault}" for key, fault in faults),
                hint=f"choose one of its regions: {regions}",
            )
        return profile

    def optimized(self, optimize: Optimize) -> TargetProfile:
        """Return the profile with kernels chosen for ``optimize``."""
        return dataclasses.replace(self, optimize=optimize)

    def keeping_inputs(self, keep: bool) -> TargetProfile:
        """Return the profile with generated C that keeps its inputs, or may overwrite them."""
        return dataclasses.replace(self, keep_inputs=keep)

    def taking_input(self, by: str) -> TargetProfile:
        """Return the profile with generated C that takes its input by ``run`` or by ``rows``.

        Raises InputError for other words, and for ``rows`` where LiteRT runs the model.
        """
        if by not in INPUT_BY:
            raise InputError(
                f"input_by is {quoted(by)}", hint=" or ".join(f'"{one}"' for one in INPUT_BY)
            )
        if by == "rows" and self.delegate is not None:
            raise InputError(
                f"--input-by rows is for generated C on microcontrollers, not for {self.name}, on "
                "which LiteRT runs the model",
                hint="--target cortex-m4 (`edgebuild targets list` shows others), or leave it out",
            )
        return dataclasses.replace(self, input_by=by)

    def with_kernel_flash(self, size: int) -> TargetProfile:
        """Return the profile with kernels that take at most ``size`` bytes with all constants,
        where there are such."""
        return dataclasses.replace(self, kernel_flash=size)

    def default_budget(self) -> Budget:
        """Return the profile's budget; where it has none, the device's own memory is the limit."""
        used = self.placement.used if self.placement else ()
        device = Budget(
            flash_bytes=sum(m.usable_bytes for m in used if m.kind == "flash") or None,
            ram_bytes=sum(m.usable_bytes for m in used if m.kind == "ram") or None,
        ).named(f"{MEMORY_OF}{self.name}")
        return device.overridden_by(self.budget.named(f"profile {self.name}"))

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain JSON values, without where it was read from."""
        values = dataclasses.asdict(dataclasses.replace(self, file=None, budget=Budget()))
        del values["file"], values["kernel_flash"]
        values["budget"] = self.budget.to_json()
        values["memories"] = [
            {**memory, "holds": list(memory["holds"])} for memory in values["memories"]
        ]
        values["place"] = {role: list(names) for role, names in self.place.items()}
        values["run"]["kinds"] = list(self.run.kinds)
        return values

    @property
    def sha256(self) -> str:
        """A hash of everything that the profile says; comments and layout do not count."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
