"""What a delegate makes of a model, for an 80-column terminal, in the Edge TPU compiler's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgebuild.delegates.base import Compatibility

if TYPE_CHECKING:
    from rich.console import RenderableType

_PARTITIONS_SHOWN = 12


def compatibility_lines(
    found: Compatibility, *, with_notes: bool = True
) -> Iterator[RenderableType]:
    """Yield a sentence, a row for each kind of operator and status, and the partitions."""
    from rich.text import Text

    style = "yellow" if found.fallbacks else "green"
    yield Text(found.summary(), style=style)
    yield _operator_table(found)
    if len(found.partitions) > 1 and found.known:
        yield _partition_table(found)
    if with_notes:
        for label, figure in found.figures().items():
            yield Text(f"{label}: {figure.value:,.0f} {figure.unit} ({figure.how})")
        for note in found.notes:
            yield Text(f"note: {note}", style="dim")


def _operator_table(found: Compatibility) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("operator", overflow="fold")
    table.add_column("count", justify="right")
    table.add_column("status", overflow="fold")
    for kind, count, reason in found.table():
        status = reason or found.accepted or f"on {found.delegate}"
        table.add_row(kind, str(count), status, style="yellow" if reason else None)
    return table


def _partition_table(found: Compatibility) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="bold")
    for header in ("partition", "runs on", "operators", "bytes in", "bytes out"):
        table.add_column(header, justify="left" if header == "runs on" else "right")
    for number, part in enumerate(found.partitions[:_PARTITIONS_SHOWN]):
        place = found.delegate if part.delegated else "CPU"
        sizes = (f"{part.bytes_in:,}", f"{part.bytes_out:,}")
        table.add_row(str(number), place, str(len(part.positions)), *sizes)
    if len(found.partitions) > _PARTITIONS_SHOWN:
        table.add_row("", f"... {len(found.partitions) - _PARTITIONS_SHOWN} more")
    return table
