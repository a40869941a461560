"""Text that a device or a program on it has printed, made fit for messages and reports."""

from __future__ import annotations

from collections.abc import Iterator

_SHOWN = 160
_MAX_LINES = 20_000


def shown(text: str, most: int = _SHOWN) -> str:
    """Return ``text`` on one line, without control characters, no longer than ``most``."""
    # Cut first: what is thrown away need not be looked at.
    line = " ".join(text[: 4 * most].split())
    clean = "".join(c if c.isprintable() else "?" for c in line)
    return clean if len(clean) <= most else f"{clean[: most - 3]}..."


def lines(text: str, longest: int = 2000) -> Iterator[str]:
    """Yield the lines of ``text``, cut to ``longest``, and no more than a program prints."""
    for count, line in enumerate(text.splitlines()):
        if count == _MAX_LINES:
            return
        yield line[:longest]
