"""Run a finished build on real devices and make its report again with what they measured."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgebuild.backends.base import Progress
from edgebuild.budget import Budget
from edgebuild.devices.base import Samples
from edgebuild.errors import EdgebuildError, InputError, ToolError
from edgebuild.files import TemporaryFolder
from edgebuild.graph import Graph
from edgebuild.limits import read_json, read_model
from edgebuild.models.data import load_data
from edgebuild.models.source import open_model
from edgebuild.passes import supported_graph
from edgebuild.pipeline.plan import LOCK_NAME, REPORT_NAME, hash_path
from edgebuild.pipeline.remedies import preprocessed
from edgebuild.pipeline.runners.base import Build, Measured, Reference, Runner
from edgebuild.pipeline.steps import LazyHost, measured_memory, quantized_samples, ram_figure
from edgebuild.report.layers import with_samples
from edgebuild.report.model import Comparison, Report, report_from_json
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import compare, compare_with_litert, make_samples
from edgebuild.versions import JSON_SCHEMA

EDGETPU_LSB = 1
"""How far the Edge TPU's integers may be from LiteRT's: it rounds in its own way."""


@dataclass(frozen=True)
class BenchRequest:
    """What to measure: ``build``, on the devices of ``runners``.

    The first three of ``samples`` inferences are zeros, highest and lowest values, then come those
    of ``data``, then random ones. ``budget`` goes over the one of the build.
    """

    build: Build
    runners: tuple[Runner, ...]
    samples: int = 8
    data: str | None = None
    budget: Budget = field(default_factory=Budget)
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of one device: its report, or why there is none."""

    device: str
    report: Report | None = None
    error: EdgebuildError | None = None


def bench(request: BenchRequest, *, progress: Progress = lambda _: None) -> list[Outcome]:
    """Measure on every device at once, compare every output byte, return the measured reports.

    A device's failure is its own: the others go on. Raises InputError when the build has not what
    a device runs.
    """
    build = request.build
    # Not any(), which would stop at the first.
    takes_samples = [runner.check(build) for runner in request.runners]
    reference = _reference(request.runners)
    graph, samples = _samples(request, reference) if any(takes_samples) else (None, ())
    measured = _measure_all(request.runners, build, samples, progress)
    if graph is not None:
        sizes = [tensor.nbytes for tensor in graph.output_tensors]
        measured = [_with_sizes(found, sizes) for found in measured]
    with TemporaryFolder("work") as scratch:
        host = None
        if graph is not None and reference == Reference.TFLITE_MICRO:
            toolchain = toolchain_of(build.folder)
            host = LazyHost(graph, build.report.name, toolchain, Path(scratch), progress)
        outcomes = []
        for runner, found in zip(request.runners, measured, strict=True):
            if isinstance(found, Measured):
                if found.result is not None:
                    progress(f"comparing with {reference}")
                comparison = _compare(build, graph, samples, found, host)
                report = _report(build.report, found, comparison, request.budget)
                outcomes.append(Outcome(runner.name, report))
            else:
                outcomes.append(Outcome(runner.name, error=found))
    return outcomes


def _reference(runners: Sequence[Runner]) -> Reference:
    """Return what all of them are compared with."""
    found = {runner.reference for runner in runners}
    if len(found) != 1:
        raise InputError("devices of different kinds are measured one after the other")
    return found.pop()


def _samples(request: BenchRequest, reference: Reference) -> tuple[Graph, Samples]:
    """Return the graph whose outputs are compared, and samples of its inputs."""
    build = request.build
    path, in_litert = build.model, reference == Reference.LITERT
    graph = read_tflite(read_model(path), name=build.report.name, where=str(path))
    if not in_litert:
        graph = supported_graph(graph, where=str(path)).graph
    data = None
    if request.data is not None:
        source = open_model(path, any_format=in_litert)
        data = load_data(request.data, source, folder=Path(), seed=request.seed)
        data = preprocessed(data, source.inputs, build.report.preprocessing)
    real = quantized_samples(graph, data, request.samples)
    return graph, make_samples(graph, request.samples, request.seed, real)


def _measure_all(
    runners: Sequence[Runner], build: Build, samples: Samples, progress: Progress
) -> list[Measured | EdgebuildError]:
    """Run every runner, several in threads of their own."""
    found: dict[int, Measured | EdgebuildError] = {}
    bugs: list[BaseException] = []
    tell = progress if len(runners) == 1 else lambda _: None  # it is told from one thread only

    def measure(number: int) -> None:
        try:
            found[number] = runners[number].run(build, samples, tell)
        except EdgebuildError as error:
            found[number] = error

    def in_thread(number: int) -> None:
        try:
            measure(number)
        except BaseException as error:
            bugs.append(error)

    if len(runners) == 1:  # here, where Ctrl-C arrives
        measure(0)
    else:
        progress("running")
        # Daemons: Ctrl-C does not wait for them. Devices clean up when their connection ends.
        threads = [
            threading.Thread(target=in_thread, args=(n,), daemon=True) for n in range(len(runners))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if bugs:
        raise bugs[0]
    return [found[number] for number in range(len(runners))]


def _with_sizes(
    found: Measured | EdgebuildError, sizes: Sequence[int]
) -> Measured | EdgebuildError:
    """Return what a device gave, or an error when its outputs do not have the model's sizes."""
    if isinstance(found, EdgebuildError) or found.result is None:
        return found
    for sample in found.result.outputs:
        if [len(output) for output in sample] != list(sizes):
            return ToolError(
                f"{found.result.device}: outputs of {[len(o) for o in sample][:8]} B, the model's "
                f"have {list(sizes)[:8]} B",
                hint="another build is on the device: build again; flash a board again",
            )
    return found


def _compare(
    build: Build, graph: Graph | None, samples: Samples, measured: Measured, host: LazyHost | None
) -> Comparison | None:
    if measured.result is None or graph is None:
        return None
    model = read_model(build.model)
    if host is None:
        return compare_with_litert(graph, model, samples, measured.result, tolerance=EDGETPU_LSB)
    return compare(graph, model, samples, measured.result, host.trace)


def _report(
    report: Report, measured: Measured, comparison: Comparison | None, over: Budget
) -> Report:
    budget = report.budget.overridden_by(over)
    result = measured.result
    memory = {**report.memory, **measured_memory(result), **measured.memory}
    metrics = dataclasses.replace(
        report.metrics,
        latency_us=measured.latency_us,
        ram_bytes=ram_figure(memory) or report.metrics.ram_bytes,
    )
    if not measured.on_delegate:
        report = dataclasses.replace(report, compatibility=None, flash={}, parts=None)
    return dataclasses.replace(
        report,
        budget=budget,
        metrics=metrics,
        memory=memory,
        run=dict(measured.figures),
        layers=with_samples(report.layers, result.layers if result else ()),
        comparison=comparison,
        violations=budget.check(metrics),
        notes=(*report.notes, *measured.notes),
        out_dir="",
    )


_A_BUILD = "pass the output folder of `edgebuild build`, e.g. build/model-cortex-m4"
_SHOWN = 3


def _builds_in(folder: Path) -> str:
    """Return a hint that names the builds in ``folder``, empty where there are none."""
    found = sorted(str(lock.parent) for lock in folder.glob(f"*/{LOCK_NAME}"))
    more = ", ..." if len(found) > _SHOWN else ""
    return f"pass one of the builds in it: {', '.join(found[:_SHOWN])}{more}" if found else ""


def read_build(folder: Path) -> Build:
    """Return the build in ``folder``; InputError unless it is whole and nothing has changed."""
    value, artifacts = read_whole(folder)
    with _damage(folder):
        return Build(folder, report_from_json(value), artifacts)


def read_whole(folder: Path) -> tuple[Mapping[str, Any], frozenset[str]]:
    """Return the report of the build in ``folder``, as JSON, and the names of its files.

    InputError unless it is whole, nothing has changed, and the report has our schema.
    """
    with _damage(folder):
        _check_folder(folder)
        lock = read_json(folder / LOCK_NAME)
        value: Mapping[str, Any] = read_json(folder / REPORT_NAME)
        changed = [p for p, sha256 in lock["artifacts"].items() if hash_path(folder / p) != sha256]
        if value["schema"] != JSON_SCHEMA:
            raise InputError(
                f"{folder}: the report has schema {value['schema']}, not {JSON_SCHEMA}",
                hint=_again(folder),
            )
        if changed:
            raise InputError(
                f"{folder}: {changed[0]} has changed since the build", hint=_again(folder)
            )
        return value, frozenset(lock["artifacts"])


def _check_folder(folder: Path) -> None:
    """Refuse what is no build folder."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is a file, not a build folder"
            if folder.exists()
            else f"{folder}: no such folder",
            hint=_A_BUILD,
        )
    for name in (LOCK_NAME, REPORT_NAME):
        if not (folder / name).exists():
            raise InputError(
                f"{folder} is not a build folder: {name} is missing",
                hint=_builds_in(folder) or _A_BUILD,
            )


@contextmanager
def _damage(folder: Path) -> Iterator[None]:
    """Explain what a build's file does not hold."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder}: the build's files are damaged: {error}", hint=_again(folder)
        ) from error


def _again(folder: Path) -> str:
    return f"build it again: edgebuild build MODEL --target NAME writes {folder}"


def toolchain_of(folder: Path) -> str:
    """Return which compiler a build was asked to use."""
    plan = read_json(folder / LOCK_NAME)["plan"]
    return str(plan["toolchain"])
