"""Target profiles: typed views of the TOML files in ``targets/``.

A profile may be ``based_on`` another, by name or by a path relative to its own file. It inherits
all that it does not say; ``[[memory]]`` and ``firmware.defines`` are replaced as a whole, and
``[place]`` role by role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebuild.budget import Budget, read_budget
from edgebuild.errors import CHECK_PATH, InputError, nearest
from edgebuild.files import resolved
from edgebuild.profile import (
    APPLICATION_CORES,
    CORES,
    DELEGATES,
    FAMILIES,
    FORMATS,
    GRADLE_PLUGINS,
    NPU_VENDORS,
    RUN_KINDS,
    Cpu,
    CpuFeatures,
    Delegate,
    Firmware,
    Latency,
    Run,
    TargetProfile,
)
from edgebuild.region_reader import read_cache, read_memories, read_place
from edgebuild.regions import MEMORY_KINDS, Memory, placement_faults
from edgebuild.resources import resource_dir
from edgebuild.toml_reader import Problems, Reader, read_toml
from edgebuild.units import MAX_FREQUENCY_HZ, quoted

__all__ = [
    "CORES",
    "Cpu",
    "CpuFeatures",
    "Delegate",
    "Firmware",
    "Latency",
    "Memory",
    "Run",
    "TargetProfile",
    "list_targets",
    "load_target",
    "target_names",
    "validate_target",
]

SCHEMA = 1
_MAX_CHAIN = 8
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CHIP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DEFINE_VALUE = re.compile(r"[A-Za-z0-9_ .,()+*/<>|&~^%-]*")
_LIST_HINT = "edgebuild targets list"
PROFILE_HINT = (
    'a line `based_on = "nucleo-f446re"` (any target\'s name) takes all that the file leaves out '
    "from there; `edgebuild targets show nucleo-f446re` prints a complete profile"
)
"""Where to look up what a profile may say."""
_MISSING = (
    f"{CHECK_PATH}; `edgebuild targets show nucleo-f446re` prints a complete profile to start from"
)
_ALIKE = 5
_API_LEVELS = range(21, 100)
_FEATURE_LEVELS = (*range(27, 36), 1_000_006, 1_000_007, 1_000_008)
_ALL_DELEGATES = tuple(kind for kinds in DELEGATES.values() for kind in kinds)


def target_names() -> tuple[str, ...]:
    """Return the names of the profiles that ship with edgebuild, sorted."""
    return tuple(sorted(path.stem for path in resource_dir("targets").glob("*.toml")))


def list_targets() -> tuple[TargetProfile, ...]:
    """Return all profiles that ship with edgebuild, by name."""
    return tuple(load_target(name) for name in target_names())


def load_target(name_or_path: str | Path) -> TargetProfile:
    """Return the profile with a shipped name, or in the TOML file at a path.

    Raises InputError that lists every fault at once.
    """
    path = _locate(str(name_or_path))
    problems = Problems()
    profile = _load(path, problems)
    problems.raise_if_any(
        _shown(path),
        hint=f"correct {_shown(path)}; {PROFILE_HINT}",
        all_of_them=f"edgebuild targets validate {_shown(path)} lists all errors",
    )
    if profile is None:
        raise InputError(f"{_shown(path)} is not a usable profile", hint=PROFILE_HINT)
    return profile


def validate_target(name_or_path: str | Path) -> tuple[str, ...]:
    """Return every fault of a profile, one line each; empty when it is good."""
    problems = Problems()
    try:
        _load(_locate(str(name_or_path)), problems)
    except InputError as error:
        said = (*problems.found, error.message)
        return (*said[:-1], f"{said[-1]} ({error.hint})") if error.hint else said
    return tuple(problems.found)


def _locate(given: str) -> Path:
    if "/" in given or "\\" in given or given.endswith(".toml"):
        return Path(given)
    names = target_names()
    if given in names:
        return _shipped(given)
    beside = Path(f"{given[:200]}.toml") if given.isprintable() else None
    if beside is not None and beside.is_file():
        raise InputError(
            f"target {quoted(given)} is not one of edgebuild's own profiles, but {beside} is a "
            "file here",
            hint=f"--target ./{beside}",
        )
    board, chip = _with_chip(given)
    if chip:
        raise InputError(
            f"unknown target {quoted(given)}; '{board}' is a board with {chip}",
            hint=f"--target {board} if that is your chip; for another one of its family run "
            f"`edgebuild targets new mine.toml --core {_core(board)} --clock 84MHz --flash 256KiB "
            "--ram 64KiB`, with the figures of its data sheet, and build with --target ./mine.toml",
        )
    raise InputError(
        f"unknown target {quoted(given)}{nearest(given[:60], names)}",
        hint=f"`{_LIST_HINT}` shows all names; for a board of your own, `edgebuild targets new` "
        "writes a profile, whose path --target takes",
    )


def _with_chip(given: str) -> tuple[str, str]:
    """Return the shipped board whose chip shares most of its first letters, at least five, with
    ``given``, and that chip; two empty strings where there is none."""
    found = [(0, "", "")]
    for name in target_names():
        described = str(read_toml(_shipped(name)).get("description", ""))
        for chip in re.findall(r"[A-Za-z]+\d\w+", described):
            same = [a == b for a, b in zip(chip.lower(), given.lower(), strict=False)]
            found.append(([*same, False].index(False), name, chip))
    alike, name, chip = max(found, key=lambda one: one[0])
    return (name, chip) if alike >= _ALIKE else ("", "")


def _core(board: str) -> str:
    return load_target(board).cpu.core


def _shipped(name: str) -> Path:
    return resource_dir("targets") / f"{name}.toml"


def _shown(path: Path) -> str:
    """Return the path as messages name it: ``targets/x.toml`` for a shipped profile."""
    return f"targets/{path.name}" if path.parent == resource_dir("targets") else str(path)


@dataclass
class _Layer:
    """What one file says (by dotted key), and which keys it mentions, faulty ones included."""

    values: dict[str, Any] = field(default_factory=dict)
    mentioned: set[str] = field(default_factory=set)
    budget: Budget = field(default_factory=Budget)

    def over(self, base: _Layer) -> _Layer:
        """Return ``base`` with what this layer says in its place."""
        return _Layer(
            {**base.values, **self.values},
            base.mentioned | self.mentioned,
            base.budget.overridden_by(self.budget),
        )


def _load(path: Path, problems: Problems) -> TargetProfile | None:
    layer = _read_chain(path, problems, ())
    before = len(problems.found)
    profile = _build(layer, path, problems)
    return profile if before == len(problems.found) == 0 else None


def _read_chain(path: Path, problems: Problems, chain: tuple[Path, ...]) -> _Layer:
    """Read ``path`` and all it is based on, the strongest last."""
    here = resolved(path)
    if here in chain or len(chain) >= _MAX_CHAIN:
        loop = " -> ".join(_shown(p) for p in (*chain, here))
        problems.add(_shown(path), "based_on", f"leads back to itself: {loop}")
        return _Layer(mentioned={*_REQUIRED, *_REQUIRED_ON_CORTEX_M})
    reader = Reader(read_toml(path, hint=_MISSING), _shown(path), problems)
    base_name = reader.text("based_on")
    layer = _read_layer(reader)
    layer.mentioned |= reader.finish()
    if "based_on" in layer.mentioned and base_name is None:  # by another word
        layer.mentioned.update(_REQUIRED, _REQUIRED_ON_CORTEX_M)
    if base_name is None:
        return layer
    base = _base_path(base_name, path, reader)
    if base is None:
        layer.mentioned.update(_REQUIRED, _REQUIRED_ON_CORTEX_M)
        return layer
    inherited = _read_chain(base, problems, (*chain, here))
    inherited.values.pop("name", None)
    inherited.mentioned.discard("name")
    return layer.over(inherited)


def _base_path(base_name: str, path: Path, reader: Reader) -> Path | None:
    if "/" in base_name or base_name.endswith(".toml"):
        base = path.parent / base_name
        if base.is_file():
            return base
        reader.fault("based_on", f"names {quoted(base_name)}, which does not exist")
        return None
    if base_name in target_names():
        return _shipped(base_name)
    known = nearest(base_name[:60], target_names())
    reader.fault("based_on", f"names {quoted(base_name)}, which is not a known target{known}")
    return None


_TABLES = ("cpu", "firmware", "delegate", "run", "latency")


def _read_layer(reader: Reader) -> _Layer:
    """Read what one file says; absent fields are absent from the result."""
    schema = reader.count("schema", None, required=True)
    if schema is not None and schema != SCHEMA:
        reader.fault("schema", f"is {schema}; this edgebuild reads schema {SCHEMA}")
    tables = {key: reader.table(key) for key in (*_TABLES, "budget")}
    cpu, firmware, delegate, run, latency = (tables[key] for key in _TABLES)
    serial = run.table("serial")
    values = {
        "name": _checked_name(reader),
        "family": reader.choice("family", FAMILIES, None),
        "description": reader.text("description"),
        "vendor": reader.text("vendor"),
        "cpu.core": cpu.choice("core", (*CORES, *APPLICATION_CORES), None),
        "cpu.clock_hz": _checked_clock(cpu),
        "firmware.port": firmware.choice("port", _ports(), None),
        "firmware.defines": _checked_defines(firmware) if "defines" in firmware else None,
        "delegate.kind": delegate.choice("kind", _ALL_DELEGATES, None),
        "delegate.format": delegate.choice("format", FORMATS, None),
        "delegate.min_sdk": _checked_level(delegate, "min_sdk", _API_LEVELS),
        "delegate.feature_level": _checked_level(delegate, "feature_level", _FEATURE_LEVELS),
        "delegate.vendor": delegate.choice("vendor", NPU_VENDORS, None),
        "delegate.soc": _checked_chip(delegate),
        "delegate.android_gradle_plugin": _checked_plugin(delegate),
        "run.default": run.choice("default", RUN_KINDS, None),
        "run.kinds": run.choices("kinds", RUN_KINDS) or None,
        "run.qemu_machine": run.text("qemu_machine"),
        "run.serial.baud": serial.count("baud", None),
        "latency.how": latency.choice("how", ("measured", "modelled", "unknown"), None),
        "latency.model": latency.text("model"),
        "cpu.instruction_cache": read_cache(cpu, "instruction_cache"),
        "cpu.data_cache": read_cache(cpu, "data_cache"),
        "memory": read_memories(reader) if "memory" in reader else None,
        **{f"place.{role}": names for role, names in read_place(reader.table("place")).items()},
    }
    budget = read_budget(tables["budget"])
    serial.finish()
    mentioned = set(reader.keys)
    for name in _TABLES:
        keys = {*tables[name].keys, *tables[name].finish()}
        mentioned |= {f"{name}.{key}" for key in keys}
    return _Layer({k: v for k, v in values.items() if v is not None}, mentioned, budget)


def _checked_name(reader: Reader) -> str | None:
    name = reader.text("name", required=True)
    if name is not None and not _NAME.fullmatch(name):
        reader.fault("name", f"{quoted(name)} may contain only lower-case letters, digits, '.-_'")
        return None
    return name


def _checked_clock(cpu: Reader) -> int | None:
    clock = cpu.count("clock_hz", None)
    if clock is not None and not 0 < clock <= MAX_FREQUENCY_HZ:
        cpu.fault("clock_hz", f"{quoted(clock)} is not a clock in Hz")
        return None
    return clock


def _checked_level(delegate: Reader, key: str, levels: Sequence[int]) -> int | None:
    level = delegate.count(key, None)
    if level is not None and level not in levels:
        last = max(known for known in levels if known < 1_000_000)
        delegate.fault(key, f"{level} is not an API level from {levels[0]} to {last}")
        return None
    return level


def _checked_chip(delegate: Reader) -> str | None:
    chip = delegate.text("soc")
    if chip is not None and not _CHIP.fullmatch(chip):
        delegate.fault("soc", f"{quoted(chip)} may contain only letters, digits and '_-'")
    return chip


def _checked_plugin(delegate: Reader) -> int | None:
    version = delegate.count("android_gradle_plugin", None)
    if version is not None and version not in GRADLE_PLUGINS:
        known = " or ".join(map(str, GRADLE_PLUGINS))
        delegate.fault("android_gradle_plugin", f"{version} is not {known}, a major version")
        return None
    return version


def _ports() -> tuple[str, ...]:
    """Return the names of the firmware's ports, which are folders of C."""
    return tuple(sorted(p.name for p in (resource_dir("firmware") / "ports").iterdir()))


def _checked_defines(firmware: Reader) -> dict[str, str]:
    defines = firmware.strings("defines")
    for name, value in defines.items():
        if not _IDENTIFIER.fullmatch(name):
            firmware.fault(("defines", name), "is not the name of a C macro")
        elif not _DEFINE_VALUE.fullmatch(value):
            firmware.fault(("defines", name), f"{quoted(value)} is not a plain C expression")
    return defines


_REQUIRED = ("name", "family", "description", "run.default", "run.kinds")
_REQUIRED_ON_CORTEX_M = ("cpu.core", "cpu.clock_hz", "memory", "firmware.port")
_REQUIRED_BY_FAMILY = {
    "cortex-m": _REQUIRED_ON_CORTEX_M,
    "android": ("cpu.core", "delegate.kind"),
    "coral": ("delegate.kind",),
}


def _build(layer: _Layer, path: Path, problems: Problems) -> TargetProfile | None:
    """Check what only the whole profile can tell, and make it."""
    values, file = layer.values, _shown(path)
    required = [*_REQUIRED, *_REQUIRED_BY_FAMILY.get(values.get("family", ""), ())]
    for key in required:
        if key not in values and key not in layer.mentioned:
            problems.add(file, key, "is missing")
    if any(key not in values for key in required):
        return None
    memories = values.get("memory", ())
    kinds = values["run.kinds"]
    core = values.get("cpu.core", "host")
    profile = TargetProfile(
        name=values["name"],
        family=values["family"],
        description=values["description"],
        vendor=values.get("vendor", ""),
        cpu=Cpu(
            core,
            values.get("cpu.clock_hz"),
            {**CORES, **APPLICATION_CORES}.get(core, CpuFeatures()),
            values.get("cpu.instruction_cache"),
            values.get("cpu.data_cache"),
        ),
        memories=memories,
        run=Run(
            values["run.default"],
            kinds,
            values.get("run.qemu_machine") if "qemu" in kinds else None,
            values.get("run.serial.baud", 115_200),
        ),
        firmware=_firmware(values),
        delegate=_delegate(values),
        latency=Latency(values.get("latency.how", "unknown"), values.get("latency.model")),
        budget=layer.budget,
        place={k.partition(".")[2]: v for k, v in values.items() if k.startswith("place.")},
        file=path,
    )
    for key, fault in _profile_faults(profile):
        problems.add(file, key, fault)
    return profile


def _firmware(values: dict[str, Any]) -> Firmware | None:
    port = values.get("firmware.port")
    return None if port is None else Firmware(port, values.get("firmware.defines", {}))


def _delegate(values: dict[str, Any]) -> Delegate | None:
    given = {k.partition(".")[2]: v for k, v in values.items() if k.startswith("delegate.")}
    if "kind" not in given:
        return None
    if given["kind"] == "nnapi" and "feature_level" in given:
        given.setdefault("min_sdk", _first_android(given["feature_level"]))
    return Delegate(**given)


def _first_android(feature_level: int) -> int:
    """Return the first API level with an NNAPI level; from Android 12 on NNAPI is updated apart."""
    return feature_level if feature_level < 1_000_000 else 31


def _profile_faults(profile: TargetProfile) -> Iterable[tuple[str, str]]:
    """Yield (key, fault) for what single fields cannot tell."""
    run, latency, budget = profile.run, profile.latency, profile.budget
    if profile.family == "cortex-m":
        for kind in MEMORY_KINDS:
            if not any(memory.kind == kind for memory in profile.memories):
                yield "memory", f"has no region of kind '{kind}'"
    yield from placement_faults(profile.memories, profile.place)
    yield from _core_faults(profile)
    yield from _delegate_faults(profile)
    if run.default not in run.kinds:
        yield "run.default", f"'{run.default}' is not among run.kinds"
    if profile.family == "cortex-m" and "qemu" in run.kinds and run.qemu_machine is None:
        yield "run.qemu_machine", "is missing, and run.kinds has 'qemu'"
    if latency.how == "modelled" and latency.model is None:
        yield "latency.model", "is missing, and latency.how is 'modelled'"
    for key, limit, kind in (
        ("max_flash", budget.flash_bytes, "flash"),
        ("max_ram", budget.ram_bytes, "ram"),
    ):
        room = sum(memory.usable_bytes for memory in profile.memories if memory.kind == kind)
        if limit is not None and room and limit > room:
            yield f"budget.{key}", f"is more than the regions of kind '{kind}' have"


def _core_faults(profile: TargetProfile) -> Iterable[tuple[str, str]]:
    core, family = profile.cpu.core, profile.family
    if family == "cortex-m" and core not in CORES:
        yield "cpu.core", f"'{core}' is not a Cortex-M core ({', '.join(CORES)})"
    if family == "android" and core not in APPLICATION_CORES:
        yield "cpu.core", f"'{core}' is not a phone's core ({', '.join(APPLICATION_CORES)})"


def _delegate_faults(profile: TargetProfile) -> Iterable[tuple[str, str]]:
    delegate, kinds = profile.delegate, DELEGATES.get(profile.family, ())
    if delegate is None:
        return
    if delegate.kind not in kinds:
        known = ", ".join(kinds) or "none"
        yield "delegate.kind", f"family '{profile.family}' has no '{delegate.kind}'; it has {known}"
    level = delegate.feature_level
    if delegate.kind == "nnapi" and level is None:
        yield "delegate.feature_level", "is missing, and delegate.kind is 'nnapi'"
    if delegate.kind == "nnapi" and level is not None and delegate.min_sdk < _first_android(level):
        yield (
            "delegate.min_sdk",
            f"{delegate.min_sdk} is below {_first_android(level)}, the first with "
            f"feature_level {level}",
        )
    if delegate.kind == "npu" and (delegate.vendor is None or delegate.soc is None):
        missing = "vendor" if delegate.vendor is None else "soc"
        yield f"delegate.{missing}", "is missing, and delegate.kind is 'npu'"
