"""What a person sees in a narrow terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def on_a_terminal(*arguments: str, columns: int = 60) -> str:
    """Run edgebuild with its standard error on a pseudo-terminal; return what appeared there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgebuild", *arguments]
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    child = subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    child.wait()
    return shown.decode()


def test_errors_wrap_at_words():
    path = "a/folder/with/a/long/name/that/no/line/of/a/terminal/can/hold/model.tflite"
    shown = on_a_terminal("inspect", path)
    assert path in shown  # whole, to be copied
    shown = on_a_terminal("build", "model.tflite", "-t", "nosuch")
    lines = [line for line in shown.splitlines() if line.strip()]
    assert lines[0].endswith("unknown target 'nosuch'") and max(map(len, lines)) <= 70
    words = " ".join(shown.split())
    assert "`edgebuild targets list` shows all names; for a board of your own, `edgebuild" in words
