"""``edgebuild bench``: measure a build on a board, on phones over adb, or on an Edge TPU."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebuild.cli.build import show, show_together, steps
from edgebuild.cli.console import heading, print_json
from edgebuild.cli.failures import failure_json
from edgebuild.cli.failures import report as report_failure
from edgebuild.cli.options import COUNT, DURATION, budget_options, flag_budget, json_option
from edgebuild.errors import Exit, InputError
from edgebuild.units import check_within

if TYPE_CHECKING:
    from edgebuild.budget import Budget
    from edgebuild.pipeline.bench import Outcome
    from edgebuild.pipeline.runners.adb import ToolChoice
    from edgebuild.pipeline.runners.base import Build, Runner

    Find = Callable[[Build], Sequence[Runner]]
    """Returns the runners that measure a build; InputError when it has nothing for them."""

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_ADB_FLAGS = (
    *("warmup", "runs", "cpus", "isa", "time_limit"),
    *("benchmark_model", "benchmark_library", "accelerator", "delegate_args"),
)
_TOOL_FLAGS = ("benchmark_library", "accelerator", "delegate_args")
_CORAL = ("--host", "--usb")
_ISAS = ("base", "dotprod", "i8mm")  # devices.arm64.ISAS, which --help should not import


@click.command()
@click.argument("build", type=_PATH)
@click.option("--port", metavar="PORT", help="Serial port of the board, e.g. /dev/ttyACM0.")
@click.option("--baud", type=COUNT, help="Baud rate [the profile's].")
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="SERIAL",
    help="Phone serial from `adb devices`, or all.",
)
@click.option("--host", metavar="USER@HOST", help="Coral board to reach over ssh.")
@click.option("--usb", is_flag=True, help="Use the Edge TPU attached to this computer.")
@click.option(
    "--no-edgetpu", is_flag=True, help="Coral: run model.tflite on the board's CPU instead."
)
@click.option("--warmup", type=COUNT, help="Phone, Coral: untimed inferences to run first.")
@click.option("--runs", type=COUNT, help="Phone, Coral: timed inferences [50].")
@click.option("--cpus", metavar="LIST", help="Phone: CPUs to run on, e.g. 4-7.")
@click.option("--isa", type=click.Choice(_ISAS), help="Phone: instruction set [the best it has].")
@click.option("--time-limit", type=DURATION, help="Phone, Coral: stop the run after this time.")
@click.option(
    "--benchmark-model", type=_FILE, help="Phone: also run this TFLite or LiteRT benchmark tool."
)
@click.option(
    "--benchmark-library", type=_FILE, multiple=True, help="A library the benchmark tool needs."
)
@click.option("--accelerator", metavar="NAME", help="NNAPI accelerator name.")
@click.option(
    "--delegate-args", metavar="FLAGS", help="Extra flags for the benchmark tool, in one string."
)
@click.option("--samples", type=COUNT, help="Number of inferences to run and compare [8].")
@click.option(
    "--data", metavar="DATA", help="Samples to run: .npz, .npy, a folder, or module:function."
)
@click.option("--seed", type=COUNT, help="Random seed for samples [0].")
@budget_options
@json_option
def command(
    build: Path,
    port: str | None,
    baud: int | None,
    devices: tuple[str, ...],
    host: str | None,
    usb: bool,
    no_edgetpu: bool,
    samples: int | None,
    data: str | None,
    seed: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Measure a BUILD on a device, and compare every output byte.

    BUILD is the folder that `edgebuild build` wrote, of one model or several. For a board (--port),
    flash its firmware.elf first. For a phone (--device), the program is pushed over adb and removed
    afterwards. Both report time and memory. An Edge TPU (--host over ssh, or --usb) runs the
    compiled model and reports time; its outputs may differ by one.
    """
    from edgebuild.pipeline.bench import BenchRequest, bench, read_build
    from edgebuild.pipeline.bench_combined import holds_several

    found = None if holds_several(build) else read_build(build)
    chosen = {name: value for name in _ADB_FLAGS if (value := flags.pop(name)) not in (None, ())}
    given = {"samples": samples, "data": data, "seed": seed}
    ways = {"--port": port, "--device": devices, "--host": host, "--usb": usb}
    way = _only_way([flag for flag, value in ways.items() if value])
    _check_flag("--baud", baud is not None, way, ("--port",))
    _check_flag("--no-edgetpu", no_edgetpu, way, _CORAL)
    if samples is not None:
        check_within("samples", samples, 1, 1_000_000)
    if found is None:
        if way != "--port" or data is not None:
            raise InputError(
                f"{build} holds several models in one firmware, which is measured on its board, "
                "without --data",
                hint=f"--port /dev/ttyACM0; or a build of one model, such as "
                f"{next(build.glob('*/report.json'), build).parent}",
            )
        _serial(port or "", baud, chosen)  # refuses what is for phones
        _bench_several(build, port or "", baud, samples, seed, flag_budget(**flags), as_json)
        return
    find = {
        "--port": lambda: _serial(port or "", baud, chosen),
        "--device": lambda: _phones(devices, chosen),
    }.get(way, lambda: _coral(host or "", not no_edgetpu, chosen))()
    runners = find(found)
    request = BenchRequest(
        found,
        tuple(runners),
        budget=flag_budget(**flags),
        **{key: value for key, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    with steps(f"{build} on {', '.join(runner.name for runner in runners)}") as progress:
        outcomes = bench(request, progress=progress)
    code = _print_one(outcomes[0], as_json) if len(outcomes) == 1 else _print_all(outcomes, as_json)
    if code:
        click.get_current_context().exit(code)


def _bench_several(
    folder: Path,
    port: str,
    baud: int | None,
    samples: int | None,
    seed: int | None,
    budget: Budget,
    as_json: bool,
) -> None:
    """Measure a firmware with several models."""
    from edgebuild.pipeline.bench_combined import CombinedBenchRequest, bench_combined

    given = {"samples": samples, "seed": seed}
    known: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    request = CombinedBenchRequest(folder, port, baud, budget=budget, **known)
    with steps(f"{folder} on {port}") as progress:
        report = bench_combined(request, progress=progress)
    if as_json:
        print_json(report.to_json())
    else:
        show_together(report)
    if not report.passed:
        click.get_current_context().exit(Exit.CHECK_FAILED)


def _only_way(ways: Sequence[str]) -> str:
    """Return the flag that says how to reach a device; InputError unless there is just one."""
    if len(ways) != 1:
        raise InputError(
            f"{' and '.join(ways)} cannot be used together"
            if ways
            else "bench needs a device: --port, --device, --host or --usb",
            hint="--port /dev/ttyACM0 for a board; --device SERIAL, or --device all, for phones; "
            "--host or --usb for Coral",
        )
    return ways[0]


def _check_flag(flag: str, value: bool, way: str, ways: Sequence[str]) -> None:
    """Raise InputError when ``flag`` is given for a way to a device that has no use for it."""
    if value and way not in ways:
        raise InputError(
            f"{flag} cannot be used with {way}", hint=f"use {ways[0]}, or leave {flag} out"
        )


def _serial(port: str, baud: int | None, chosen: dict[str, Any]) -> Find:
    """Return how to find a board."""
    _refuse(chosen, "phones", "--device SERIAL")
    from edgebuild.pipeline.runners.serial import SerialRunner

    runner = SerialRunner(port, baud)
    return lambda _: [runner]


def _coral(host: str, edgetpu: bool, chosen: dict[str, Any]) -> Find:
    """Return how to find an Edge TPU."""
    from edgebuild.coral.bench import RunnerOptions
    from edgebuild.pipeline.runners.coral import CoralRunner

    options: dict[str, Any] = {n: chosen.pop(n) for n in ("warmup", "runs") if n in chosen}
    if "time_limit" in chosen:
        options["limit_s"] = ceil(chosen.pop("time_limit") / 1e6)
    _refuse(chosen, "phones", "--device SERIAL")
    runner = CoralRunner(host, RunnerOptions(edgetpu=edgetpu, **options))
    return lambda _: [runner]


def _refuse(chosen: dict[str, Any], whose: str, instead: str) -> None:
    """Raise InputError for the first flag of another kind of device."""
    for name in chosen:
        flag = name.replace("_", "-")
        raise InputError(f"--{flag} is for {whose}", hint=f"{instead}, or leave it out")


def _phones(devices: Sequence[str], chosen: dict[str, Any]) -> Find:
    """Return how to find phones; InputError when flags do not go together."""
    from edgebuild.devices.adb import AdbOptions
    from edgebuild.pipeline.runners.adb import ALL, adb_runners

    if ALL in devices and len(set(devices)) > 1:
        raise InputError(
            "--device all and --device SERIAL cannot be used together", hint="give one of them"
        )
    names = ("warmup", "runs", "cpus", "isa")
    options: dict[str, Any] = {name: chosen[name] for name in names if name in chosen}
    if "time_limit" in chosen:
        options["time_limit_s"] = chosen["time_limit"] / 1e6
    return partial(adb_runners, devices=devices, options=AdbOptions(**options), tool=_tool(chosen))


def _tool(chosen: dict[str, Any]) -> ToolChoice | None:
    if "benchmark_model" not in chosen:
        for name in _TOOL_FLAGS:
            if name in chosen:
                raise InputError(
                    f"--{name.replace('_', '-')} without --benchmark-model",
                    hint="--benchmark-model PATH of TFLite's or LiteRT's tool",
                )
        return None
    from edgebuild.pipeline.runners.adb import ToolChoice

    try:
        arguments = tuple(shlex.split(chosen.get("delegate_args", "")))
    except ValueError as error:
        raise InputError(f"--delegate-args: {error}", hint="close every quote") from error
    return ToolChoice(
        chosen["benchmark_model"],
        tuple(chosen.get("benchmark_library", ())),
        chosen.get("accelerator", ""),
        arguments,
    )


def _print_one(outcome: Outcome, as_json: bool) -> int:
    """Print the outcome of the only device; return the exit code."""
    from edgebuild.report.advice import check_failure

    if outcome.error is not None:
        raise outcome.error
    assert outcome.report is not None
    failure = check_failure(outcome.report)
    if as_json:
        print_json(outcome.report.to_json())
    else:
        show(outcome.report)
        if failure is not None:
            report_failure(failure, as_json=False)
    return int(Exit.OK if failure is None else Exit.CHECK_FAILED)


def _print_all(outcomes: Sequence[Outcome], as_json: bool) -> int:
    """Print what became of each device; return the exit code of the gravest failure."""
    from edgebuild.report.advice import check_failure

    codes, bodies = [Exit.OK], []
    for outcome in outcomes:
        failure = outcome.error
        if not as_json:
            heading(outcome.device)
        if outcome.report is not None:
            failure = check_failure(outcome.report)
            bodies.append({"device": outcome.device, "report": outcome.report.to_json()})
            if not as_json:
                show(outcome.report)
        elif failure is not None:
            bodies.append({"device": outcome.device, "error": failure_json(failure)})
        if failure is not None:
            codes.append(failure.exit_code)
            if not as_json:
                report_failure(failure, as_json=False)
    if as_json:
        print_json({"devices": bodies})
    return int(max(codes))
