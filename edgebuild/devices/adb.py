"""A phone over adb: pushes the arm64 benchmark program, runs it, brings its outputs back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild.devices.arm64 import (
    ProgramResult,
    input_bytes,
    parse_result,
    program_arguments,
    program_failure,
    split_outputs,
    to_run_result,
)
from edgebuild.devices.base import RunResult, Samples
from edgebuild.devices.benchmark_model import (
    Tool,
    ToolResult,
    ToolRun,
    detect,
    flags,
    parse_output,
)
from edgebuild.devices.phone.health import Health, health_notes, read_health
from edgebuild.devices.phone.identity import Phone, choose_serial, read_phone
from edgebuild.devices.phone.link import Link, ShellResult, open_client
from edgebuild.devices.phone.workspace import Workspace, workspace
from edgebuild.devices.timing import Timing, drift_note, summarize
from edgebuild.devices.untrusted import lines, shown
from edgebuild.errors import EdgebuildError, InputError, ToolError
from edgebuild.figures import Figure, How
from edgebuild.files import explained
from edgebuild.units import check_within, quoted

_PROGRAM, _INPUT, _OUTPUT = "bench-arm64", "input.bin", "output.bin"
_TOOL, _MODEL = "benchmark_model", "model.tflite"
_CPUS = 1024
_MAX_OUTPUT_BYTES = 256 << 20
_NOT_EXECUTABLE, _NOT_FOUND, _SIGNAL = 126, 127, 128
_SIGNALS = {
    4: "the CPU lacks an instruction: --isa base",
    9: "the phone killed it: check its free memory",
}


@dataclass(frozen=True)
class AdbOptions:
    """How to measure. ``cpus`` is a list such as ``4-7``; ``isa`` one of arm64.ISAS; None leaves
    both to the phone. A program that takes longer than ``time_limit_s`` is killed."""

    warmup: int = 10
    runs: int = 50
    cpus: str | None = None
    isa: str | None = None
    layers: bool = True
    time_limit_s: float = 300.0

    def __post_init__(self) -> None:
        check_within("warmup", self.warmup, 0, 1_000_000)
        check_within("runs", self.runs, 1, 1_000_000)
        check_within("the time limit in seconds", self.time_limit_s, 0.1, 86_400)
        if self.cpus is not None:
            parse_cpus(self.cpus)


@dataclass(frozen=True)
class PhoneRun:
    """What a phone measured: outputs and marks in ``result``, times in ``timing`` (None without
    timed runs), what its state says of them in ``notes``. ``source`` names phone, instruction set
    and CPUs."""

    phone: Phone
    result: RunResult
    timing: Timing | None
    before: Health
    after: Health
    peak_rss_bytes: int | None
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ToolRequest:
    """A ``benchmark_model`` for arm64 Android, the shared libraries it needs, and how to run it."""

    program: Path
    run: ToolRun
    libraries: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ToolMeasurement:
    """What ``benchmark_model`` measured. ``source`` names phone, CPUs and delegate, ``notes`` say
    what the phone's state says of it."""

    result: ToolResult
    source: str
    notes: tuple[str, ...]


class AdbDevice:
    """Runs the program of a build on a phone.

    Args:
        program: ``bench-arm64`` of a build.
        model_name: the model that it must hold.
        serial: of the phone; None for the only one that is connected.
        client: of adbutils; None for the adb server that the environment names.
    """

    def __init__(
        self,
        program: Path,
        model_name: str,
        serial: str | None = None,
        *,
        options: AdbOptions = AdbOptions(),
        client: Any = None,
    ) -> None:
        self._program, self._model, self._options = program, model_name, options
        self._client = client if client is not None else open_client()
        self.serial = choose_serial(self._client, serial)
        self._link = Link(self._client, self.serial)

    def run(self, samples: Samples) -> RunResult:
        """Run every sample once, then the timed runs."""
        return self.measure(samples).result

    def measure(self, samples: Samples) -> PhoneRun:
        """Run every sample once, then the timed runs, and watch the phone's temperature.

        Raises ToolError when the phone fails, does not answer in time or answers nonsense. What was
        pushed is removed and what ran is ended; what cannot be is said in the error or the notes.
        """
        with explained(self._program):
            program = self._program.read_bytes()
        phone = read_phone(self._link)
        before = read_health(self._link)
        with workspace(self._client, self._link) as place:
            place.push_program(_PROGRAM, program)
            self._link.push(input_bytes(samples), place.path(_INPUT), 0o600)
            answer = self._execute(place, len(samples))
            after = read_health(self._link)
            content = self._pull_outputs(place, len(samples) * sum(answer.outputs))
            outputs = split_outputs(answer, content, len(samples), self.serial)
        run = _phone_run(phone, answer, outputs, before, after)
        if place.leftover:
            run = dataclasses.replace(run, notes=(*run.notes, place.leftover))
        return run

    def benchmark(self, request: ToolRequest, model: bytes) -> ToolMeasurement:
        """Run the user's ``benchmark_model`` with a model.

        Raises like ``measure``, and leaves as little behind.
        """
        files = [request.program, *request.libraries]
        contents = []
        for path in files:
            with explained(path):
                contents.append(path.read_bytes())
        phone = read_phone(self._link)
        with workspace(self._client, self._link) as place:
            place.push_program(_TOOL, contents[0])
            for path, content in zip(files[1:], contents[1:], strict=True):
                self._link.push(content, place.path(path.name), 0o644)
            self._link.push(model, place.path(_MODEL), 0o644)
            helped = self._run_tool(place, ["--help"])
            tool = detect(helped.text + helped.stderr.decode(errors="replace"))
            before = read_health(self._link)
            done = self._run_tool(place, flags(tool, place.path(_MODEL), request.run))
            text = done.text + "\n" + done.stderr.decode(errors="replace")
            if done.exit_code != 0:
                raise tool_failure(tool, done, text, self.serial)
            result = parse_output(tool, text, self.serial)
            notes = health_notes(before, read_health(self._link))
        notes += [place.leftover] if place.leftover else []
        cpus = f", CPU {self._options.cpus}" if self._options.cpus else ""
        source = f"{phone.title}{cpus}, {request.run.delegate}"
        return ToolMeasurement(result, source, tuple(notes))

    def _run_tool(self, place: Workspace, arguments: list[str]) -> ShellResult:
        prefix = []
        if self._options.cpus is not None:
            mask = sum(1 << cpu for cpu in parse_cpus(self._options.cpus))
            prefix = ["taskset", f"{mask:x}"]
        return place.run(
            [*prefix, place.path(_TOOL), *arguments],
            name=_TOOL,
            limit_s=self._options.time_limit_s,
            libraries=True,
        )

    def _pull_outputs(self, place: Workspace, size: int) -> bytes:
        if size > _MAX_OUTPUT_BYTES:
            raise ToolError(
                f"{self.serial}: the program reports {size:,} B of outputs",
                hint=f"fewer --samples: at most {_MAX_OUTPUT_BYTES:,} B are brought back",
            )
        return self._link.pull(place.path(_OUTPUT), size) if size else b""

    def _execute(self, place: Workspace, count: int) -> ProgramResult:
        options = self._options
        arguments = program_arguments(
            *(place.path(_INPUT), place.path(_OUTPUT), count),
            warmup=options.warmup,
            runs=options.runs,
            isa=options.isa,
            cpus=options.cpus,
            layers=options.layers,
        )
        done = place.run(
            [place.path(_PROGRAM), *arguments], name=_PROGRAM, limit_s=options.time_limit_s
        )
        if done.exit_code != 0:
            raise run_failure(done, self.serial)
        return parse_result(
            done.text,
            model=self._model,
            runs=options.runs,
            layers=options.layers,
            label=self.serial,
        )


def tool_failure(tool: Tool, done: ShellResult, text: str, label: str) -> EdgebuildError:
    """Return the explanation of a benchmark_model that failed."""
    if done.exit_code in (_NOT_EXECUTABLE, _NOT_FOUND) or done.exit_code > _SIGNAL:
        return run_failure(done, label)
    said = [shown(line) for line in lines(text) if line.strip()]
    errors = [line for line in said if "ERROR" in line or "nknown" in line]
    return ToolError(
        f"{label}: {tool} ended with exit code {done.exit_code}",
        details=(errors or said)[-4:],
        hint="does it know the flags and the model? --delegate-args overrides flags",
    )


def parse_cpus(text: str) -> list[int]:
    """Return the CPUs of a list such as ``0-3,7``; InputError when it is none."""
    cpus: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part.strip(), re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last >= _CPUS:
            raise InputError(
                f"{quoted(text)} is not a list of CPUs",
                hint="numbers and ranges, for example 0-3,7",
            )
        cpus.update(range(first, last + 1))
    return sorted(cpus)


def run_failure(done: ShellResult, label: str) -> EdgebuildError:
    """Return the explanation of an exit code that the phone's shell told, not 0."""
    code = done.exit_code
    if code in (_NOT_EXECUTABLE, _NOT_FOUND):
        return ToolError(
            f"{label}: the program cannot be started: {done.complaint}",
            hint="programs must be allowed to run from /data/local/tmp; a policy of the phone's "
            "owner can forbid it",
        )
    if code > _SIGNAL:
        hint = _SIGNALS.get(code - _SIGNAL, "`adb logcat` shows the crash")
        return ToolError(
            f"{label}: the program was ended by signal {code - _SIGNAL}",
            details=[done.complaint] if done.complaint else [],
            hint=hint,
        )
    words = "\n".join(map(shown, done.stderr.decode(errors="replace").splitlines()[:6]))
    return program_failure(code, words, label)


def _phone_run(
    phone: Phone,
    answer: ProgramResult,
    outputs: tuple[tuple[bytes, ...], ...],
    before: Health,
    after: Health,
) -> PhoneRun:
    where = phone.title
    if answer.cpus is not None:
        where += f", CPU {cpu_list(answer.cpus)}"
    notes = health_notes(before, after)
    if drift := drift_note(answer.times_ns):
        notes.append(drift)
    result = to_run_result(answer, outputs, where, timed=True)
    return PhoneRun(
        phone=phone,
        result=dataclasses.replace(result, device=f"{phone.serial} ({phone.title})"),
        timing=summarize(answer.times_ns) if answer.times_ns else None,
        before=before,
        after=after,
        peak_rss_bytes=None if answer.peak_rss_kib is None else answer.peak_rss_kib * 1024,
        source=f"{where}, {answer.isa} kernels, {len(answer.times_ns)} runs"
        + (f", governor {shown(answer.governor, 30)}" if answer.governor else ""),
        notes=tuple(notes),
    )


def cpu_list(cpus: Sequence[int]) -> str:
    """Return CPU numbers as ranges, e.g. ``0-3,7``."""
    ranges: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def health_figures(before: Health, after: Health, source: str) -> dict[str, Figure]:
    """Return temperatures and battery under the names that a report gives them."""
    found = {}
    for label, part in (
        ("CPU temperature", "cpu_celsius"),
        ("skin temperature", "skin_celsius"),
        ("battery temperature", "battery_celsius"),
    ):
        for when, health in (("before", before), ("after", after)):
            value = getattr(health, part)
            if value is not None:
                found[f"{label} {when}"] = Figure(value, "°C", How.MEASURED, source)
    if after.battery_percent is not None:
        found["battery"] = Figure(after.battery_percent / 100, "ratio", How.MEASURED, source)
    return found
