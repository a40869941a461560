"""``edgebuild cache``: what is kept to save work, and its removal."""

from __future__ import annotations

import time

import click

from edgebuild.cli.console import line, print_json, table
from edgebuild.cli.options import SECONDS, json_option
from edgebuild.toolchain.cache import (
    KINDS,
    cache_dir,
    cache_limit,
    entries,
    limit_in_words,
    read_only_note,
)


@click.group()
def command() -> None:
    """Show or clear what edgebuild keeps to save work: compiled files, states of training."""


@command.command()
@json_option
def info(as_json: bool) -> None:
    """Show the cache's folder, its size by kind, and its limit."""
    found = {kind: list(entries(kind)) for kind in KINDS}
    sizes = {kind: sum(entry.size for entry in found[kind]) for kind in KINDS}
    if as_json:
        print_json(
            {
                "folder": str(cache_dir()),
                "limit_bytes": cache_limit(),
                "writable": not read_only_note(),
                "kinds": {
                    kind: {"bytes": sizes[kind], "entries": len(found[kind])} for kind in KINDS
                },
            }
        )
        return
    line(str(cache_dir()))
    table(
        ("", "size", "entries", "what"),
        [
            (kind, f"{sizes[kind]:,} B", f"{len(found[kind]):,}", words)
            for kind, words in KINDS.items()
        ],
        right=(1, 2),
    )
    line(f"limit {limit_in_words()}: what was used least recently goes first; zig's files stay")
    if note := read_only_note():
        line(note)


@command.command()
@click.option(
    "--kind", type=click.Choice(list(KINDS)), multiple=True, help="Only these. May be repeated."
)
@click.option("--unused-for", type=SECONDS, help="Only what was not used for so long: 24h.")
@json_option
def clear(kind: tuple[str, ...], unused_for: float | None, as_json: bool) -> None:
    """Remove what is kept. Nothing is lost but time: the next build makes it again.

    Builds that are running may fail when their files go.
    """
    before = time.time() - unused_for if unused_for is not None else float("inf")
    chosen = [e for name in kind or KINDS for e in entries(name) if e.used < before]
    for entry in chosen:
        entry.remove()
    size = sum(entry.size for entry in chosen)
    if as_json:
        print_json({"removed_bytes": size, "removed_entries": len(chosen)})
        return
    line(f"removed {len(chosen):,} entries, {size:,} B")
