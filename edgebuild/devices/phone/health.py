"""How warm a phone is and whether it throttles: temperatures, thermal status, clocks, battery."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgebuild.devices.phone.link import Link, TimeLimitError
from edgebuild.devices.untrusted import lines, shown

STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""Android's thermal status, by its number."""
_LIMIT_S = 20.0
_LIMITED_BELOW = 0.98
_LOW_BATTERY = 20
_PLAUSIBLE_C = (-40.0, 150.0)
_CPU_ZONE = re.compile(r"cpu|soc|tsens|cluster|big|little", re.IGNORECASE)
_TEMPERATURE = re.compile(r"Temperature\{mValue=(-?[\d.]{1,12}), mType=(-?\d{1,3}), mName=([^,}]*)")
_HAL_CPU, _HAL_SKIN = 0, 3
_CPUS = 256
# `/sys` is read file by file: what a phone does not let the shell user read is left out.
_COMMAND = """\
echo @thermal; dumpsys -t 5 thermalservice 2>/dev/null
echo @battery; dumpsys -t 5 battery 2>/dev/null
echo @zones
for z in /sys/class/thermal/thermal_zone*; do
echo "$(cat $z/temp 2>/dev/null) $(cat $z/type 2>/dev/null)"; done
echo @clocks
for c in /sys/devices/system/cpu/cpu[0-9]*; do f=$c/cpufreq
echo "${c##*cpu} $(cat $f/scaling_cur_freq 2>/dev/null) $(cat $f/scaling_max_freq 2>/dev/null) \
$(cat $f/cpuinfo_max_freq 2>/dev/null)"; done
echo @end"""


@dataclass(frozen=True)
class Clock:
    """The clock of one CPU: now, the limit that holds now, and the highest that it has."""

    cpu: int
    now_khz: int
    limit_khz: int
    top_khz: int


@dataclass(frozen=True)
class Health:
    """What a phone tells of its state; None or empty where it tells nothing."""

    status: int | None = None
    cpu_celsius: float | None = None
    skin_celsius: float | None = None
    battery_celsius: float | None = None
    battery_percent: int | None = None
    charging: bool | None = None
    clocks: tuple[Clock, ...] = ()


def read_health(link: Link) -> Health:
    """Ask a phone how it is. One that takes too long to say counts as one that does not tell."""
    try:
        answer = link.shell(_COMMAND, limit_s=_LIMIT_S, what="reading its temperature")
    except TimeLimitError:
        return Health()
    return parse_health(answer.text)


def parse_health(text: str) -> Health:
    """Return what the answer to the health command says; what is not understood is left out."""
    parts = _sections(text)
    thermal = "\n".join(parts.get("thermal", ()))
    status = re.search(r"Thermal Status: (\d{1,2})\b", thermal)
    # The cached temperatures may be old: those of the HAL come after its heading.
    current = thermal.partition("Current temperatures from HAL:")[2] or thermal
    hal = [(float(v), int(kind)) for v, kind, _ in _TEMPERATURE.findall(current) if _number(v)]
    battery = _fields(parts.get("battery", ()))
    charge = [battery[k] for k in battery if k.endswith(" powered")]
    tenths, level = _integer(battery.get("temperature")), _integer(battery.get("level"))
    return Health(
        status=int(status[1]) if status and int(status[1]) < len(STATUS) else None,
        cpu_celsius=_hottest(v for v, kind in hal if kind == _HAL_CPU)
        or _hottest(_zones(parts.get("zones", ()))),
        skin_celsius=_hottest(v for v, kind in hal if kind == _HAL_SKIN),
        battery_celsius=None if tenths is None else _hottest([tenths / 10]),
        battery_percent=level if level is not None and 0 <= level <= 100 else None,
        charging="true" in charge if charge else None,
        clocks=tuple(_clocks(parts.get("clocks", ()))),
    )


def health_notes(before: Health, after: Health) -> list[str]:
    """Return a sentence for each thing that makes the times of the run doubtful."""
    notes = []
    worst = max((h.status for h in (before, after) if h.status is not None), default=0)
    if worst:
        notes.append(
            f"thermal status {STATUS[worst]}: the phone was throttled; let it cool and run again"
        )
    clocks = (*before.clocks, *after.clocks)
    limited = [c for c in clocks if c.limit_khz < _LIMITED_BELOW * c.top_khz]
    if limited:
        lowest = min(limited, key=lambda c: c.limit_khz / c.top_khz)
        names = ", ".join(str(cpu) for cpu in sorted({c.cpu for c in limited}))
        notes.append(
            f"the clocks of CPU {names} were limited, to {lowest.limit_khz / 1e6:.2f} of "
            f"{lowest.top_khz / 1e6:.2f} GHz: the phone was throttled or saves its battery"
        )
    level = after.battery_percent
    if level is not None and level < _LOW_BATTERY and not after.charging:
        notes.append(f"the battery is at {level} %: battery saving may slow the phone")
    if after == Health():
        notes.append(
            "the phone reports neither temperature nor clocks: whether it throttled is unknown"
        )
    return notes


def _sections(text: str) -> Mapping[str, list[str]]:
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines(text):
        if line.startswith("@"):
            current = parts.setdefault(line[1:].strip(), [])
        else:
            current.append(line)
    return parts


def _fields(section: Iterable[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in section)
    return {name.strip(): shown(value) for name, _, value in pairs}


def _zones(section: Iterable[str]) -> Iterable[float]:
    """Yield the temperatures of the CPU's zones; kernels tell thousandths, some whole degrees."""
    for line in section:
        value, _, name = line.strip().partition(" ")
        number = _integer(value)
        if number is not None and _CPU_ZONE.search(name):
            yield number / 1000 if abs(number) >= 1000 else float(number)


def _clocks(section: Iterable[str]) -> Iterable[Clock]:
    for line in list(section)[:_CPUS]:
        numbers = [_integer(word) for word in line.split()]
        if len(numbers) == 4 and all(n is not None and 0 <= n < 10**8 for n in numbers):
            cpu, now, limit, top = (n or 0 for n in numbers)
            if top:
                yield Clock(cpu, now, limit, top)


def _hottest(values: Iterable[float]) -> float | None:
    low, high = _PLAUSIBLE_C
    # Sensors that are off tell 0.
    return max((v for v in values if low <= v <= high and v != 0), default=None)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _integer(text: str | None) -> int | None:
    if text is None or re.fullmatch(r"-?\d{1,9}", text, re.ASCII) is None:
        return None
    return int(text)
