"""A child process that holds one model and the heavy, crash-prone libraries that read it.

TensorFlow and LiteRT are C++ that trusts a model file. In a process of their own a crash or a hang
is an error with words, and their log output stays out of the terminal.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgebuild import children
from edgebuild.errors import EdgebuildError, InputError, InternalError, ModelError, ToolError
from edgebuild.files import TemporaryFolder
from edgebuild.models.recent import Recent

_ERRORS = {cls.__name__: cls for cls in (InputError, ModelError, ToolError)}
_LOG_LINES = 6
_LOG_CHARACTERS = 20_000
_DOING = {
    "open": "opening the model",
    "int8": "quantizing the model",
    "convert": "converting the model",
    "predict": "running the model",
}
_LIBRARIES = {"tflite": "litert-quantizer or LiteRT", "finished": "LiteRT", "plain": "LiteRT"}
_OPEN_S = 600.0
_GRACE_S = 2.0


class Worker:
    """One child process (``edgebuild.models.worker_child``), started when it is first needed.

    ``model`` holds what the child is to open: path, kind and trust. ``recent`` keeps outputs.
    """

    def __init__(self, where: str, model: dict[str, object]) -> None:
        self.where = where
        self._model = model
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.Queue[str | None] = queue.Queue()
        self.recent = Recent()
        self._temporary = TemporaryFolder("model")
        self.folder = self._temporary.path

    def start(self) -> dict[str, Any]:
        """Start the child and have it open the model; return what it says of the model."""
        return self.request("open", timeout_s=_OPEN_S, **self._model)

    def request(self, op: str, *, timeout_s: float, **arguments: object) -> dict[str, Any]:
        """Have the child do ``op`` and return its reply.

        Raises the EdgebuildError that the child reports; when it crashes, ModelError where the
        child knew what the model would do to it, else ToolError, as when it does not answer in
        ``timeout_s`` seconds.
        """
        danger: dict[str, str] = {}
        if self._process is None and op != "open":
            self.start()
        process = self._process or self._launch()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            process.stdin.flush()
            line = self._replies.get(timeout=timeout_s)
            while line is not None and "danger" in (told := json.loads(line)):
                danger = told["danger"]
                line = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            process.kill()
            self.close()
            raise ToolError(
                f"{self.where}: {_DOING.get(op, op)} took more than {timeout_s:.0f} s",
                hint="a smaller model or fewer samples, or a faster machine",
            ) from None
        except OSError:
            line = None
        if line is None:
            raise self._crash(op, danger)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise error_from_reply(reply)
        return reply

    def write_arrays(self, arrays: Sequence[np.ndarray]) -> str:
        """Leave arrays where the child can read them; return the file's path."""
        path = self.folder / "arrays.npz"
        np.savez(path, *arrays)
        return str(path)

    def close(self) -> None:
        """End the child process and remove its files."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        self._temporary.close()

    def _launch(self) -> subprocess.Popen[str]:
        self.folder.mkdir(exist_ok=True)
        package = Path(__file__).resolve().parents[2]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        with (self.folder / "log").open("wb") as log:
            try:
                process = children.start(
                    [sys.executable, "-P", "-m", "edgebuild.models.worker_child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    encoding="utf-8",
                    env={**os.environ, **_QUIET, "PYTHONPATH": os.pathsep.join(paths)},
                )
            except OSError as error:
                raise ToolError(
                    f"the model's process cannot be started: {error.strerror}"
                ) from error
        self._process = process
        weakref.finalize(self, _end, process)
        self._replies = queue.Queue()
        threading.Thread(target=_read, args=(process.stdout, self._replies), daemon=True).start()
        return process

    def _crash(self, op: str, danger: dict[str, str]) -> EdgebuildError:
        process, self._process = self._process, None
        assert process is not None
        code = process.wait()
        if danger and code < 0:
            return ModelError(
                f"{self.where}: TensorFlow's converter crashed (signal {-code}) while "
                f"{danger['doing']}",
                hint=danger["hint"],
            )
        library = _LIBRARIES.get(str(self._model.get("kind")), "TensorFlow")
        return crash_error(
            f"{self.where}: {library}", _DOING.get(op, op), code, self.folder / "log"
        )


def crash_error(who: str, doing: str, code: int, log: Path) -> ToolError:
    """Return the error for a child process that ended by itself with ``code`` while ``doing``
    something; ``log`` is what it printed."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip()[:200] for line in text.splitlines() if line.strip()]
    if code == -signal.SIGKILL:
        return ToolError(
            f"{who} was killed while {doing}",
            details=lines[-_LOG_LINES:],
            hint="the machine may have run out of memory: close other programs, or use less data",
        )
    ended = f"signal {-code}, {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return ToolError(
        f"{who} crashed ({ended}) while {doing}",
        details=lines[-_LOG_LINES:],
        hint="the cause is not known; try the model without its unusual layers, or another version "
        "of the library (edgebuild doctor shows which is there)",
    )


_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # its sums depend on the machine
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONHASHSEED": "0",
}


def _read(stream: IO[str], replies: queue.Queue[str | None]) -> None:
    for line in stream:
        replies.put(line)
    replies.put(None)


def _end(process: subprocess.Popen[str], grace_s: float = _GRACE_S) -> None:
    """Close the child's input, which ends it when it is idle; kill it when that is not enough."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
    children.ended(process)
    with suppress(OSError):
        if process.stdout is not None:
            process.stdout.close()


def unexpected(error: Exception, where: str) -> EdgebuildError:
    """Return the error for what a library raised in a child process and nobody has foreseen.

    Memory that is not enough is no bug; all else is one, with a log to report.
    """
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return ToolError(
            f"{where}: out of memory: {first[:200]}",
            hint="close other programs, or use a smaller model or less data",
        )
    if isinstance(error, ValueError) and "not a valid Flatbuffer" in first:
        return ModelError(
            f"{where}: the flatbuffer is damaged: LiteRT's verifier refuses it",
            hint="export or copy the model again",
        )
    log = "".join(traceback.format_exception(error))
    return InternalError(
        f"{where}: {type(error).__name__}: {first[:300]}", log=log[-_LOG_CHARACTERS:]
    )


def error_reply(error: EdgebuildError) -> dict[str, Any]:
    """Return what a child process says of a failure, as plain JSON values."""
    return {
        "error": type(error).__name__,
        "message": error.message,
        "details": list(error.details),
        "hint": error.hint,
        "log": getattr(error, "log", ""),
    }


def error_from_reply(reply: dict[str, Any]) -> EdgebuildError:
    """Return the error of a child's ``error_reply``."""
    message, details, hint = reply["message"], reply["details"], reply["hint"]
    if reply["error"] == InternalError.__name__:
        return InternalError(message, details=details, hint=hint, log=reply["log"])
    return _ERRORS.get(reply["error"], ModelError)(message, details=details, hint=hint)
