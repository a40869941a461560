"""The program of the child process that holds a model; see ``edgebuild.models.worker``.

It reads one JSON request a line and answers each with one line of JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebuild.errors import EdgebuildError
from edgebuild.models.worker import error_reply, unexpected


class _Session:
    """The model that this process holds; ``say`` sends a line that is no answer yet."""

    def __init__(self, say: Callable[[dict[str, Any]], None]) -> None:
        self.where = "model"
        self.model: Any = None
        self.say = say

    def open(self, path: str, kind: str, trust: bool) -> dict[str, Any]:
        """Load the model; return its inputs, the names of its outputs, and notes."""
        self.where = path
        if kind == "tflite":
            from edgebuild.models.float_tflite import FloatTflite

            self.model = FloatTflite(Path(path).read_bytes())
        elif kind in ("finished", "plain"):
            from edgebuild.models.float_tflite import FinishedTflite

            self.model = FinishedTflite(Path(path).read_bytes(), xnnpack=kind == "finished")
        else:
            from edgebuild.models.tf_model import open_tf_model

            self.model = open_tf_model(Path(path), kind, trust=trust)
            self.model.warn = lambda danger: self.say({"danger": dataclasses.asdict(danger)})
        found = {"inputs": self.model.inputs, "outputs": self.model.outputs}
        return {**found, "notes": list(getattr(self.model, "notes", ()))}

    def shape(self, shapes: list[list[int]]) -> dict[str, Any]:
        """Set the shapes of the inputs, of which some may be open in the model."""
        for entry, shape in zip(self.model.inputs, shapes, strict=True):
            entry["shape"] = shape
        return {}

    def resize(self, shapes: list[list[int]], out: str) -> dict[str, Any]:
        """Write the ``.tflite`` with inputs of these shapes, and all that follows, to ``out``."""
        from edgebuild.models.float_tflite import resized

        Path(out).write_bytes(resized(Path(self.where).read_bytes(), shapes))
        return {}

    def int8(self, data: str, out: str) -> dict[str, Any]:
        """Write the model as full int8 ``.tflite`` to ``out``, calibrated with ``data``."""
        Path(out).write_bytes(self.model.to_int8(_arrays(data)))
        return {}

    def convert(self, form: str, out: str) -> dict[str, Any]:
        """Write the model as ``.tflite`` in a number format that needs no data to ``out``."""
        Path(out).write_bytes(self.model.to_tflite(form))
        return {}

    def predict(self, data: str, out: str) -> dict[str, Any]:
        """Write the outputs for ``data`` (samples first) to ``out``."""
        import numpy as np

        with Path(out).open("wb") as file:
            np.savez(file, *self.model.predict(_arrays(data)))
        return {}

    def departures(self, folder: str, pairs: list[list[float]]) -> dict[str, Any]:
        """Compare two models that lie in ``folder``, tensor by tensor."""
        from edgebuild.models.departures import run_side_by_side

        run_side_by_side(folder, pairs)
        return {}


def _arrays(path: str) -> list[Any]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return [archive[f"arr_{i}"] for i in range(len(archive.files))]


def _answer(session: _Session, request: dict[str, Any]) -> dict[str, Any]:
    try:
        op = request.pop("op")
        return dict(getattr(session, op)(**request))
    except EdgebuildError as error:
        return error_reply(error)
    except Exception as error:
        return error_reply(unexpected(error, session.where))


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print: that goes to the log

    def say(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    session = _Session(say)
    for line in sys.stdin:
        say(_answer(session, json.loads(line)))


if __name__ == "__main__":
    main()
