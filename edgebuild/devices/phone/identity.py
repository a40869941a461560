"""Which phone it is: choosing one, its model, SoC, Android version and ABI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.devices.phone.link import Link, Listed, list_devices
from edgebuild.devices.untrusted import lines, shown
from edgebuild.errors import InputError, ToolError, nearest

ABI = "arm64-v8a"
_PROPERTIES = (
    "ro.product.cpu.abi",
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.build.version.release",
    "ro.build.version.sdk",
)
_MAX_VALUE = 60
_READY = "device"
_STATES = {
    "unauthorized": "unlock it and confirm 'Allow USB debugging?', then try again",
    "authorizing": "unlock it and confirm 'Allow USB debugging?', then try again",
    "offline": "pull the cable and connect again, or `adb reconnect offline`",
    "connecting": "wait a moment and try again",
    "no permissions": "install udev rules for Android devices, then `adb kill-server`",
    "recovery": "start the phone normally: `adb reboot`",
    "sideload": "start the phone normally: `adb reboot`",
    "bootloader": "start the phone normally: `fastboot reboot`",
}
_ATTACH = "connect a phone with USB debugging on (Settings, Developer options); `adb devices`"


@dataclass(frozen=True)
class Phone:
    """What a phone says of itself; empty where it does not."""

    serial: str
    abi: str
    model: str
    soc: str
    android: str
    api_level: int | None

    @property
    def title(self) -> str:
        """Name, SoC and system on one line, for figures' sources."""
        api = f" (API {self.api_level})" if self.api_level is not None else ""
        system = f"Android {self.android}{api}" if self.android else "Android"
        return ", ".join(part for part in (self.model or self.serial, self.soc, system) if part)


def choose_serial(client: Any, serial: str | None = None) -> str:
    """Return the serial of the one phone that is ready, or of the one that is asked for.

    Raises ToolError when there is none or it is not ready, InputError when there are several and
    none is named.
    """
    listed = list_devices(client)
    if serial is not None:
        return _named(listed, serial)
    ready = [d for d in listed if d.state == _READY]
    if len(ready) == 1:
        return ready[0].serial
    if len(ready) > 1:
        raise InputError(
            "several devices are connected",
            details=[d.serial for d in ready],
            hint=f"--device {ready[0].serial}, or --device all",
        )
    if not listed:
        raise ToolError("no device is connected", hint=_ATTACH)
    raise _not_ready(listed[0])


def ready_serials(client: Any) -> list[str]:
    """Return the serials of all phones that are ready; ToolError when there is none."""
    listed = list_devices(client)
    ready = [d.serial for d in listed if d.state == _READY]
    if ready:
        return ready
    if listed:
        raise _not_ready(listed[0])
    raise ToolError("no device is connected", hint=_ATTACH)


def read_phone(link: Link) -> Phone:
    """Ask a phone what it is. Raises ToolError when the arm64 program cannot run on it."""
    if "shell_v2" not in link.features():
        raise ToolError(
            f"{link.serial}: its adb reports no exit codes (shell v2)",
            hint="a phone with Android 7 or newer",
        )
    command = "; ".join(f"getprop {name}" for name in _PROPERTIES)
    answer = link.shell(command, what="asking what it is").text
    values = [shown(line, _MAX_VALUE) for line in lines(answer)]
    if len(values) != len(_PROPERTIES):
        raise ToolError(
            f"{link.serial}: {len(values)} properties in the answer, not {len(_PROPERTIES)}",
            details=[shown(answer)],
            hint="`adb shell getprop` shows what it answers",
        )
    known = dict(zip(_PROPERTIES, values, strict=True))
    if known["ro.product.cpu.abi"] != ABI:
        raise ToolError(
            f"{link.serial}: its ABI is '{known['ro.product.cpu.abi']}', not {ABI}",
            hint="a phone with a 64-bit Arm system",
        )
    sdk = known["ro.build.version.sdk"]
    return Phone(
        serial=link.serial,
        abi=known["ro.product.cpu.abi"],
        model=_joined(known["ro.product.manufacturer"], known["ro.product.model"]),
        soc=_joined(known["ro.soc.manufacturer"], known["ro.soc.model"])
        or known["ro.board.platform"],
        android=known["ro.build.version.release"],
        api_level=int(sdk) if sdk.isascii() and sdk.isdigit() and len(sdk) < 4 else None,
    )


def _joined(maker: str, name: str) -> str:
    if not name or name == "unknown":
        return ""
    return name if not maker or name.lower().startswith(maker.lower()) else f"{maker} {name}"


def _named(listed: Sequence[Listed], serial: str) -> str:
    for device in listed:
        if device.serial == serial:
            if device.state != _READY:
                raise _not_ready(device)
            return serial
    known = [device.serial for device in listed]
    raise ToolError(
        f"no device '{shown(serial)}' is connected{nearest(serial, known)}",
        details=[f"{device.serial}: {device.state}" for device in listed],
        hint=_ATTACH if not known else f"--device {known[0]}",
    )


def _not_ready(device: Listed) -> ToolError:
    state = shown(device.state)
    hint = next((h for name, h in _STATES.items() if state.startswith(name)), "`adb devices -l`")
    return ToolError(f"{device.serial} is not ready: {state}", hint=hint)
