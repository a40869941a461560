"""Every failure that edgebuild can explain: what, where, what to try, and its exit code."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    CHECK_FAILED = 1
    BAD_INPUT = 2
    TOOL_FAILED = 3
    INTERNAL = 70
    INTERRUPTED = 130


class EdgebuildError(Exception):
    """A failure with an explanation.

    ``message`` says what is wrong and where, ``details`` are further lines, ``hint`` says what to
    try. The command line prints all three and exits with ``exit_code``. ``facts`` are plain JSON
    values, the same in a form for programs, which --json prints whole.
    """

    exit_code: Exit = Exit.BAD_INPUT

    def __init__(
        self,
        message: str,
        *,
        details: Iterable[str] = (),
        hint: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hint = hint
        self.facts = dict(facts or {})

    def reword(self, old: str, new: str) -> None:
        """Put ``new`` for each ``old`` in the message, the details and the hint."""
        self.message = self.message.replace(old, new)
        self.details = tuple(line.replace(old, new) for line in self.details)
        self.hint = self.hint.replace(old, new)

    def __str__(self) -> str:
        lines = [self.message, *(f"  {line}" for line in self.details)]
        if self.hint:
            lines.append(f"try: {self.hint}")
        return "\n".join(lines)


class InputError(EdgebuildError):
    """The user's model, data, profile, project file or flag is not usable."""


class ModelError(InputError):
    """The model file is damaged, hostile, or not of a kind that edgebuild reads."""


class UnsupportedOperatorError(InputError):
    """The model uses an operator, or a form of one, that has no kernel."""


class CheckFailedError(EdgebuildError):
    """The request was valid, but a budget, an accuracy limit or a comparison was missed."""

    exit_code = Exit.CHECK_FAILED


class OverflowedError(CheckFailedError):
    """A linked image does not fit the target's memory.

    ``missed`` says for each region by how many bytes, ``linked_with`` which tools were tried.
    """

    def __init__(
        self,
        message: str,
        *,
        missed: Mapping[str, int],
        linked_with: str = "",
        details: Iterable[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, details=details, hint=hint)
        self.missed = dict(missed)
        self.linked_with = linked_with

    @property
    def missed_bytes(self) -> int:
        """By how much it is too large, all regions together."""
        return sum(self.missed.values())


class CannotRunError(CheckFailedError):
    """The model was made, but the target has no kernels for its number format.

    ``files`` are left in the build folder: {relative path: content}.
    """

    def __init__(
        self,
        message: str,
        *,
        files: Mapping[str, bytes],
        details: Iterable[str] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, details=details, hint=hint)
        self.files = files


class ToolError(EdgebuildError):
    """A compiler, emulator, device or installed package is missing or failed."""

    exit_code = Exit.TOOL_FAILED


class InternalError(EdgebuildError):
    """edgebuild broke one of its own rules: a bug to report.

    ``log`` is what a child process said of it, for the report.
    """

    exit_code = Exit.INTERNAL

    def __init__(
        self, message: str, *, details: Iterable[str] = (), hint: str = "", log: str = ""
    ) -> None:
        super().__init__(message, details=details, hint=hint)
        self.log = log


CHECK_PATH = "check the spelling and the current folder"
"""What to try where a path leads nowhere."""

_MOST_CANDIDATES = 1000  # comparing takes about 20 us each


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    candidates = list(itertools.islice(known, _MOST_CANDIDATES))
    match = difflib.get_close_matches(name[:100], candidates, n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""
