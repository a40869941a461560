"""``edgebuild doctor``: what is installed, what is missing, how to get it."""

from __future__ import annotations

import dataclasses

import click

from edgebuild.cli.console import heading, line, print_json, progress, table
from edgebuild.cli.doctor_checks import Check, Status, all_checks
from edgebuild.cli.options import json_option
from edgebuild.errors import Exit

_STYLES = {Status.GOOD: "", Status.OPTIONAL: "yellow", Status.BAD: "bold red"}


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Show what is installed, what is missing, and how to get it.

    Exits with 0 if a .tflite model can be built with the default compiler and simulator, else 3.
    """
    with progress("looking at tools"):
        checks = list(all_checks())
    bad = [check for check in checks if check.status is Status.BAD]
    if as_json:
        body = {"ready": not bad, "checks": [dataclasses.asdict(check) for check in checks]}
        print_json(body)
    else:
        _print(checks, bad)
    return int(Exit.TOOL_FAILED if bad else Exit.OK)


def _print(checks: list[Check], bad: list[Check]) -> None:
    for group in dict.fromkeys(check.group for check in checks):
        heading(group)
        mine = [check for check in checks if check.group == group]
        table(
            ("", "", ""),
            [(check.status, check.name, check.found) for check in mine],
            styles=[_STYLES[check.status] for check in mine],
        )
        for check in mine:
            if check.remedy:
                line(f"  {check.name}: {check.remedy}")
    heading("not ready" if bad else "ready")
    if bad:
        line(f"in the way: {', '.join(check.name for check in bad)}")
    else:
        line("A .tflite can be built and run in the simulator.")
