"""Run a finished build on a real board and make its report again with what the board measured."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from edgebuild.backends.base import Progress
from edgebuild.budget import Budget
from edgebuild.devices.serial import SerialDevice
from edgebuild.errors import EdgebuildError, InputError, ToolError
from edgebuild.models.data import load_data
from edgebuild.models.source import open_model
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.pipeline.plan import LOCK_NAME, REPORT_NAME, hash_path
from edgebuild.pipeline.steps import LazyHost, measured_memory, quantized_samples, ram_figure
from edgebuild.report.layers import with_samples
from edgebuild.report.model import SCHEMA_VERSION, Report, report_from_json
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import compare, make_samples

MODEL_NAME = "model.tflite"


@dataclass(frozen=True)
class BenchRequest:
    """What to measure: the build in ``folder``, whose ``firmware.elf`` is on the board at ``port``.

    The first three of ``samples`` inferences are zeros, highest and lowest values, then come those
    of ``data``, then random ones. ``budget`` goes over the one of the build, ``baud`` over the
    profile's.
    """

    folder: Path
    port: str
    baud: int | None = None
    samples: int = 8
    data: str | None = None
    budget: Budget = field(default_factory=Budget)
    seed: int = 0


def bench(request: BenchRequest, *, progress: Progress = lambda _: None) -> Report:
    """Run the samples on the board, compare every output byte, and return the measured report.

    Raises InputError when ``folder`` holds no whole build, ToolError when the board does not answer
    or has another model on it.
    """
    report = read_build(request.folder)
    path = request.folder / MODEL_NAME
    model = path.read_bytes()
    graph = run_passes(read_tflite(model, name=report.name, where=str(path)), DEFAULT_PASSES).graph
    data = None
    if request.data is not None:
        data = load_data(request.data, open_model(path), folder=Path(), seed=request.seed)
    real = quantized_samples(graph, data, request.samples)
    samples = make_samples(graph, request.samples, request.seed, real)
    progress(f"running on {request.port}")
    baud = request.baud or report.target["run"]["serial_baud"]
    with SerialDevice(request.port, baud, model=report.name) as device:
        result = device.run(samples)
    progress("comparing with TFLite Micro")
    with tempfile.TemporaryDirectory(prefix="edgebuild-") as scratch:
        host = LazyHost(graph, report.name, _toolchain(request.folder), Path(scratch), progress)
        comparison = compare(graph, model, samples, result, host.trace)
    budget = report.budget.overridden_by(request.budget)
    memory = {**report.memory, **measured_memory(result)}
    metrics = dataclasses.replace(
        report.metrics,
        latency_us=result.latency_us,
        ram_bytes=ram_figure(memory),
    )
    times = {"latency, shortest": result.shortest_us, "latency, longest": result.latency_us}
    return dataclasses.replace(
        report,
        budget=budget,
        metrics=metrics,
        memory=memory,
        run={k: f for k, f in times.items() if f is not None},
        layers=with_samples(report.layers, result.layers),
        comparison=comparison,
        violations=budget.check(metrics),
        out_dir="",
    )


def read_build(folder: Path) -> Report:
    """Return the report of the build in ``folder``; InputError unless the build is whole."""
    again = f"build it again: edgebuild build MODEL --target NAME writes {folder}"
    try:
        lock = json.loads((folder / LOCK_NAME).read_bytes())
        value = json.loads((folder / REPORT_NAME).read_bytes())
        changed = [p for p, sha256 in lock["artifacts"].items() if hash_path(folder / p) != sha256]
        if value["schema"] != SCHEMA_VERSION:
            raise InputError(
                f"{folder}: the report has schema {value['schema']}, not {SCHEMA_VERSION}",
                hint=again,
            )
        report = report_from_json(value)
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} holds no build: {Path(error.filename).name} is missing",
            hint="give the folder that `edgebuild build` wrote, e.g. build/model-cortex-m4",
        ) from error
    except EdgebuildError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: the build's files are damaged: {error}", hint=again) from error
    if changed:
        raise InputError(f"{folder}: {changed[0]} has changed since the build", hint=again)
    if "firmware.elf" not in lock["artifacts"]:
        raise ToolError(
            f"{folder} has no firmware: it was built for {report.target['name']}",
            hint="build for a board; see edgebuild targets list",
        )
    return report


def _toolchain(folder: Path) -> str:
    plan = json.loads((folder / LOCK_NAME).read_bytes())["plan"]
    return str(plan["toolchain"])
