"""The Pareto front as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgebuild.budget import Budget
from edgebuild.files import atomic_write
from edgebuild.search.problem import Outcome

_COSTS = (
    ("flash_bytes", "flash_bytes", "flash, KiB", 1024.0),
    ("ram_bytes", "ram_bytes", "RAM, KiB", 1024.0),
    ("latency_us", "latency_us", "latency, ms", 1000.0),
)


def plot_front(
    file: Path,
    points: Sequence[Outcome],
    front: Sequence[Outcome],
    budget: Budget,
    *,
    measure: str,
    baseline: float,
) -> None:
    """Write an SVG: quality over flash, RAM and latency, the front in colour, limits as lines.

    ``baseline`` is the float model's quality. A cost that no point has gets no picture.
    """
    import io

    from matplotlib.figure import Figure

    known = [row for row in _COSTS if any(getattr(p, row[0]) is not None for p in points)]
    figure = Figure(figsize=(4.2 * max(1, len(known)), 3.6), layout="constrained")
    axes = figure.subplots(1, max(1, len(known)), sharey=True, squeeze=False)[0]
    for axis, (name, limit_name, label, unit) in zip(axes, known, strict=False):
        _scatter(axis, points, name, unit, "#b8bfc8", "tried")
        _scatter(axis, front, name, unit, "#0b6bcb", "best of its cost")
        axis.axhline(100 * baseline, color="#5a6472", linewidth=1, linestyle=":")
        limit = getattr(budget, limit_name)
        if limit is not None:
            axis.axvline(limit / unit, color="#c43a31", linewidth=1)
        axis.set_xlabel(label)
        axis.grid(color="#e6e9ed", linewidth=0.6)
        axis.set_axisbelow(True)
    axes[0].set_ylabel(f"{measure}, %")
    axes[0].legend(frameon=False, fontsize=8, loc="lower right")
    content = io.BytesIO()
    # Without a date and with set identifiers, equal searches draw equal bytes.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "edgebuild"}):
        figure.savefig(content, format="svg", metadata={"Date": None})
    atomic_write(file, content.getvalue())


def _scatter(
    axis: Any, points: Sequence[Outcome], name: str, unit: float, color: str, label: str
) -> None:
    shown = [(getattr(p, name), p.quality) for p in points if p.quality is not None]
    pairs = [(x / unit, 100 * y) for x, y in shown if x is not None]
    if pairs:
        axis.scatter(*zip(*pairs, strict=True), s=22, color=color, label=label)
