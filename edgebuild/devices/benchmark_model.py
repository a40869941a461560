"""``benchmark_model`` of TFLite and of LiteRT: two tools of one name, told apart by their help.

Flags go in by what the target's delegate needs; what the tool prints is read back as figures. It is
not trusted: numbers are bounded and what is not understood is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgebuild.devices.untrusted import lines, shown
from edgebuild.errors import InputError, ToolError
from edgebuild.figures import Figure, How

OPERATORS_SHOWN = 12
_MAX_OPERATORS = 500
_MAX_VALUE = 1e15
_NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"


class Tool(StrEnum):
    """Which of the two tools it is."""

    TFLITE = "TFLite benchmark_model"
    LITERT = "LiteRT benchmark_model"


@dataclass(frozen=True)
class ToolRun:
    """How to run the tool. ``delegate`` is xnnpack, gpu, nnapi or npu; ``accelerator`` NNAPI's name
    of one; ``extra`` goes behind the flags that edgebuild chooses, and wins over them."""

    delegate: str
    accelerator: str = ""
    warmup: int = 10
    runs: int = 50
    threads: int = 0
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class OperatorCost:
    """One row of the profile: all ``count`` operators of a type, in one inference."""

    kind: str
    milliseconds: float
    percent: float
    count: int


@dataclass(frozen=True)
class ToolResult:
    """What the tool measured, in microseconds and bytes; None where it does not tell.

    ``delegation`` has its own words on what the delegate took.
    """

    tool: Tool
    average_us: float
    runs: int | None = None
    init_us: float | None = None
    first_us: float | None = None
    shortest_us: float | None = None
    longest_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None
    std_us: float | None = None
    peak_bytes: float | None = None
    delegation: tuple[str, ...] = ()
    partitions: int | None = None
    operators: tuple[OperatorCost, ...] = ()


def detect(help_text: str) -> Tool:
    """Return which tool printed ``help_text``; ToolError when it was neither."""
    if "--use_npu" in help_text or "--dispatch_library_path" in help_text:
        return Tool.LITERT
    if "--use_nnapi" in help_text or "--enable_op_profiling" in help_text:
        return Tool.TFLITE
    first = next((shown(line) for line in lines(help_text) if line.strip()), "nothing")
    raise ToolError(
        "the program is not a benchmark_model that edgebuild knows",
        details=[f"its help starts: {first}"],
        hint="TFLite's or LiteRT's benchmark_model for android_arm64",
    )


def flags(tool: Tool, model: str, run: ToolRun) -> list[str]:
    """Return the tool's arguments for ``model``, a path on the device.

    InputError when the tool has no such delegate.
    """
    chosen = [f"--graph={model}", f"--warmup_runs={run.warmup}", f"--num_runs={run.runs}"]
    # By default runs go on until a second has passed: what was asked for is what is run.
    chosen += ["--warmup_min_secs=0", "--min_secs=0", "--report_peak_memory_footprint=true"]
    if run.threads:
        chosen.append(f"--num_threads={run.threads}")
    table = _TFLITE if tool is Tool.TFLITE else _LITERT
    if run.delegate not in table:
        raise InputError(
            f"{tool} has no flag for the delegate '{run.delegate}'",
            hint=f"it has {', '.join(table)}; "
            + ("LiteRT's tool runs NPUs" if run.delegate == "npu" else "TFLite's tool runs NNAPI"),
        )
    chosen += table[run.delegate]
    if run.accelerator and run.delegate == "nnapi":
        chosen.append(f"--nnapi_accelerator_name={run.accelerator}")
    given = {flag.partition("=")[0] for flag in run.extra}
    return [flag for flag in chosen if flag.partition("=")[0] not in given] + list(run.extra)


_TFLITE: Mapping[str, Sequence[str]] = {
    "xnnpack": ("--enable_op_profiling=true", "--use_xnnpack=true"),
    "gpu": ("--enable_op_profiling=true", "--use_gpu=true"),
    # NNAPI's own CPU is what nobody wants to measure.
    "nnapi": ("--enable_op_profiling=true", "--use_nnapi=true", "--disable_nnapi_cpu=true"),
}
_LITERT: Mapping[str, Sequence[str]] = {
    "xnnpack": ("--use_cpu=true", "--use_profiler=true"),
    "gpu": ("--use_gpu=true", "--use_profiler=true"),
    "npu": ("--use_npu=true", "--use_profiler=true"),
}


def parse_output(tool: Tool, text: str, label: str) -> ToolResult:
    """Return what the tool printed; ToolError when there is no average time in it."""
    found = _tflite(text) if tool is Tool.TFLITE else _litert(text)
    if "average_us" not in found:
        last = [shown(line) for line in list(lines(text))[-4:] if line.strip()]
        raise ToolError(
            f"{label}: {tool} printed no average time",
            details=last,
            hint="does the tool's version match the model? Try its flags with --delegate-args",
        )
    delegation, partitions = _delegation(text)
    runs = found.pop("runs", None)
    return ToolResult(
        tool,
        **found,
        runs=None if runs is None else int(runs),
        delegation=delegation,
        partitions=partitions,
        operators=tuple(_profile(text)),
    )


def tool_figures(result: ToolResult, source: str) -> dict[str, Figure]:
    """Return the figures under the names that a report gives them."""
    what = f"{source}, {result.tool}"
    times = {
        "init": result.init_us,
        "first": result.first_us,
        "average": result.average_us,
        "median": result.median_us,
        "p95": result.p95_us,
        "shortest": result.shortest_us,
        "longest": result.longest_us,
        "deviation": result.std_us,
    }
    named = {
        f"benchmark_model, {name}": Figure(value, "us", How.MEASURED, what)
        for name, value in times.items()
        if value is not None
    }
    if result.peak_bytes is not None:
        named["benchmark_model, peak memory"] = Figure(
            result.peak_bytes, "B", How.MEASURED, f"{what}, whole process"
        )
    for row in result.operators[:OPERATORS_SHOWN]:
        label = f"benchmark_model, {row.kind} x{row.count}"
        named[label] = Figure(row.milliseconds * 1e3, "us", How.MEASURED, f"{what}, profile")
    return named


# Not the profiler's "Timings (microseconds): count=...".
_TFLITE_STATISTICS = re.compile(r"(?<!\): )\bcount=(\d{1,9})\b(.*)")
_TFLITE_FIELD = re.compile(rf"\b(curr|min|max|avg|std|median|p95|first)={_NUMBER}")
_TFLITE_SUMMARY = re.compile(
    rf"Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, "
    rf"Inference \(avg\): {_NUMBER}"
)
_TFLITE_PEAK = re.compile(rf"Overall peak memory footprint \(MB\).*?: {_NUMBER}")
_TFLITE_MEMORY = re.compile(rf"Memory footprint delta.*\boverall={_NUMBER}")
_TFLITE_NAMES = {
    "min": "shortest_us",
    "max": "longest_us",
    "std": "std_us",
    "median": "median_us",
    "p95": "p95_us",
}


def _tflite(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in lines(text):
        if (match := _TFLITE_STATISTICS.search(line)) is not None:
            # The first such line is of the warm-up, the last of the runs.
            found = {k: v for k, v in found.items() if k not in _TFLITE_NAMES.values()}
            found["runs"] = float(match[1])
            for name, value in _TFLITE_FIELD.findall(match[2]):
                if name in _TFLITE_NAMES:
                    _put(found, _TFLITE_NAMES[name], value)
                elif name == "curr" and "min=" not in line:  # all are the same
                    for every in ("shortest_us", "longest_us", "median_us"):
                        _put(found, every, value)
        elif (match := _TFLITE_SUMMARY.search(line)) is not None:
            _put(found, "init_us", match[1])
            _put(found, "first_us", match[2])
            _put(found, "average_us", match[4])
        elif (match := _TFLITE_PEAK.search(line) or _TFLITE_MEMORY.search(line)) is not None:
            # The growth comes first; the peak, where it is told, replaces it.
            _put(found, "peak_bytes", match[1], 1024**2)
    return found


_LITERT_LINE = re.compile(
    rf"(?:^|[\s\]])(Model initialization|Warmup \(first\)|Inference \([a-z0-9]+\)|Peak memory)"
    rf":\s*{_NUMBER}\s*(ms|us|MB)?(?:\s*\((\d{{1,9}}) runs?\))?"
)
_LITERT_NAMES = {
    "Model initialization": "init_us",
    "Warmup (first)": "first_us",
    "Inference (avg)": "average_us",
    "Inference (min)": "shortest_us",
    "Inference (max)": "longest_us",
    "Inference (std)": "std_us",
    "Inference (median)": "median_us",
    "Inference (p95)": "p95_us",
    "Peak memory": "peak_bytes",
}
_LITERT_SCALES = {"ms": 1e3, "us": 1.0, "MB": 1024.0**2, "": 1e3}


def _litert(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in lines(text):
        match = _LITERT_LINE.search(line)
        if match is None or match[1] not in _LITERT_NAMES:
            continue
        _put(found, _LITERT_NAMES[match[1]], match[2], _LITERT_SCALES[match[3] or ""])
        if match[4] and match[1] == "Inference (avg)":
            found["runs"] = float(match[4])
    return found


_REGULAR = "Profiling Info for Regular Benchmark Runs"
_PARTIAL = re.compile(r"partially executed by the delegate w/ (\d{1,6}) delegate kernels")


def _delegation(text: str) -> tuple[tuple[str, ...], int | None]:
    """Return the tool's sentences on what the delegate took, and the number of its kernels."""
    sentences: list[str] = []
    partitions = None
    for line in lines(text):
        if "executed by the delegate" not in line:
            continue
        sentence = shown(line.partition("INFO: ")[2] or line)
        if sentence not in sentences and len(sentences) < 8:
            sentences.append(sentence)
        if (match := _PARTIAL.search(line)) is not None:
            partitions = int(match[1])
        elif "completely executed" in line:
            partitions = 1
        elif "will not be executed" in line:
            partitions = 0
    return tuple(sentences), partitions


def _profile(text: str) -> Iterable[OperatorCost]:
    """Yield the rows of the regular runs' table "Summary by node type", the costliest first.

    The initialization has a table before it, and a delegate may have its own behind it.
    """
    rows: list[OperatorCost] = []
    inside = taken = False
    for line in lines(text):
        if _REGULAR in line:
            rows, taken = [], False
        elif "Summary by node type" in line:
            inside, taken = not taken, True
        elif inside:
            cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
            row = _row(cells)
            if row is not None and len(rows) < _MAX_OPERATORS:
                rows.append(row)
            elif row is None and rows:
                inside = False
    return sorted(rows, key=lambda row: -row.milliseconds)


def _row(cells: Sequence[str]) -> OperatorCost | None:
    """Read [type, count, avg ms, avg %, cdf %, mem KB, times called]; None for the header."""
    if len(cells) < 7:
        return None
    numbers = [_value(cell.rstrip("%")) for cell in cells[1:7]]
    if any(n is None or n < 0 for n in numbers):
        return None
    count, milliseconds, percent, _cdf, _memory, _calls = (n or 0.0 for n in numbers)
    return OperatorCost(shown(cells[0], 60), milliseconds, percent, int(count))


def _put(found: dict[str, float], name: str, text: str, scale: float = 1.0) -> None:
    value = _value(text)
    # Only a delta of memory can be negative, and then it tells nothing.
    if value is not None and value >= 0:
        found[name] = value * scale


def _value(text: str) -> float | None:
    try:
        value = float(text[:32])
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < _MAX_VALUE else None
