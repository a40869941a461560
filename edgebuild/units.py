"""Sizes, durations and percentages as people write them.

Sizes are bytes (``int``), durations microseconds (``float``), percentages a ratio between 0 and 1.
Every parser raises InputError that quotes the text and says how to write it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from edgebuild.errors import InputError

_SIZE_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION_UNITS_US = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "min": 6e7, "h": 3.6e9}
_FREQUENCY_UNITS = {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}
_NUMBER = re.compile(r"(\d{1,3}(?:[_,]\d{3})+|\d+(?:_\d+)*)(\.\d+)?\s*([^\d\s.]*)", re.ASCII)
_RANGE = re.compile(r"(-?\d{1,9}(?:\.\d+)?)\.\.(-?\d{1,9}(?:\.\d+)?)", re.ASCII)
_SHOWN = 60
_Number = TypeVar("_Number", int, float)
MAX_SIZE_BYTES = 1 << 40
_SMALL = 1024
MAX_DURATION_US = 1e12
MAX_GROWTH = 1e6
MAX_FREQUENCY_HZ = 10_000_000_000

_SIZE_FORM = "use B, KiB or MiB, for example 128KiB"
_DURATION_FORM = "use us, ms, s, min or h, for example 50ms"
_FREQUENCY_FORM = "use kHz, MHz or GHz, for example 84MHz"
_RATIO_FORM = "write a percentage, for example 1%, or a ratio below 1, for example 0.01"


def quoted(value: object) -> str:
    """Return ``value`` in quotes for a message, shortened, control characters escaped."""
    # Decimal digits of a huge int cost quadratic time, and Python refuses beyond 4300 of them.
    text = hex(value) if isinstance(value, int) and abs(value) >= 1 << 64 else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def parse_size(value: str | int) -> int:
    """Return the bytes of ``"128KiB"``, ``"2MiB"``, ``"4096"``, ``"1_000"`` or ``4096``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_range(value, value, MAX_SIZE_BYTES, "size", _SIZE_FORM)
    number, unit = _split(value, "size", _SIZE_FORM)
    if unit not in _SIZE_UNITS:
        raise _wrong_unit(value, unit, "size", _SIZE_FORM, _binary_unit(unit))
    size = number * _SIZE_UNITS[unit]
    if size != int(size):
        raise InputError(f"{quoted(value)} is not a whole number of bytes", hint=_SIZE_FORM)
    return _in_range(value, int(size), MAX_SIZE_BYTES, "size", _SIZE_FORM)


def parse_memory(value: str) -> int:
    """Return what ``parse_size`` does. Less than 1 KiB needs a unit: ``"64"`` may mean 64 KiB."""
    size = parse_size(value)
    if 0 < size < _SMALL and value.strip().isdecimal():
        raise InputError(f"{quoted(value)} has no unit", hint=f"write {size}KiB, or {size}B")
    return size


def parse_duration_us(value: str) -> float:
    """Return the microseconds of ``"50ms"``, ``"1.5s"`` or ``"10min"``. A unit is required."""
    number, unit = _split(value, "duration", _DURATION_FORM)
    if not unit:
        raise InputError(f"{quoted(value)} needs a unit of time", hint=_DURATION_FORM)
    if unit not in _DURATION_UNITS_US:
        known = next((u for u in _DURATION_UNITS_US if u == unit.lower()), "")
        raise _wrong_unit(value, unit, "time", _DURATION_FORM, known)
    return _in_range(
        value, number * _DURATION_UNITS_US[unit], MAX_DURATION_US, "duration", _DURATION_FORM
    )


def parse_frequency(value: str) -> int:
    """Return the Hz of ``"84MHz"`` or ``"32.768kHz"``. A unit is required."""
    number, unit = _split(value, "clock", _FREQUENCY_FORM)
    if not unit:
        raise InputError(f"{quoted(value)} needs a unit of frequency", hint=_FREQUENCY_FORM)
    if unit not in _FREQUENCY_UNITS:
        known = next((u for u in _FREQUENCY_UNITS if u.lower() == unit.lower()), "")
        raise _wrong_unit(value, unit, "frequency", _FREQUENCY_FORM, known)
    hertz = round(number * _FREQUENCY_UNITS[unit])
    if hertz < 1:
        raise InputError(f"{quoted(value)} is not a clock", hint=_FREQUENCY_FORM)
    return _in_range(value, hertz, MAX_FREQUENCY_HZ, "clock", _FREQUENCY_FORM)


def parse_ratio(value: str | float) -> float:
    """Return the ratio of ``"1%"`` (0.01), ``"0.01"`` or ``0.01``.

    A bare number of 1 or more is refused: ``1`` may mean 1 % or 100 %.
    """
    number = parse_growth(value)
    if not 0 <= number <= 1:
        raise InputError(f"{quoted(value)} is not between 0% and 100%", hint=_RATIO_FORM)
    return number


def parse_growth(value: str | float) -> float:
    """Return what ``parse_ratio`` does; what grows may more than double: ``"150%"`` is 1.5."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number, unit = float(value), ""
    else:
        number, unit = _split(value, "percentage", _RATIO_FORM)
    if unit == "%":
        number /= 100
    elif unit:
        raise _wrong_unit(value, unit, "percentage", _RATIO_FORM, "")
    elif number >= 1:
        raise InputError(
            f"{quoted(value)} is ambiguous: a percentage needs its sign",
            hint=f"write {number:g}%, or {number / 100:g}",
        )
    if not 0 <= number <= MAX_GROWTH:
        raise InputError(f"{quoted(value)} is not a percentage", hint=_RATIO_FORM)
    return number


def parse_count(value: str | int) -> int:
    """Return the whole number of ``"1_000"``, ``"1000"`` or ``1000``; negatives are refused."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_range(value, value, 1 << 63, "number", "write a whole number")
    number, unit = _split(value, "whole number", "write a whole number, for example 1_000")
    if unit or number != int(number):
        raise InputError(f"{quoted(value)} is not a whole number", hint="for example 1_000")
    return int(number)


def parse_range(value: str) -> tuple[float, float]:
    """Return the numbers of ``"0..255"`` or ``"-1..1"``, the first below the second."""
    match = _RANGE.fullmatch(value)
    limits = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    if limits[0] >= limits[1]:
        raise InputError(f"{quoted(value)} is not a range", hint="for example 0..255")
    return limits


def check_within(what: str, value: float, least: float, most: float) -> None:
    """Raise InputError unless ``value`` is from ``least`` to ``most``."""
    if not least <= value <= most:
        raise InputError(f"{what} is {value:,g}", hint=f"{least:,g} to {most:,.0f}")


def format_size(size_bytes: float) -> str:
    """Return ``128 KiB`` where it is exact, else ``131,073 B``."""
    whole = round(size_bytes)
    for unit, factor in (("MiB", 1024**2), ("KiB", 1024)):
        if whole and whole % factor == 0:
            return f"{whole // factor:,} {unit}"
    return f"{whole:,} B"


def size_option(size_bytes: float) -> str:
    """Return the least whole ``12KiB`` that holds so many bytes, as an option takes it."""
    return f"{math.ceil(size_bytes / 1024)}KiB"


def duration_option(duration_us: float) -> str:
    """Return the duration in tenths of ``1.6ms``, rounded up, as an option takes it."""
    return f"{math.ceil(duration_us / 100) / 10:g}ms"


def format_duration(duration_us: float) -> str:
    """Return the duration in the largest unit that keeps a digit before the point: ``12.3 ms``."""
    for unit, factor in (("s", 1e6), ("ms", 1e3), ("us", 1.0)):
        if duration_us >= factor:
            return f"{_three_digits(duration_us / factor)} {unit}"
    return f"{_three_digits(duration_us * 1e3)} ns" if duration_us else "0 us"


def format_range(low: float, high: float, shown: Callable[[float], str]) -> str:
    """Return two values, each as ``shown`` has it: ``4.1 to 5.3 ms``; one where both look alike."""
    first, last = shown(low), shown(high)
    if first == last:
        return last
    number, _, unit = first.rpartition(" ")
    return f"{number if last.endswith(f' {unit}') else first} to {last}"


def listed(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` names, and how many more there are: ``a, b and 3 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def shortened(lines: Sequence[str], most: int, where: str = "") -> list[str]:
    """Return the first ``most`` lines, and a line on how many more there are, and ``where``."""
    more = [f"... and {len(lines) - most} more{where}"] if len(lines) > most else []
    return [*lines[:most], *more]


def format_points(ratio: float) -> str:
    """Return a difference of accuracies as ``1.25 points``, ``1 point``."""
    number = f"{ratio * 100:.4g}"
    return f"{number} point{'' if number == '1' else 's'}"


def format_frequency(frequency_hz: float) -> str:
    """Return ``120 MHz``, ``32.768 kHz``."""
    unit, factor = next(
        (pair for pair in reversed(_FREQUENCY_UNITS.items()) if frequency_hz >= pair[1]), ("Hz", 1)
    )
    return f"{frequency_hz / factor:g} {unit}"


def _three_digits(number: float) -> str:
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def _split(value: object, what: str, form: str) -> tuple[float, str]:
    """Return number and unit. Whole numbers stay exact."""
    match = _NUMBER.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or len(str(value)) > _SHOWN:
        raise InputError(f"{quoted(value)} is not a {what}", hint=form)
    digits = match[1].replace("_", "").replace(",", "")
    return (float(digits + match[2]) if match[2] else int(digits)), match[3]


def _binary_unit(unit: str) -> str:
    """Return the binary unit that ``128KB`` or ``128k`` meant, or an empty string."""
    initial = unit[:1].upper()
    spellings = ("", "b", "i", "ib", "byte", "bytes")
    if initial in ("K", "M", "G") and unit[1:].lower() in spellings:
        return f"{initial}iB"
    return "B" if unit.lower() in ("b", "byte", "bytes") else ""


def _wrong_unit(value: object, unit: str, what: str, form: str, meant: str) -> InputError:
    problem = f"{quoted(value)}: unknown unit of {what} {quoted(unit)}"
    if not meant:
        return InputError(problem, hint=form)
    right = f"{str(value).strip().removesuffix(unit).strip()}{meant}"
    return InputError(f"{problem}; did you mean '{right}'?", hint=f"write {right}")


def _in_range(value: object, number: _Number, largest: float, what: str, form: str) -> _Number:
    if not 0 <= number <= largest:
        problem = "is negative" if number < 0 else "is too large"
        raise InputError(f"{what} {quoted(value)} {problem}", hint=form)
    return number
