"""``edgebuild targets``: list, show and check target profiles."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgebuild.cli.console import heading, line, print_json, table
from edgebuild.cli.options import FREQUENCY, SIZE, complete_target, json_option
from edgebuild.errors import InputError
from edgebuild.files import atomic_write
from edgebuild.profile import CORES
from edgebuild.regions import Memory
from edgebuild.targets import (
    PROFILE_HINT,
    Delegate,
    Latency,
    TargetProfile,
    list_targets,
    load_target,
    target_names,
    validate_target,
)
from edgebuild.units import format_duration, format_frequency, format_points, format_size, listed


@click.group()
def command() -> None:
    """List, show and check target profiles."""


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the profiles that ship with edgebuild."""
    profiles = list_targets()
    if as_json:
        print_json({"targets": [profile.to_json() for profile in profiles]})
        return
    table(
        ("target", "core", "clock", "flash", "RAM", "runs on"),
        [
            (
                profile.name,
                profile.cpu.core,
                format_frequency(profile.cpu.clock_hz) if profile.cpu.clock_hz else "-",
                format_size(profile.flash.usable_bytes) if profile.flash else "-",
                format_size(profile.ram.usable_bytes) if profile.ram else "-",
                ", ".join(profile.run.kinds),
            )
            for profile in profiles
            if profile.delegate is None
        ],
        right=(2, 3, 4),
    )
    heading("phones and accelerators, on which LiteRT runs the model")
    table(
        ("target", "delegate", "numbers", "level", "runs on"),
        [
            (
                profile.name,
                delegate.kind,
                delegate.format,
                str(delegate.feature_level or "-"),
                ", ".join(profile.run.kinds),
            )
            for profile in profiles
            if (delegate := profile.delegate) is not None
        ],
        right=(3,),
    )


@command.command("show")
@click.argument("target", shell_complete=complete_target)
@json_option
def show_command(target: str, as_json: bool) -> None:
    """Show one profile, including what it inherits."""
    profile = load_target(target)
    if as_json:
        print_json({**profile.to_json(), "sha256": profile.sha256})
        return
    line(f"{profile.name}: {profile.description}", style="bold")
    table(("", ""), _facts(profile))
    placement = profile.placement
    if profile.memories:
        heading("memory")
        table(
            ("region", "kind", "from", "size", "reserved", "waits", "holds"),
            [
                (
                    memory.name,
                    memory.kind,
                    f"0x{memory.origin:08x}",
                    format_size(memory.size_bytes),
                    format_size(memory.reserved_bytes) if memory.reserved_bytes else "-",
                    _wait_states(memory),
                    ", ".join(placement.roles_of(memory)) if placement else "",
                )
                for memory in profile.memories
            ],
            right=(3, 4, 5),
        )


@command.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--core", type=click.Choice([*CORES]), required=True, help="The chip's core.")
@click.option("--clock", type=FREQUENCY, required=True, help="Its clock, for example 84MHz.")
@click.option("--flash", type=SIZE, required=True, help="Its flash, for example 256KiB.")
@click.option("--ram", type=SIZE, required=True, help="Its RAM, for example 64KiB.")
@json_option
def new_command(file: Path, core: str, clock: int, flash: int, ram: int, as_json: bool) -> None:
    """Write the profile of a chip of your own to FILE (.toml)."""
    if file.suffix != ".toml":
        raise InputError(f"{file} does not end in .toml", hint=f"name it {file}.toml")
    if file.exists():
        raise InputError(f"{file} exists", hint="remove it first, or choose another name")
    atomic_write(
        file,
        profile_text(re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()), core, clock, flash, ram),
    )
    try:
        profile = load_target(file)
    except InputError:
        file.unlink()
        raise
    shown = file if file.is_absolute() else f"./{file}"
    if as_json:
        print_json({"file": str(file), "target": profile.to_json()})
        return
    line(f"wrote {file}")
    line(f"next: edgebuild build MODEL --target {shown}")


def profile_text(name: str, core: str, clock_hz: int, flash_bytes: int, ram_bytes: int) -> str:
    """Return a profile based on the generic one of ``core``, with its memory map; a core without
    one has that of its nearest relative."""
    base = load_target(core if core in target_names() else "cortex-m0plus")
    assert base.flash is not None and base.ram is not None
    sizes = {"flash": flash_bytes, "ram": ram_bytes}
    memories = "".join(
        f"""
[[memory]]
name = "{memory.name}"
kind = "{memory.kind}"
origin = 0x{memory.origin:08x}
size = {sizes[memory.kind]}
# access = {{ wait_states = 5, line_bytes = 16 }} # without it zero wait states are assumed
"""
        for memory in (base.flash, base.ram)
    )
    return f"""\
# Written by `edgebuild targets new`. docs/boards.md says what else a profile may hold.
schema = 1
name = "{name}"
based_on = "{base.name}"
description = "A chip of my own: {core}"

[cpu]
core = "{core}"
clock_hz = {clock_hz}
{memories}
[run]
default = "simulator"
kinds = ["simulator", "host"] # "serial" needs a port of the firmware: docs/protocol.md
"""


@command.command("validate")
@click.argument("targets", nargs=-1, shell_complete=complete_target)
@json_option
def validate_command(targets: tuple[str, ...], as_json: bool) -> None:
    """Check profiles (by default all shipped ones) and report every error."""
    checked = targets or target_names()
    faults = {target: list(validate_target(target)) for target in checked}
    wrong = [fault for found in faults.values() for fault in found]
    if as_json:
        print_json({"targets": faults, "valid": not wrong})
        if wrong:
            click.get_current_context().exit(2)
        return
    if wrong:
        files = [target for target, found in faults.items() if found and Path(target).is_file()]
        hint = f"correct {listed(files, 3)}; {PROFILE_HINT}" if files else PROFILE_HINT
        first, *rest = wrong
        if rest:
            raise InputError(f"{len(wrong)} errors", details=wrong, hint=hint)
        raise InputError(first, hint=hint)
    line(f"{len(checked)} {'profile is' if len(checked) == 1 else 'profiles are'} valid")


def _facts(profile: TargetProfile) -> list[tuple[str, str]]:
    """Return the rows of ``targets show``."""
    cpu, run, budget = profile.cpu, profile.run, profile.default_budget()
    features = [
        name.upper() for name in ("dsp", "mve", "fpu", "neon") if getattr(cpu.features, name)
    ]
    rows = [
        ("vendor", profile.vendor),
        ("family", profile.family),
        (
            "core",
            ""
            if profile.family == "coral"
            else f"{cpu.core}{' with ' if features else ''}{', '.join(features)}",
        ),
        *_delegate_facts(profile.delegate),
        ("clock", format_frequency(cpu.clock_hz) if cpu.clock_hz else ""),
        ("runs on", ", ".join(f"{k} (default)" if k == run.default else k for k in run.kinds)),
        ("QEMU machine", run.qemu_machine or ""),
        ("serial", f"{run.serial_baud:,} baud" if "serial" in run.kinds else ""),
        ("firmware port", profile.firmware.port if profile.firmware else ""),
        ("latency", _latency(profile.latency)),
        ("flash budget", format_size(budget.flash_bytes) if budget.flash_bytes else ""),
        ("RAM budget", format_size(budget.ram_bytes) if budget.ram_bytes else ""),
        ("latency budget", format_duration(budget.latency_us) if budget.latency_us else ""),
        (
            "accuracy budget",
            "" if budget.max_accuracy_drop is None else format_points(budget.max_accuracy_drop),
        ),
        (
            "class budget",
            "" if budget.max_class_drop is None else format_points(budget.max_class_drop),
        ),
        (
            "error budget",
            "" if budget.max_error_increase is None else f"{budget.max_error_increase:.1%} more",
        ),
        (
            "similarity budget",
            "" if budget.min_similarity is None else f"{budget.min_similarity:.4g} or more",
        ),
        ("profile", str(profile.file)),
        ("sha256", profile.sha256),
    ]
    return [row for row in rows if row[1]]


def _delegate_facts(delegate: Delegate | None) -> list[tuple[str, str]]:
    if delegate is None:
        return []
    return [
        ("delegate", delegate.kind),
        ("numbers", delegate.format),
        ("NNAPI level", str(delegate.feature_level or "")),
        ("NPU", f"{delegate.vendor} {delegate.soc}" if delegate.vendor else ""),
        ("Android API", f"{delegate.min_sdk} or later" if delegate.kind != "edgetpu" else ""),
    ]


def _wait_states(memory: Memory) -> str:
    if memory.access is None:
        return "unknown"
    low, high = memory.access.wait_states, memory.access.wait_states_max
    return f"{low} to {high}" if memory.access.is_bounded else f"{low}"


def _latency(latency: Latency) -> str:
    return f"{latency.how} by '{latency.model}'" if latency.model else latency.how
