"""What is questionable about model and data, and what each remedy gave, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgebuild.compress.ladder import Ladder, LadderRung
from edgebuild.models.baseline_review import BaselineReview
from edgebuild.models.calibration_review import Finding
from edgebuild.models.likeness import SIMILARITY

if TYPE_CHECKING:
    from rich.console import RenderableType


def baseline_lines(baseline: BaselineReview | None) -> Iterator[RenderableType]:
    """Yield what is wrong with the float model: what comes after means little then."""
    from rich.text import Text

    for one in baseline.all if baseline is not None else ():
        yield Text(f"warning: {one.sentence}", style="yellow")


def calibration_lines(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Yield what is questionable about the calibration data."""
    from rich.text import Text

    for found in findings:
        if found.warning:
            yield Text(f"warning: calibration: {found.sentence}", style="yellow")
        else:
            yield Text(f"note: {found.sentence}", style="dim")


def ladder_lines(ladder: Ladder | None) -> Iterator[RenderableType]:
    """Yield why remedies were tried, a table of them, and on what the build is judged."""
    from rich.table import Table
    from rich.text import Text

    if ladder is None:
        return
    yield Text(
        f"plain quantization loses too much accuracy: {'; '.join(ladder.reasons)}", style="yellow"
    )
    if ladder.rungs:
        table = Table(box=None, padding=(0, 1), header_style="bold")
        for header, justify in (("remedy", "left"), ("lost", "right"), ("noise", "right")):
            table.add_column(header, justify=justify, no_wrap=header != "remedy")  # type: ignore[arg-type]
        table.add_column("", style="dim", overflow="fold")
        for rung in ladder.rungs:
            table.add_row(*_row(rung, ladder))
        yield table
        yield Text(_samples(ladder), style="dim")
    for note in ladder.notes:
        yield Text(f"remedies: {note}", style="dim")


def _row(rung: LadderRung, ladder: Ladder) -> tuple[str, ...]:
    shipped = ["shipped"] if rung.name == ladder.chosen else []
    words = "; ".join([*shipped, *([rung.note] if rung.note else [])])
    if rung.lost is None or rung.noise is None:
        return rung.name, "-", "-", words
    of_values = ladder.measure == SIMILARITY or "R2" in ladder.measure
    lost = f"{rung.lost:.4f}" if of_values else f"{100 * rung.lost:.2f} points"
    return rung.name, lost, f"{rung.noise:.4f}", words


def _samples(ladder: Ladder) -> str:
    whose = "other samples of --data" if ladder.divided else "samples of --data"
    return (
        f"{ladder.measure} lost on {ladder.validated:,} validation samples, calibrated with "
        f"{ladder.calibrated:,}; noise of the worst output channel; {ladder.judged:,} {whose} "
        "judge the build"
    )
