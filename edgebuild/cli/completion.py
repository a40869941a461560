"""``edgebuild completion``: the script that makes the shell complete commands and targets."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgebuild.cli.console import print_json
from edgebuild.cli.options import json_option
from edgebuild.errors import InternalError

SHELLS = ("bash", "zsh", "fish")
_VARIABLE = "_EDGEBUILD_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
@click.pass_context
def command(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print a shell completion script.

    \b
    bash: eval "$(edgebuild completion bash)"            in ~/.bashrc
    zsh:  eval "$(edgebuild completion zsh)"             in ~/.zshrc
    fish: edgebuild completion fish | source             in config.fish
    """
    maker = get_completion_class(shell)
    if maker is None:
        raise InternalError(f"click has no completion for {shell}")
    script = maker(ctx.find_root().command, {}, "edgebuild", _VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
