"""Run a model with ``firmware/coral/eb_coral_runner.py`` where the Edge TPU is; read the answer.

What comes back is not trusted: every number and every length is checked.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild.coral.transports import Transport
from edgebuild.errors import InputError, ToolError
from edgebuild.files import TemporaryFolder
from edgebuild.resources import resource_dir
from edgebuild.tflite.reader import clean_name, read_tflite_file
from edgebuild.toolchain.process import Finished
from edgebuild.units import check_within

RUNNER = "eb_coral_runner.py"
_MAX_LINES = 10_000
_MAX_TENSOR_BYTES = 1 << 30
_GRACE_S = 30
_HINTS = {
    2: "the runner does not match this edgebuild: reinstall edgebuild",
    3: "check the free space in /tmp on the board",
    4: "compile the model for the board's runtime (min_runtime); inspect shows what it needs",
    5: "check that the Edge TPU is plugged in, and libedgetpu installed (package libedgetpu1-std)",
    6: "install python3-tflite-runtime, or pip install tflite-runtime or ai-edge-litert",
    7: "fewer runs or samples, or a longer limit",
    8: "pass a model whose inputs and outputs have fixed shapes",
}


@dataclass(frozen=True)
class RunnerOptions:
    """How to run: ``device`` is ``usb``, ``pci`` or empty for any; ``edgetpu`` False runs on the
    CPU alone; ``limit_s`` ends the runner there."""

    warmup: int = 5
    runs: int = 50
    device: str = ""
    edgetpu: bool = True
    limit_s: int = 600

    def __post_init__(self) -> None:
        if self.device not in ("", "usb", "pci"):
            raise InputError(f"'{self.device[:40]}' is not a kind of Edge TPU", hint="usb or pci")
        check_within("warmup", self.warmup, 0, 1_000_000)
        check_within("runs", self.runs, 1, 1_000_000)
        check_within("the time limit in seconds", self.limit_s, 1, 86_400)


@dataclass(frozen=True)
class RunnerResult:
    """What the runner measured.

    ``edgetpu`` tells whether the Edge TPU did the work, ``temperatures_c`` are those before and
    after, None where the board does not tell. ``times_ns`` are inferences of sample 0.
    """

    outputs: tuple[tuple[bytes, ...], ...]
    times_ns: tuple[int, ...]
    edgetpu: bool
    runtime: str
    machine: str
    temperatures_c: tuple[float | None, float | None]

    @property
    def median_us(self) -> float:
        """The median of one inference."""
        return statistics.median(self.times_ns) / 1000


def run_model(
    model: Path,
    samples: Sequence[Sequence[bytes]],
    transport: Transport,
    options: RunnerOptions | None = None,
) -> RunnerResult:
    """Run every sample of ``model`` where ``transport`` leads, and time the first.

    Raises:
        ToolError: the other side cannot be reached, fails, hangs, or answers something else; or
            the Edge TPU was asked for and did not do the work.
    """
    options = options or RunnerOptions()
    if not samples:
        raise InputError("no samples to run")
    graph = read_tflite_file(model)
    output_bytes = sum(tensor.nbytes for tensor in graph.output_tensors)
    with TemporaryFolder("coral") as scratch, transport as there:
        inputs = Path(scratch) / "inputs"
        inputs.write_bytes(b"".join(part for sample in samples for part in sample))
        there.push(resource_dir("firmware") / "coral" / RUNNER, RUNNER)
        there.push(model, "model.tflite")
        there.push(inputs, "inputs")
        finished = there.python(
            _arguments(len(samples), options), timeout_s=options.limit_s + _GRACE_S
        )
        head, tail = _answer(finished, transport.name)
        content = there.read("outputs", len(samples) * output_bytes)
    return _result(head, tail, content, samples, options, transport.name)


def _arguments(count: int, options: RunnerOptions) -> list[str]:
    arguments = [RUNNER, "--model", "model.tflite", "--input", "inputs", "--output", "outputs"]
    arguments += ["--count", str(count), "--warmup", str(options.warmup)]
    arguments += ["--runs", str(options.runs), "--limit", str(options.limit_s)]
    if options.device:
        arguments += ["--device", options.device]
    if not options.edgetpu:
        arguments.append("--no-edgetpu")
    return arguments


def _answer(finished: Finished, where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first and the last JSON line."""
    if finished.returncode != 0:
        lines = [line[:600] for line in finished.errors.splitlines() if line.strip()]
        # What interpreters say on their way out stands behind the runner's own words.
        said = [line for line in lines if line.startswith("error: ")] or lines
        raise ToolError(
            f"{where}: the runner failed (exit code {finished.returncode})",
            details=[clean_name(line.encode()) for line in said[-6:]],
            hint=_HINTS.get(finished.returncode, "run the model there by hand"),
        )
    lines = finished.output.splitlines()[:_MAX_LINES]
    found = [value for line in lines if (value := _json_line(line)) is not None]
    head = next((v for v in found if v.get("edgebuild") == 1), None)
    tail = next((v for v in reversed(found) if v.get("done") is True), None)
    if head is None or tail is None:
        raise ToolError(
            f"{where}: the runner's answer is incomplete",
            details=[clean_name(line.encode()) for line in lines[-3:]],
            hint="run it again; something else may write to its output",
        )
    return head, tail


def _json_line(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _result(
    head: dict[str, Any],
    tail: dict[str, Any],
    content: bytes,
    samples: Sequence[Sequence[bytes]],
    options: RunnerOptions,
    where: str,
) -> RunnerResult:
    if options.edgetpu and head.get("edgetpu") is not True:
        raise ToolError(
            f"{where}: the Edge TPU did not run the model",
            hint="use a model compiled for this chip; `edgebuild inspect` shows its package",
        )
    outputs = _integers(head.get("outputs"), _MAX_TENSOR_BYTES, "sizes of outputs", where)
    times = _integers(tail.get("times_ns"), 10**15, "times", where)
    if len(times) != options.runs:
        raise ToolError(f"{where}: {len(times)} times for {options.runs} runs")
    if len(content) != len(samples) * sum(outputs):
        raise ToolError(
            f"{where}: {len(content):,} bytes of outputs, "
            f"{len(samples)} samples have {len(samples) * sum(outputs):,}"
        )
    return RunnerResult(
        outputs=_cut(content, outputs, len(samples)),
        times_ns=times,
        edgetpu=head.get("edgetpu") is True,
        runtime=f"{_word(head.get('runtime'))} {_word(head.get('version'))}",
        machine=_word(head.get("machine")),
        temperatures_c=_temperatures(tail.get("temperature_mc")),
    )


def _integers(value: Any, most: int, what: str, where: str) -> tuple[int, ...]:
    if (
        isinstance(value, list)
        and value
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 < v <= most for v in value)
    ):
        return tuple(value)
    raise ToolError(f"{where}: the runner's {what} are not valid: {str(value)[:80]}")


def _cut(content: bytes, sizes: Sequence[int], count: int) -> tuple[tuple[bytes, ...], ...]:
    found, at = [], 0
    for _ in range(count):
        sample = []
        for size in sizes:
            sample.append(content[at : at + size])
            at += size
        found.append(tuple(sample))
    return tuple(found)


def _temperatures(value: Any) -> tuple[float | None, float | None]:
    pair = value if isinstance(value, list) and len(value) == 2 else [None, None]
    good = [v / 1000 if type(v) is int and -100_000 < v < 200_000 else None for v in pair]
    return good[0], good[1]


def _word(value: Any) -> str:
    return clean_name(str(value)[:60].encode()) if isinstance(value, str) else "unknown"
