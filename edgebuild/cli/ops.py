"""``edgebuild ops``: the supported operators, from the constraints that the checks use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgebuild.cli.console import line, print_json, prose
from edgebuild.cli.options import json_option

if TYPE_CHECKING:
    from edgebuild.ops import Operator


@click.group()
def command() -> None:
    """List the supported operators and their limits."""


@command.command("list")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@json_option
def list_command(markdown: bool, as_json: bool) -> None:
    """List every operator with its limits."""
    from edgebuild.ops import OPS

    operators = [OPS[kind] for kind in sorted(OPS)]
    if as_json:
        limits = {operator.kind: _sentences(operator) for operator in operators}
        print_json({"operators": limits})
    elif markdown:
        click.echo(as_markdown(operators), nl=False)
    else:
        for operator in operators:
            line(operator.kind, style="bold")
            for sentence in _sentences(operator):
                prose(sentence, indent="  ")
        line(f"{len(operators)} operators, int8, bit-exact with TFLite Micro")


def as_markdown(operators: list[Operator]) -> str:
    """Return the page ``docs/operators.md``."""
    rows = [
        f"| {operator.kind} | {'<br>'.join(_sentences(operator)).replace('|', chr(92) + '|')} |"
        for operator in operators
    ]
    return "\n".join(
        [
            "# Supported operators",
            "",
            "Made by `edgebuild ops list --markdown` from the checks themselves. All are int8 and",
            "bit-exact with TFLite Micro.",
            "",
            "| operator | limits |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _sentences(operator: Operator) -> list[str]:
    return [constraint.sentence for constraint in operator.constraints]
