"""What ``edgebuild doctor`` looks at. Nothing here prints; nothing imports a slow package."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from edgebuild.errors import EdgebuildError
from edgebuild.targets import list_targets
from edgebuild.toolchain.cache import ENVIRONMENT, cache_dir
from edgebuild.toolchain.process import run_tool
from edgebuild.units import format_size

PYTHON_SINCE, PYTHON_BELOW = (3, 11), (3, 13)
ENOUGH_DISK_BYTES = 500 * 1024**2
_TOOL_TIMEOUT_S = 120.0  # the first start of zig unpacks its library
_MAX_CACHE_FILES = 200_000
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)(;.*)?")


class Status(StrEnum):
    """What a check found. Only ``BAD`` is in the way of the default build."""

    GOOD = "ok"
    OPTIONAL = "missing"
    BAD = "problem"


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report. ``remedy`` says how to get what is missing."""

    group: str
    name: str
    status: Status
    found: str
    remedy: str = ""


def all_checks() -> Iterator[Check]:
    """Yield every check; the slow ones are made only when they are asked for."""
    yield check_python()
    yield from check_packages()
    yield from check_extras()
    yield check_zig()
    yield check_gcc()
    yield from check_qemu()
    yield check_qemu_arm64()
    yield check_edgetpu()
    yield from check_folders()
    yield check_serial_ports()
    yield from check_phones()


def check_python() -> Check:
    """Check that this Python is one that edgebuild is tested with."""
    version = sys.version_info[:2]
    good = PYTHON_SINCE <= version < PYTHON_BELOW
    wanted = f"{_dotted(PYTHON_SINCE)} or newer, below {_dotted(PYTHON_BELOW)}"
    return Check(
        "Python",
        "python",
        Status.GOOD if good else Status.BAD,
        f"{sys.version.split()[0]} ({wanted})",
        "" if good else f"install edgebuild with Python {_dotted(PYTHON_SINCE)} or 3.12",
    )


def check_packages(requires: Iterable[str] | None = None) -> Iterator[Check]:
    """Check every package that edgebuild requires against its bounds."""
    if requires is None:
        try:
            requires = metadata.requires("edgebuild") or ()
        except metadata.PackageNotFoundError:
            remedy = "pip install edgebuild"
            yield Check("packages", "edgebuild", Status.BAD, "not installed", remedy)
            return
    for requirement in requires:
        match = _REQUIREMENT.match(requirement)
        if match is None or match[3]:  # an extra
            continue
        name, bounds = match[1], _ordered(match[2])
        yield _package(name, bounds, Status.BAD, f"pip install '{name}{bounds}'")


def check_extras() -> Iterator[Check]:
    """Check what only some uses need: Keras models, the search, phones."""
    for package, extra, what in (
        ("tensorflow", "keras", "for .keras, .h5, SavedModel"),
        ("optuna", "search", "to search compressions"),
        ("adbutils", "android", "to measure on phones"),
    ):
        check = _package(package, "", Status.OPTIONAL, f"pip install 'edgebuild[{extra}]'")
        if check.status is not Status.GOOD:
            check = Check(check.group, check.name, check.status, what, check.remedy)
        yield check


def check_zig() -> Check:
    """Check the default compiler."""
    return _tool(
        "zig",
        [sys.executable, "-m", "ziglang", "version"],
        Status.BAD,
        "pip install --force-reinstall ziglang",
        optional_for="",
    )


def check_gcc() -> Check:
    """Check the compiler of ``--toolchain gcc``."""
    return _tool(
        "arm-none-eabi-gcc",
        ["arm-none-eabi-gcc", "-dumpfullversion"],
        Status.OPTIONAL,
        _package_manager("gcc-arm-none-eabi", "arm-gcc-bin"),
        optional_for="for --toolchain gcc",
    )


def check_qemu() -> Iterator[Check]:
    """Check QEMU, and that it knows the machines of the profiles."""
    remedy = _package_manager("qemu-system-arm", "qemu")
    check = _tool(
        "qemu-system-arm",
        ["qemu-system-arm", "--version"],
        Status.OPTIONAL,
        remedy,
        optional_for="for --run qemu, and for cortex-m55",
    )
    yield check
    if check.status is not Status.GOOD:
        return
    wanted = sorted({p.run.qemu_machine for p in list_targets() if p.run.qemu_machine})
    listing = _output(["qemu-system-arm", "-machine", "help"]) or ""
    known = {line.split()[0] for line in listing.splitlines() if line.strip()}
    lacking = [machine for machine in wanted if machine not in known]
    yield Check(
        "tools",
        "QEMU machines",
        Status.OPTIONAL if lacking else Status.GOOD,
        f"lacks {', '.join(lacking)}" if lacking else ", ".join(wanted),
        "install QEMU 6.2 or newer" if lacking else "",
    )


def check_qemu_arm64() -> Check:
    """Check the QEMU that runs the arm64 program of a phone."""
    return _tool(
        "qemu-aarch64",
        ["qemu-aarch64", "--version"],
        Status.OPTIONAL,
        _package_manager("qemu-user", "qemu"),
        optional_for="for --run qemu of android targets",
    )


def check_edgetpu() -> Check:
    """Check Google's compiler for Coral boards."""
    return _tool(
        "edgetpu_compiler",
        ["edgetpu_compiler", "--version"],
        Status.OPTIONAL,
        "https://coral.ai/docs/edgetpu/compiler/, or --edgetpu-container",
        optional_for="to compile for Coral boards",
    )


def check_folders() -> Iterator[Check]:
    """Check the cache folder and the room on its disk."""
    folder = cache_dir()
    existing = _nearest_existing(folder)
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    size, files = folder_size(folder)
    yield Check(
        "folders",
        "cache",
        Status.GOOD if writable else Status.BAD,
        f"{folder}: {_rough(size)} in {files:,} files" + ("" if writable else ", not writable"),
        "" if writable else f"set {ENVIRONMENT} to a folder that you may write",
    )
    free = shutil.disk_usage(existing).free
    enough = free >= ENOUGH_DISK_BYTES
    yield Check(
        "folders",
        "free disk space",
        Status.GOOD if enough else Status.BAD,
        _rough(free),
        "" if enough else f"free {_rough(ENOUGH_DISK_BYTES)}: compilers need room for their caches",
    )


def check_serial_ports() -> Check:
    """List the serial ports that boards may be on."""
    try:
        from serial.tools.list_ports import comports

        # A PC's built-in ports have no description; a board's always has one.
        ports = [f"{p.device} ({p.description})" for p in comports() if p.description != "n/a"]
    except (ImportError, OSError) as error:
        return Check("devices", "serial ports", Status.OPTIONAL, f"cannot be listed: {error}")
    return Check("devices", "serial ports", Status.GOOD, ", ".join(ports) or "none connected")


def check_phones() -> Iterator[Check]:
    """Check adb and list the phones that it knows. Starts no adb server: that would stay."""
    from edgebuild.devices.phone import link

    remedy = "pip install 'edgebuild[android]'"
    try:
        client = link.open_client()
        program = link.adb_program()
    except EdgebuildError as error:
        yield Check("tools", "adb", Status.OPTIONAL, f"for bench --device; {error.message}", remedy)
        return
    yield _tool("adb", [program, "version"], Status.OPTIONAL, remedy, optional_for="")
    if not link.server_runs(client):
        found, remedy = "not known: no adb server runs", "adb devices starts one"
        yield Check("devices", "phones", Status.GOOD, found, remedy)
        return
    try:
        phones = [f"{d.serial} ({d.state})" for d in link.list_devices(client)]
    except EdgebuildError as error:
        yield Check("devices", "phones", Status.OPTIONAL, error.message, error.hint)
        return
    yield Check("devices", "phones", Status.GOOD, ", ".join(phones) or "none connected")


def folder_size(folder: Path) -> tuple[int, int]:
    """Return bytes and number of the files below ``folder``; 0 when it does not exist."""
    total = files = 0
    for where, _, names in os.walk(folder):
        for name in names:
            files += 1
            try:
                total += (Path(where) / name).lstat().st_size
            except OSError:
                continue
        if files > _MAX_CACHE_FILES:
            break
    return total, files


def within(version: str, bounds: str) -> bool:
    """Return whether ``version`` meets bounds such as ``>=2.3,<2.4`` or ``==1.0``."""
    compare: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
        ">=": lambda a, b: a >= b,
        "<=": lambda a, b: a <= b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        ">": lambda a, b: a > b,
        "<": lambda a, b: a < b,
    }
    for bound in filter(None, (part.strip() for part in bounds.split(","))):
        match = re.match(r"(>=|<=|==|!=|>|<)\s*(.+)", bound)
        if match and not compare[match[1]](*_padded(version, match[2])):
            return False
    return True


def _ordered(bounds: str) -> str:
    """Return bounds with the lower one first, as they are written in pyproject.toml."""
    return ",".join(sorted((part.strip() for part in bounds.split(",")), reverse=True))


def _package(name: str, bounds: str, absent: Status, remedy: str) -> Check:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check("packages", name, absent, "not installed", remedy)
    limits = f" ({bounds})" if bounds else ""
    if not within(version, bounds):
        return Check("packages", name, absent, f"{version}, needs {bounds}", remedy)
    return Check("packages", name, Status.GOOD, f"{version}{limits}")


def _tool(
    name: str, command: list[str], absent: Status, remedy: str, *, optional_for: str
) -> Check:
    if command[0] == sys.executable and importlib.util.find_spec(command[2]) is None:
        return Check("tools", name, absent, "not installed", remedy)
    if shutil.which(command[0]) is None:
        return Check("tools", name, absent, optional_for or "not installed", remedy)
    output = _output(command)
    if output is None:
        return Check("tools", name, absent, "installed, but does not start", remedy)
    return Check(
        "tools", name, Status.GOOD, (output.strip().splitlines() or ["unknown version"])[0]
    )


def _output(command: list[str]) -> str | None:
    try:
        return run_tool(
            command, what="asking its version", missing_hint="", timeout_s=_TOOL_TIMEOUT_S
        )
    except EdgebuildError:
        return None


def _package_manager(debian: str, brew: str) -> str:
    if sys.platform == "darwin":
        return f"brew install {brew}"
    return f"sudo apt-get install {debian}"


def _nearest_existing(folder: Path) -> Path:
    for candidate in (folder, *folder.parents):
        if candidate.exists():
            return candidate
    return Path(folder.anchor)


def _rough(size_bytes: int) -> str:
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return format_size(size_bytes)


def _padded(a: str, b: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of two versions, made equally long."""
    first, second = (tuple(int(n) for n in re.findall(r"\d+", v)) for v in (a, b))
    length = max(len(first), len(second))
    return first + (0,) * (length - len(first)), second + (0,) * (length - len(second))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
