"""The arm64 benchmark program: its arguments, its answer, and running it under QEMU.

What the program prints is not trusted: it may come from a phone.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild import children
from edgebuild.devices.base import LayerSample, RunResult, Samples
from edgebuild.devices.qemu_count import InstructionCounter, can_count
from edgebuild.errors import EdgebuildError, InputError, InternalError, ToolError
from edgebuild.figures import Figure, How
from edgebuild.files import TemporaryFolder

ISAS = ("base", "dotprod", "i8mm")
"""Instruction sets of the NEON kernels, each with those before it."""

QEMU = "qemu-aarch64"
PROTOCOL = 1
MAX_ANSWER_CHARS = 32 << 20
_MAX_NS = 3600 * 10**9
_MAX_BYTES = 1 << 40
_MAX_ITEMS = 1 << 20
_SHOWN_CHARS = 160
_TIMEOUT_S = 600.0
_COUNTED_RUNS = 2
"""After one inference all later ones run the same instructions."""
_HINT = "run it again; `edgebuild build` makes the program anew"


@dataclass(frozen=True)
class ProgramResult:
    """What the program said. ``inputs`` and ``outputs`` are the bytes of each tensor of one sample,
    ``times_ns`` are in the order of the runs, ``layers_ns`` the medians of each layer, empty where
    none were asked for. None where the system does not tell.
    """

    model: str
    isa: str
    cpus: tuple[int, ...] | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layers: int
    arena_bytes: int
    times_ns: tuple[int, ...]
    layers_ns: tuple[int, ...]
    arena_used_bytes: int
    stack_bytes: int | None
    peak_rss_kib: int | None
    governor: str | None


def program_arguments(
    input_file: str,
    output_file: str,
    count: int,
    *,
    warmup: int = 0,
    runs: int = 0,
    isa: str | None = None,
    cpus: str | None = None,
    layers: bool = False,
) -> list[str]:
    """Return the program's arguments; see docs/arm64.md. ``cpus`` is a list such as ``0-3,7``."""
    if isa is not None and isa not in ISAS:
        raise InputError(f"'{isa}' is not an instruction set", hint=f"one of {', '.join(ISAS)}")
    arguments = ["--input", input_file, "--output", output_file, "--count", str(count)]
    arguments += ["--warmup", str(warmup), "--runs", str(runs)]
    arguments += ["--isa", isa] if isa is not None else []
    arguments += ["--cpus", cpus] if cpus is not None else []
    return [*arguments, *(["--layers"] if layers else [])]


def input_bytes(samples: Samples) -> bytes:
    """Return the content of the program's input file."""
    return b"".join(part for sample in samples for part in sample)


def program_failure(code: int, stderr: str, label: str) -> EdgebuildError:
    """Return the explanation of an exit code other than 0; ``label`` names the device."""
    details = [line[:_SHOWN_CHARS] for line in stderr.strip().splitlines()[:6]]
    if code == 2:
        return InternalError(f"{label}: the program refused its arguments", details=details)
    if code == 3:
        return ToolError(
            f"{label}: the program cannot read or write a file",
            details=details,
            hint="check the free space and the permissions of its folder",
        )
    if code == 4:
        return ToolError(f"{label}: the model refused to run", details=details, hint=_HINT)
    if code == 5:
        return ToolError(
            f"{label}: the instruction set or the CPUs are not available",
            details=details,
            hint="leave them out, or name what the device has",
        )
    ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return ToolError(f"{label}: the program ended with {ended}", details=details, hint=_HINT)


def parse_result(stdout: str, *, model: str, runs: int, layers: bool, label: str) -> ProgramResult:
    """Check and return the program's answer.

    ``model``, ``runs`` and ``layers`` are what was asked for. ToolError names the first thing that
    is wrong; ``label`` names the device.
    """
    if len(stdout) > MAX_ANSWER_CHARS:
        raise ToolError(f"{label}: the program printed more than {MAX_ANSWER_CHARS:,} characters")
    lines = [line for line in stdout.split("\n") if line.strip()]
    if len(lines) < 2:
        raise ToolError(
            f"{label}: the program's answer has {len(lines)} of at least 2 lines",
            details=[line[:_SHOWN_CHARS] for line in lines],
            hint=_HINT,
        )
    first = _Record(lines[0], "first line", label)
    last = _Record(lines[-1], "last line", label)
    if first.number("edgebuild", 1 << 30) != PROTOCOL:
        raise first.wrong("edgebuild", f"{PROTOCOL}: another version of the program")
    if first.text("model") != model:
        raise first.wrong("model", f"'{model}': another model's program")
    if last.values.get("done") is not True:
        raise last.wrong("done", "true: the program did not finish cleanly")
    isa = first.text("isa")
    if isa not in ISAS:
        raise first.wrong("isa", f"one of {', '.join(ISAS)}")
    count = first.number("layers", _MAX_ITEMS)
    arena = first.number("arena_bytes", _MAX_BYTES)
    return ProgramResult(
        model=model,
        isa=isa,
        cpus=first.numbers("cpus", 1 << 20) if first.has("cpus") else None,
        inputs=first.numbers("inputs", _MAX_BYTES),
        outputs=first.numbers("outputs", _MAX_BYTES),
        layers=count,
        arena_bytes=arena,
        times_ns=last.numbers("times_ns", _MAX_NS, length=runs),
        layers_ns=last.numbers("layers_ns", _MAX_NS, length=count if layers and runs > 0 else 0),
        arena_used_bytes=last.number("arena_used_bytes", arena),
        stack_bytes=last.optional("stack_bytes", _MAX_BYTES),
        peak_rss_kib=last.optional("peak_rss_kib", _MAX_BYTES),
        governor=last.text("governor") if last.has("governor") else None,
    )


def split_outputs(
    result: ProgramResult, content: bytes, count: int, label: str
) -> tuple[tuple[bytes, ...], ...]:
    """Return the outputs of each sample from the program's output file."""
    size = sum(result.outputs)
    if len(content) != count * size:
        raise ToolError(
            f"{label}: the program wrote {len(content):,} B of outputs, not {count * size:,} B",
            hint=_HINT,
        )
    outputs = []
    offset = 0
    for _ in range(count):
        parts = []
        for part in result.outputs:
            parts.append(content[offset : offset + part])
            offset += part
        outputs.append(tuple(parts))
    return tuple(outputs)


def to_run_result(
    result: ProgramResult, outputs: tuple[tuple[bytes, ...], ...], label: str, *, timed: bool
) -> RunResult:
    """Return the figures of a run; ``timed=False`` where the times say nothing of speed (QEMU)."""
    source = f"{label}, {result.isa} kernels"
    times = result.times_ns if timed else ()
    stack = result.stack_bytes

    def latency(ns: int) -> Figure:
        return Figure(ns / 1e3, "us", How.MEASURED, f"{source}, {len(times)} runs")

    return RunResult(
        label,
        outputs,
        latency_us=latency(max(times)) if times else None,
        shortest_us=latency(min(times)) if times else None,
        layers=tuple(
            LayerSample(i, time_us=ns / 1e3)
            for i, ns in enumerate(result.layers_ns if timed else ())
        ),
        stack_bytes=None
        if stack is None
        else Figure(stack, "B", How.MEASURED, f"{label} (painted stack)"),
        arena_bytes=Figure(result.arena_used_bytes, "B", How.MEASURED, f"{label} (painted arena)"),
    )


class QemuArm64Device:
    """Runs the program with ``qemu-aarch64 -cpu NAME``: outputs and instruction counts are exact,
    times are not known.

    Args:
        program: ``bench-arm64`` of a build.
        model_name: the model that it must hold.
        cpu: QEMU's name of a CPU, e.g. ``cortex-a53`` or ``max``.
        isa: one of ``ISAS``; None for the best that the CPU has.
        count: count instructions too, where QEMU takes plug-ins and zig is there to compile ours.
    """

    def __init__(
        self,
        program: Path,
        model_name: str,
        *,
        cpu: str = "max",
        isa: str | None = None,
        count: bool = True,
    ) -> None:
        self._program, self._model = program, model_name
        self._cpu, self._isa, self._count = cpu, isa, count
        self.label = f"qemu {cpu}"

    def run(self, samples: Samples) -> RunResult:
        """Run every sample once."""
        with TemporaryFolder("work") as name:
            folder = Path(name)
            (folder / "input").write_bytes(input_bytes(samples))
            arguments = program_arguments(
                *(str(folder / "input"), str(folder / "output"), len(samples)),
                isa=self._isa,
                warmup=_COUNTED_RUNS,
            )
            counter = None
            if self._count and can_count(find_qemu()):
                counter = InstructionCounter(folder)
            stdout = self._execute(arguments, counter.options if counter else ())
            result = parse_result(stdout, model=self._model, runs=0, layers=False, label=self.label)
            content = (folder / "output").read_bytes()
            counts = counter.read() if counter else None
        outputs = split_outputs(result, content, len(samples), self.label)
        run = to_run_result(result, outputs, self.label, timed=False)
        return run if counts is None else self._counted(run, result, counts.marks)

    def _counted(self, run: RunResult, result: ProgramResult, marks: Sequence[int]) -> RunResult:
        """Add the counts of the last inference; ``marks`` are taken after every layer."""
        last = marks[-result.layers - 1 :]
        if result.layers == 0 or len(last) != result.layers + 1:
            return run
        source = f"{self.label}, {result.isa} kernels, with layer hooks and copying the input"
        return dataclasses.replace(
            run,
            instructions=Figure(last[-1] - last[0], "instructions", How.MEASURED, source),
            layers=tuple(
                LayerSample(i, instructions=after - before)
                for i, (before, after) in enumerate(itertools.pairwise(last))
            ),
        )

    def _execute(self, arguments: Sequence[str], options: Sequence[str] = ()) -> str:
        command = [find_qemu(), "-cpu", self._cpu, *options, str(self._program), *arguments]
        try:
            done = children.run(command, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ToolError(
                f"{self.label}: the program did not end in {_TIMEOUT_S:.0f} s",
                hint="fewer samples, or a smaller model",
            ) from error
        except OSError as error:
            raise ToolError(f"{self.label}: {QEMU} cannot be started: {error}") from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace")
            raise program_failure(done.returncode, words, self.label)
        return done.stdout.decode(errors="replace")


def find_qemu() -> str:
    """Return the path of ``qemu-aarch64``; ToolError when it is not installed."""
    program = shutil.which(QEMU)
    if program is None:
        raise ToolError(f"{QEMU} is not installed", hint="apt-get install qemu-user")
    return program


class _Record:
    """One JSON line of the program; every access checks type and bounds."""

    def __init__(self, line: str, where: str, label: str) -> None:
        self._where = f"{label}: the program's {where}"
        try:
            values: Any = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, Mapping):
            raise ToolError(
                f"{self._where} is not a JSON object", details=[line[:_SHOWN_CHARS]], hint=_HINT
            )
        self.values: Mapping[str, Any] = values

    def wrong(self, key: str, wanted: str) -> ToolError:
        """Return the error for a value that is not ``wanted``."""
        found = json.dumps(self.values[key])[:_SHOWN_CHARS] if key in self.values else "absent"
        return ToolError(f"{self._where}: '{key}' is {found}, not {wanted}", hint=_HINT)

    def has(self, key: str) -> bool:
        """Return whether a value is there and not null."""
        return self.values.get(key) is not None

    def number(self, key: str, maximum: int) -> int:
        """Return an integer from 0 to ``maximum``."""
        value = self.values.get(key)
        if not _is_number(value, maximum):
            raise self.wrong(key, f"an integer from 0 to {maximum:,}")
        assert isinstance(value, int)
        return value

    def optional(self, key: str, maximum: int) -> int | None:
        """Return an integer, None where it is null or absent."""
        return self.number(key, maximum) if self.has(key) else None

    def text(self, key: str) -> str:
        """Return a printable string of at most 256 characters."""
        value = self.values.get(key)
        if not isinstance(value, str) or len(value) > 256 or not value.isprintable():
            raise self.wrong(key, "a short text")
        return value

    def numbers(self, key: str, maximum: int, *, length: int | None = None) -> tuple[int, ...]:
        """Return a list of integers from 0 to ``maximum``, of ``length`` if that is given."""
        value = self.values.get(key)
        most = _MAX_ITEMS if length is None else length
        if (
            not isinstance(value, list)
            or not (length or 0) <= len(value) <= most
            or not all(_is_number(item, maximum) for item in value)
        ):
            size = f"{length:,}" if length is not None else f"at most {_MAX_ITEMS:,}"
            raise self.wrong(key, f"a list of {size} integers from 0 to {maximum:,}")
        return tuple(value)


def _is_number(value: object, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum
