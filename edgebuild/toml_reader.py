"""Reading TOML from people: every fault is found in one go, each with its file, key and remedy.

A ``Reader`` walks one table. Each call of ``text``, ``size``, ``choice`` and so on declares a field
and returns its value; a fault is noted in the shared ``Problems`` and the default is returned, so
that reading goes on. ``finish`` reports what was in the table but never declared.
"""

from __future__ import annotations

import datetime
import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

from edgebuild.errors import CHECK_PATH, EdgebuildError, InputError, nearest
from edgebuild.limits import SETTINGS_BYTES, read_file
from edgebuild.units import (
    parse_count,
    parse_duration_us,
    parse_growth,
    parse_ratio,
    parse_size,
    quoted,
)

MAX_LINE_BYTES = 2048
MAX_DEPTH = 12
MAX_PROBLEMS = 100
MAX_FLOAT = 3.4e38
_SHOWN_PROBLEMS = 20
_VERY_CLOSE = 0.8
_UNITS = {"hz": "Hz", "khz": "kHz", "mhz": "MHz", "ghz": "GHz", "bytes": "bytes", "us": "us"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")

Value = TypeVar("Value")


@dataclass
class Problems:
    """The faults found so far in the files that make up one setting."""

    found: list[str] = field(default_factory=list)

    def add(self, file: str, key: str, message: str) -> None:
        """Note a fault of ``key`` (a dotted path, or empty for the whole file)."""
        text = f"{file}: {key}{' ' if key else ''}{message}"
        if text not in self.found and not self.full:
            self.found.append(text)

    @property
    def full(self) -> bool:
        """True when there are so many faults that further ones are left out."""
        return len(self.found) >= MAX_PROBLEMS

    def raise_if_any(self, what: str, *, hint: str = "", all_of_them: str = "") -> None:
        """Raise one InputError that holds every fault; ``what`` names the thing that has them.

        ``hint`` says what to do; ``all_of_them``, how to see every fault, is added when some are
        left out.
        """
        if not self.found:
            return
        if len(self.found) == 1:
            raise InputError(self.found[0], hint=hint)
        shown = self.found[:_SHOWN_PROBLEMS]
        more = len(self.found) - len(shown)
        if more:
            shown = [*shown, f"and {more} more"]
            hint = "; ".join(filter(None, (hint, all_of_them)))
        raise InputError(f"{what} has {len(self.found)} errors", details=shown, hint=hint)


def read_toml(path: Path, *, hint: str = CHECK_PATH) -> dict[str, Any]:
    """Return the tables of a TOML file; InputError for what is not a small, flat, valid one.

    ``hint`` is for a file that cannot be read.
    """
    raw = read_file(path, most=SETTINGS_BYTES, hint=hint)
    # The parser's memory grows with the square of the parts of a dotted key, which is one line.
    for number, line in enumerate(raw.splitlines(), 1):
        if len(line) > MAX_LINE_BYTES:
            raise InputError(
                f"{path}: line {number} is longer than {MAX_LINE_BYTES:,} bytes",
                hint="split it over several lines, or check that this is the right file",
            )
    try:
        text = raw.decode("utf-8-sig")  # editors put a byte order mark there
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 text (byte {error.start})",
            hint="save the file as UTF-8, or check that this is the right file",
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply", hint=_FLATTER) from error
    except ValueError as error:
        raise _not_toml(path, text, str(error)) from error
    if _depth(tables) > MAX_DEPTH:
        raise InputError(f"{path}: nested deeper than {MAX_DEPTH} tables", hint=_FLATTER)
    return tables


_FLATTER = "no setting needs that: check that this is the right file"
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_BARE_TEXT = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=\s*([A-Za-z./][^\"'\[{]*?)\s*(#.*)?")
_TOML = (
    "a line is `name = value`, with text in double quotes, and numbers, true and false as they "
    "are; `[name]` begins a table"
)


def _not_toml(path: Path, text: str, why: str) -> InputError:
    """Return the error for what the parser says of a file, with the line that it means."""
    place = _PLACE.search(why)
    if place is None:
        return InputError(f"{path}: not valid TOML: {_printable(why)}", hint=_TOML)
    number, lines = int(place[1]), text.splitlines()
    line = lines[number - 1] if number <= len(lines) else ""
    bare = _BARE_TEXT.fullmatch(line)
    reason = _printable(why[: place.start()])
    if reason.startswith("Illegal character '\\n'"):
        reason = "the text does not end on its line; a quotation mark is missing"
    return InputError(
        f"{path}, line {number}: not valid TOML: {reason[:1].lower()}{reason[1:]}",
        details=[_printable(line)] if line.strip() else (),
        hint=f'put the text in double quotes: {bare[1]} = "{bare[2]}"' if bare else _TOML,
    )


def key_path(*keys: str) -> str:
    """Return a dotted key, with quotes around the parts that TOML needs them for."""
    shown = (key if _BARE_KEY.fullmatch(key) else quoted(key).replace("'", '"') for key in keys)
    return ".".join(shown)


class Reader:
    """One table of a TOML file. ``where`` is its dotted path, empty for the top."""

    def __init__(
        self, table: Mapping[str, Any], file: str, problems: Problems, where: str = ""
    ) -> None:
        self._table = table
        self._file = file
        self._problems = problems
        self._where = where
        self._known: dict[str, str] = {}
        """The fields that were declared, and whether each is a ``table``, an ``array`` or else."""

    def __contains__(self, key: str) -> bool:
        return key in self._table

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that the table has."""
        return tuple(self._table)

    def fault(self, key: str | tuple[str, ...], message: str) -> None:
        """Note a fault of ``key`` in this table (or below it); an empty key means the table."""
        keys = (key,) if isinstance(key, str) else key
        self._problems.add(self._file, self.path(*keys), message)

    def path(self, *keys: str) -> str:
        """Return the dotted path of a key in this table, or below it."""
        below = key_path(*(key for key in keys if key))
        return ".".join(part for part in (self._where, below) if part)

    @overload
    def text(self, key: str, default: str, *, required: bool = False) -> str: ...
    @overload
    def text(self, key: str, default: None = None, *, required: bool = False) -> str | None: ...
    def text(self, key: str, default: str | None = None, *, required: bool = False) -> str | None:
        """Return a string without control characters."""
        return self._read(key, default, required, _as_text)

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean."""
        return self._read(key, default, False, _as_flag)

    def choice(self, key: str, known: Iterable[str], default: Value) -> str | Value:
        """Return one of the ``known`` strings."""
        names = tuple(known)
        return self._read(key, default, False, lambda value: _as_choice(value, names))

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return an array of strings."""
        return self._read(key, default, False, _as_texts)

    def names(self, key: str) -> tuple[str, ...]:
        """Return one string or an array of them; empty when it is absent."""
        return self._read(
            key,
            (),
            False,
            lambda value: (_as_text(value),) if isinstance(value, str) else _as_texts(value),
        )

    def numbers(self, key: str, *, required: bool = False) -> tuple[float, ...]:
        """Return an array of at least one number, empty when it is absent."""
        return self._read(key, (), required, _as_numbers)

    def choices(
        self, key: str, known: Iterable[str], default: tuple[str, ...] = ()
    ) -> tuple[str, ...]:
        """Return an array of ``known`` strings."""
        names = tuple(known)
        return self._read(
            key,
            default,
            False,
            lambda value: tuple(_as_choice(item, names) for item in _as_texts(value)),
            "array",
        )

    def count(self, key: str, default: Value, *, required: bool = False) -> int | Value:
        """Return a whole number, 0 or more."""
        return self._read(key, default, required, _as_count)

    def size(self, key: str, default: Value, *, required: bool = False) -> int | Value:
        """Return bytes, from a number or a string such as ``"128KiB"``."""
        return self._read(key, default, required, _as_size)

    def duration_us(self, key: str, default: Value) -> float | Value:
        """Return microseconds, from a string such as ``"50ms"``."""
        return self._read(key, default, False, _as_duration)

    def ratio(self, key: str, default: Value) -> float | Value:
        """Return a ratio, from ``"1%"`` or 0.01."""
        return self._read(key, default, False, _as_ratio)

    def growth(self, key: str, default: Value) -> float | Value:
        """Return a growth, from ``"10%"``, ``"150%"`` or 0.1."""
        return self._read(key, default, False, _as_growth)

    def strings(self, key: str) -> dict[str, str]:
        """Return a table of strings, numbers and booleans as strings (``true`` is ``"1"``)."""
        values: dict[str, Any] = self._read(key, {}, False, _as_table)
        result = {}
        for name, value in values.items():
            if isinstance(value, (dict, list)) or _has_control(str(value)):
                self.fault((key, name), "must be a string or a number")
            else:
                result[name] = str(int(value)) if isinstance(value, bool) else str(value)
        return result

    def table(self, key: str) -> Reader:
        """Return the table ``key``, empty when it is absent."""
        table: dict[str, Any] = self._read(key, {}, False, _as_table)
        return Reader(table, self._file, self._problems, self.path(key))

    def tables(self, key: str) -> list[Reader]:
        """Return the array of tables ``[[key]]``."""
        items: list[dict[str, Any]] = self._read(key, [], False, _as_tables)
        return [
            Reader(item, self._file, self._problems, f"{self.path(key)}[{index}]")
            for index, item in enumerate(items)
        ]

    def finish(self) -> set[str]:
        """Report the keys that no call has declared, each with the nearest known one.

        Returns the fields that they probably meant: those need not be reported as missing too.
        """
        meant: set[str] = set()
        for key in self._table:
            if key not in self._known and not self._problems.full:
                guess = self._guess(key)
                listed = "" if guess else f"; fields: {', '.join(self._known)}"
                self.fault(key, f"is not a field{guess}{listed if self._known else ''}")
                meant.update(name for name in self._known if f"'{name}'" in guess)
        return meant

    def _guess(self, key: str) -> str:
        """Return the declared field that ``key`` is nearest to; of nearly equal names, one that
        takes such a value."""
        if (other := _OTHER_WORDS.get(key)) in self._known:
            return f"; did you mean '{other}'?"
        value = self._table[key]
        kind = "table" if isinstance(value, dict) else "array" if isinstance(value, list) else ""
        fitting = [name for name, takes in self._known.items() if takes == kind]
        close = difflib.get_close_matches(key[:60], fitting, n=1, cutoff=_VERY_CLOSE)
        return _with_unit(key, nearest(key[:60], close or self._known))

    def _read(
        self,
        key: str,
        default: Value,
        required: bool,
        parse: Callable[[Any], Any],
        kind: str = "",
    ) -> Any | Value:
        self._known[key] = _TAKES.get(parse, kind)
        if key not in self._table:
            if required and not self._problems.full:
                self.fault(key, "is missing")
            return default
        try:
            return parse(self._table[key])
        except EdgebuildError as error:
            remedy = f" ({error.hint})" if error.hint else ""
            self.fault(key, f"{error.message}{remedy}")
            return default


_OTHER_WORDS = dict.fromkeys(("base", "extends", "inherits", "parent"), "based_on")
"""Fields that other tools have by another name."""


def _with_unit(key: str, guess: str) -> str:
    """Return ``guess`` with the units where ``key`` means the same in another one."""
    stem, _, unit = key.rpartition("_")
    meant, _, right = guess.removesuffix("'?").rpartition("_")
    if right == unit or not stem or not meant.endswith(f"'{stem}") or right not in _UNITS:
        return guess
    return f"{guess.removesuffix('?')} (in {_UNITS[right]}, not {_UNITS.get(unit, unit)[:20]})?"


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"must be a string, not {_kind(value)}")
    if not value.strip() or _has_control(value) or len(value) > 4096:
        raise InputError(f"must be plain text, not {quoted(value)}")
    return value


def _as_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"must be true or false, not {quoted(value)}")
    return value


def _as_choice(value: Any, known: tuple[str, ...]) -> str:
    text = _as_text(value)
    if text not in known:
        guess = nearest(text[:60], known)
        listed = "" if guess else f"; known: {', '.join(known)}"
        raise InputError(f"{quoted(text)} is not known{guess}{listed}")
    return text


def _as_texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InputError(f"must be an array of strings, not {_kind(value)}")
    return tuple(_as_text(item) for item in value)


def _as_numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f"must be an array of numbers, not {quoted(value)}")
    for item in value:
        # A boolean is an int to isinstance; what is no float32 is NaN or infinite, or as good as.
        if type(item) not in (int, float) or not abs(item) < MAX_FLOAT:
            raise InputError(f"must be an array of numbers, not of {quoted(item)}")
    return tuple(float(item) for item in value)


def _as_count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"must be a whole number, not {_kind(value)}")
    return parse_count(value)


def _as_size(value: Any) -> int:
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise InputError(f'must be a size such as "128KiB", not {_kind(value)}')
    return parse_size(value)


def _as_duration(value: Any) -> float:
    if not isinstance(value, str):
        raise InputError(f'must be a duration such as "50ms", not {_kind(value)}')
    return parse_duration_us(value)


def _as_ratio(value: Any) -> float:
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        raise InputError(f'must be a percentage such as "1%", not {_kind(value)}')
    return parse_ratio(value)


def _as_growth(value: Any) -> float:
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        raise InputError(f'must be a percentage such as "10%", not {_kind(value)}')
    return parse_growth(value)


def _as_table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"must be a table, not {_kind(value)}")
    return value


def _as_tables(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InputError(f"must be an array of tables, not {_kind(value)}")
    return value


_TAKES: dict[Callable[[Any], Any], str] = {
    _as_texts: "array",
    _as_numbers: "array",
    _as_tables: "array",
    _as_table: "table",
}
"""What a field of a parser is, where that is not a single value."""

_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "a number",
    float: "a number with a point",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def _kind(value: Any) -> str:
    if isinstance(value, (datetime.date, datetime.time)):
        return "a date or time"
    return _KINDS.get(type(value)) or f"a {type(value).__name__}"


def _has_control(text: str) -> bool:
    return any(not character.isprintable() for character in text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def _depth(value: Any) -> int:
    """Return how deep tables and arrays are nested, without recursion."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
    return deepest
