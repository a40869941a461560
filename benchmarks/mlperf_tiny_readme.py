"""The README's tables of MLPerf Tiny's models, from what ``mlperf_tiny.py`` measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().with_name("mlperf_tiny.json")
TARGETS = ("cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
SETTINGS = ("speed", "balanced", "size", "ram")
BEGIN, END = "<!-- mlperf_tiny.py --readme -->\n", "<!-- end of mlperf_tiny.py --readme -->\n"
"""What the README has around the tables."""
TFLM = "TFLM + CMSIS-NN"
NONE = "–"
ENDS = ("least", "most")

Row = Mapping[str, Any]
Rows = Sequence[Row]


def read_rows() -> list[dict[str, Any]]:
    """Return what was measured, a row for each target, model, setting and compiler."""
    rows: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else []
    return rows


def with_section(readme: str, tables: str) -> str:
    """Return the README's text with these tables at their place."""
    before, after = readme.split(BEGIN)[0], readme.split(END)[1]
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def section(rows: Rows) -> str:
    """Return the Markdown of all tables."""
    rows = [row for row in rows if row["toolchain"] == "zig"]
    return "\n".join(
        [
            "Cycles on a Cortex-M4, modelled: with zero wait states, and bounds with the flash of"
            " the NUCLEO-L4R5ZI, on which the records were measured, or with the weights in its RAM"
            " (`--place weights=ram`):\n",
            _cycles(rows),
            "Bytes on a Cortex-M4. RAM is arena, static data and stack; code is text, parameters"
            " and read-only data, without weights and the bias and scale of each channel:\n",
            _bytes(rows),
            "Cycles for `--optimize speed` on other cores, modelled with zero wait states, for M7"
            " and M33 [roughly](docs/cycles.md#rougher-cores), beside the measured records:\n",
            _other_cores(rows),
            "Instructions on a Cortex-M55 with Helium, counted by QEMU, which is no measure of"
            " time:\n",
            _helium(rows),
            "Where edgebuild needs more, by the factor:\n",
            _losses(rows),
        ]
    )


def _models(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in rows))


def _row(rows: Rows, *part: str) -> Row:
    """Return the row of a target, model and setting; one without figures where there is none."""
    found = (r for r in rows if (r["target"], r["model"], r["optimize"]) == part)
    return next(found, {})


def _number(row: Row, figure: str) -> str:
    if "too_large" in row:
        return "too large"
    value = row.get(figure)
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def _against(row: Row, figure: str, peer: str) -> Row:
    found = (p for p in row.get("against", ()) if (p["figure"], p["peer"]) == (figure, peer))
    return next(found, {})


def _theirs(row: Row, figure: str, peer: str) -> str:
    return _number(_against(row, figure, peer), "theirs")


def _ratio(row: Row, figure: str, peer: str) -> str:
    found = _against(row, figure, peer)
    return f"{found['ratio']:.2f}" if found else NONE


def _table(header: Sequence[str], texts: int, rows: Iterator[Sequence[str]]) -> str:
    """Return a table whose first columns are ``texts``, the others numbers."""
    rule = ["---"] * texts + ["---:"] * (len(header) - texts)
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(rule)}|"]
    lines += [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join(lines) + "\n"


def _bounds(texts: Iterable[str]) -> str:
    return " to ".join(dict.fromkeys(texts))


def _cycles(rows: Rows) -> str:
    def lines() -> Iterator[Sequence[str]]:
        for model in _models(rows):
            for setting in ("speed", "balanced"):
                row = _row(rows, "cortex-m4", model, setting)
                yield (
                    model,
                    setting,
                    _number(row, "cycles"),
                    _bounds(_number(row, f"board_cycles_{end}") for end in ENDS),
                    _theirs(row, "cycles", "record"),
                    _ratio(row, "cycles", "record"),
                    _bounds(_ratio(row, f"board_cycles_{end}", "record") for end in ENDS),
                    _bounds(_ratio(row, f"board_ram_cycles_{end}", "record") for end in ENDS),
                    _theirs(row, "cycles", "TFLite Micro"),
                    _ratio(row, "cycles", "TFLite Micro"),
                )

    ours = ("model", "`--optimize`", "cycles", "with the board's flash")
    theirs = ("record", "ratio", "with its flash", "weights in its RAM", TFLM, "ratio")
    return _table((*ours, *theirs), 2, lines())


def _bytes(rows: Rows) -> str:
    def lines() -> Iterator[Sequence[str]]:
        for model in _models(rows):
            balanced, size, ram = (
                _row(rows, "cortex-m4", model, setting) for setting in ("balanced", "size", "ram")
            )
            for figure, least in (("ram_bytes", ram), ("code_bytes", size)):
                yield (
                    model,
                    figure.removesuffix("_bytes").replace("ram", "RAM"),
                    _number(balanced, figure),
                    _number(least, figure),
                    _theirs(balanced, figure, "TFLite Micro"),
                    _ratio(balanced, figure, "TFLite Micro"),
                    _ratio(least, figure, "TFLite Micro"),
                )

    header = ("model", "bytes", "balanced", "`ram` or `size`", TFLM, "ratio", "ratio")
    return _table(header, 2, lines())


def _other_cores(rows: Rows) -> str:
    def lines() -> Iterator[Sequence[str]]:
        for model in _models(rows):
            cells = [model, _number(_row(rows, "cortex-m3", model, "speed"), "cycles")]
            for core in ("cortex-m7", "cortex-m33"):
                row = _row(rows, core, model, "speed")
                cells.append(_number(row, "cycles"))
                cells += [show(row, "cycles", "record") for show in (_theirs, _ratio)]
            yield cells

    header = ("model", "M3", "M7", "record", "ratio", "M33", "record", "ratio")
    return _table(header, 1, lines())


def _helium(rows: Rows) -> str:
    def lines() -> Iterator[Sequence[str]]:
        for model in _models(rows):
            row = _row(rows, "cortex-m55", model, "balanced")
            figures = [_number(row, "instructions"), _number(row, "instructions_per_mac")]
            shows: tuple[Callable[[Row, str, str], str], ...] = (_theirs, _ratio)
            yield [model, *figures, *(show(row, "instructions", "TFLite Micro") for show in shows)]

    return _table(("model", "instructions", "for each MAC", TFLM, "ratio"), 1, lines())


def _losses(rows: Rows) -> str:
    """Return a line for each target and figure of which somebody else needs less."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        of = f"{row['model']} ({row['optimize']})"
        for other in row.get("against", ()):
            if other["ratio"] > 1 and other["figure"] != "instructions_per_mac":
                key = (row["target"], other["figure"], other["peer"])
                found.setdefault(key, []).append(f"{of} {other['ratio']:.2f}")
        if "too_large" in row:
            found.setdefault((row["target"], "flash_bytes", "memory"), []).append(f"{of} too large")
    return "".join(
        f"- {target}, {figure.replace('_', ' ')}, {peer}: {', '.join(rows)}\n"
        for (target, figure, peer), rows in found.items()
    )
