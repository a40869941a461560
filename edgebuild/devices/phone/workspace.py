"""A folder of its own on a phone: programs run in it, and it goes, whatever happens."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from edgebuild.devices.phone.link import (
    ANSWER_S,
    Conversation,
    Link,
    LostError,
    ShellResult,
    TimeLimitError,
    list_devices,
)
from edgebuild.errors import EdgebuildError, ToolError

PARENT = "/data/local/tmp"
REJOIN_S = 10.0
"""How long to wait for a phone that went away to come back, to clean it up."""
_READY = "edgebuild-ready"
_POLL_S = 0.25
_WATCHDOG_EXTRA_S = 10


class Workspace:
    """A new folder below ``/data/local/tmp``. ``leftover`` says what could not be removed."""

    def __init__(self, client: Any, link: Link) -> None:
        self._client, self._link = client, link
        self.name = f"edgebuild-{secrets.token_hex(6)}"
        self.folder = f"{PARENT}/{self.name}"
        self.leftover = ""
        self._guard: Conversation | None = None

    def path(self, name: str) -> str:
        """Return the path of a file in the folder."""
        return f"{self.folder}/{name}"

    def make(self) -> None:
        """Make the folder, for the shell user alone, and leave a guard there.

        The guard is a shell on the phone that removes the folder when its input ends: when it is
        told to, and also when the phone loses this machine or edgebuild is killed.
        """
        what = "making a folder"
        command = (
            f"trap '' HUP; mkdir -m 700 {self.folder} || exit 1; echo {_READY}; read line; "
            + self._removal()
        )
        self._guard = self._link.conversation(command, what=what)
        if not self._guard.until(_READY.encode(), ANSWER_S, what):
            complaint = self._guard.result(ANSWER_S, what).complaint
            raise ToolError(
                f"{self._link.serial}: {PARENT} takes no folder: {complaint}",
                hint="`adb shell df /data/local/tmp`: check that it has room and may be written",
            )

    def push_program(self, name: str, content: bytes) -> None:
        """Push a file and make it executable."""
        self._link.push(content, self.path(name), 0o755)
        # Some daemons apply a umask to what is pushed.
        self._link.shell(f"chmod 755 {self.path(name)}", what="making the program executable")

    def run(
        self, arguments: Sequence[str], *, name: str, limit_s: float, libraries: bool = False
    ) -> ShellResult:
        """Run a program of the folder; one that takes longer than ``limit_s`` is killed.

        ``name`` is what messages call it. ``libraries`` lets it load shared libraries from there.
        """
        # When the host goes away nobody kills it from there: the phone does, where it has timeout.
        watchdog = f"timeout -s KILL {int(limit_s) + _WATCHDOG_EXTRA_S}"
        command = " ".join(map(shlex.quote, arguments))
        variables = ""
        if libraries:
            variables = f"export LD_LIBRARY_PATH={self.folder} ADSP_LIBRARY_PATH={self.folder}; "
        script = (
            f"cd {self.folder} || exit 1; {variables}watchdog=; "
            f"command -v timeout >/dev/null 2>&1 && watchdog='{watchdog}'; "
            f"exec $watchdog {command}"
        )
        try:
            return self._link.shell(script, limit_s=limit_s, what=f"running {name}")
        except TimeLimitError as error:
            raise TimeLimitError(
                f"{self._link.serial}: {name} did not end in {limit_s:g} s and was killed",
                hint="fewer runs with --runs, or a higher --time-limit",
            ) from error

    def remove(self, *, wait_s: float) -> None:
        """End what still runs in the folder and remove it; a phone that is gone may come back.

        Never raises: ``leftover`` says what may be left and how to remove it.
        """
        if self._guard is None:
            return
        deadline = time.monotonic() + wait_s
        what = "cleaning up"
        try:
            with self._guard:
                self._guard.enter(b"\n", what)
                removed = self._guard.result(ANSWER_S, what).exit_code == 0
        except EdgebuildError:
            removed = False
        while not removed:
            try:
                removed = self._link.shell(self._removal(), what=what).exit_code == 0
                break
            except LostError:
                if time.monotonic() >= deadline:
                    break
                self._wait_until_ready(deadline)
            except EdgebuildError:
                break
        if not removed:
            self.leftover = (
                f"{self.folder} may be left on {self._link.serial}; to remove it: "
                f"adb -s {self._link.serial} shell rm -rf {self.folder}"
            )

    def _removal(self) -> str:
        # Neither grep itself (hence the brackets) nor this shell is what is looked for.
        pattern = f"edgebuild-[{self.name[10]}]{self.name[11:]}"
        return (
            f"for f in $(grep -ls '{pattern}' /proc/[0-9]*/cmdline); do "
            "p=${f#/proc/}; p=${p%/cmdline}; [ $p = $$ ] || kill -9 $p 2>/dev/null; done; "
            f"rm -rf {self.folder} && [ ! -e {self.folder} ]"
        )

    def _wait_until_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            time.sleep(_POLL_S)
            try:
                listed = list_devices(self._client)
            except EdgebuildError:
                continue
            if any(d.serial == self._link.serial and d.state == "device" for d in listed):
                return


@contextmanager
def workspace(client: Any, link: Link) -> Iterator[Workspace]:
    """Make a folder on the phone and remove it in the end.

    When it cannot be removed an error says so in its details; without an error see ``leftover``.
    """
    made = Workspace(client, link)
    try:
        made.make()
        yield made
    except EdgebuildError as error:
        made.remove(wait_s=REJOIN_S)
        if made.leftover:
            error.details = (*error.details, made.leftover)
        raise
    except BaseException:  # interrupted by the user, who should not wait for long
        made.remove(wait_s=0.0)
        raise
    made.remove(wait_s=REJOIN_S)
