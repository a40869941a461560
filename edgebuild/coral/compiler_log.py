"""Read what ``edgetpu_compiler -s`` prints (versions 2 to 16)."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from edgebuild.units import parse_size

MAPPED = "Mapped to Edge TPU"
_VERSION = re.compile(r"^Edge TPU Compiler version (\S{1,40})\s*$", re.MULTILINE)
_BLOCK = re.compile(r"^Input(?: model)?: ", re.MULTILINE)
_ROW = re.compile(
    r"^([A-Z][A-Z0-9_]{1,60}|edgetpu-custom-op)[ \t]+(\d{1,6})[ \t]+(\S.{0,160}?)\s*$"
)
_FAILED = re.compile(
    r"^.*(?:Compilation failed|Invalid model|Internal compiler error|ERROR:|error:).*$",
    re.MULTILINE,
)
_SIZES = {
    "cached_bytes": "On-chip memory used for caching model parameters",
    "remaining_bytes": "On-chip memory (?:remaining|available) for caching model parameters",
    "streamed_bytes": "Off-chip memory used for streaming uncached model parameters",
}
_COUNTS = {
    "subgraphs": "Number of Edge TPU subgraphs",
    "operators": "Total number of operations",
    "on_edgetpu": "Number of operations that will run on Edge TPU",
    "on_cpu": "Number of operations that will run on CPU",
}


@dataclass(frozen=True)
class ModelLog:
    """What the log says of one model; None where a line is missing.

    Sizes are rounded to the two decimals that the compiler prints. ``table`` has (operator, count,
    status) rows, empty without ``-s``.
    """

    input_name: str
    cached_bytes: int | None
    remaining_bytes: int | None
    streamed_bytes: int | None
    subgraphs: int | None
    operators: int | None
    on_edgetpu: int | None
    on_cpu: int | None
    table: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class CompilerLog:
    """A whole run: the compiler's version, whether it says that it succeeded, its complaints."""

    version: str
    succeeded: bool
    models: tuple[ModelLog, ...]
    complaints: tuple[str, ...]


def read_log(text: str) -> CompilerLog:
    """Return what the compiler printed; what it did not print is empty or None."""
    version = _VERSION.search(text)
    starts = [match.start() for match in _BLOCK.finditer(text)]
    blocks = [text[a:b] for a, b in itertools.pairwise([*starts, len(text)])]
    return CompilerLog(
        version=version[1] if version else "",
        succeeded=re.search(r"^Models? compiled successfully in ", text, re.MULTILINE) is not None,
        models=tuple(_model(block) for block in blocks),
        complaints=tuple(match[0].strip()[:200] for match in _FAILED.finditer(text))[:10],
    )


def _model(block: str) -> ModelLog:
    name = block.split(": ", 1)[1].splitlines()[0].strip()
    rows = [_ROW.match(line.rstrip()) for line in block.splitlines()]
    return ModelLog(
        input_name=name,
        **{field: _size(block, label) for field, label in _SIZES.items()},
        **{field: _count(block, label) for field, label in _COUNTS.items()},
        table=tuple((row[1], int(row[2]), row[3]) for row in rows if row),
    )


def _count(block: str, label: str) -> int | None:
    found = re.search(rf"^{label}: (\d{{1,9}})\s*$", block, re.MULTILINE)
    return int(found[1]) if found else None


def _size(block: str, label: str) -> int | None:
    found = re.search(rf"^{label}: (\d{{1,9}}(?:\.\d{{1,4}})?)([KMG]i)?B\s*$", block, re.MULTILINE)
    if found is None:
        return None
    factor = parse_size(f"1{found[2] or ''}B")
    return round(float(found[1]) * factor)
