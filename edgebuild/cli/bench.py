"""``edgebuild bench``: measure a build on a board that is connected by a serial port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgebuild.cli.build import show, steps
from edgebuild.cli.console import print_json
from edgebuild.cli.failures import report as report_failure
from edgebuild.cli.options import COUNT, budget_options, flag_budget, json_option
from edgebuild.errors import Exit


@click.command()
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--port", required=True, metavar="PORT", help="Serial port, e.g. /dev/ttyACM0.")
@click.option("--baud", type=COUNT, help="Baud rate; by default the profile's.")
@click.option("--samples", type=COUNT, help="Inferences to run and compare [8].")
@click.option("--data", metavar="DATA", help="Real samples: .npz, .npy, folder, module:function.")
@click.option("--seed", type=COUNT, help="Seed of random samples [0].")
@budget_options
@json_option
def command(
    build: Path,
    port: str,
    baud: int | None,
    samples: int | None,
    data: str | None,
    seed: int | None,
    as_json: bool,
    **limits: Any,
) -> None:
    """Measure a BUILD on a board: time, stack, arena, and every output byte.

    BUILD is the folder that `edgebuild build` wrote; flash its firmware.elf to the board first.
    """
    from edgebuild.pipeline.bench import BenchRequest, bench
    from edgebuild.report.advice import check_failure

    given = {"baud": baud, "samples": samples, "data": data, "seed": seed}
    request = BenchRequest(
        build,
        port,
        budget=flag_budget(**limits),
        **{key: value for key, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    with steps(f"{build} on {port}") as progress:
        report = bench(request, progress=progress)
    failure = check_failure(report)
    if as_json:
        print_json(report.to_json())
    else:
        show(report)
        if failure is not None:
            report_failure(failure, as_json=False)
    if failure is not None:
        click.get_current_context().exit(Exit.CHECK_FAILED)
