"""The program of the child process that holds a model; see ``edgebuild.models.worker``.

It reads one JSON request a line and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from edgebuild.errors import EdgebuildError, ModelError
from edgebuild.models.worker import error_reply


class _Session:
    """The model that this process holds."""

    def __init__(self) -> None:
        self.where = "model"
        self.model: Any = None

    def open(self, path: str, kind: str, trust: bool) -> dict[str, Any]:
        """Load the model; return its inputs and the names of its outputs."""
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
        return {"inputs": self.model.inputs, "outputs": self.model.outputs}

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
        traceback.print_exc()
        first = str(error).strip().splitlines() or [""]
        return error_reply(
            ModelError(
                f"{session.where}: cannot be used: {type(error).__name__}: {first[0][:300]}",
                details=[line[:200] for line in first[1:4] if line.strip()],
                hint="the model may be damaged, or use what edgebuild's libraries do not read",
            )
        )


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print: that goes to the log
    session = _Session()
    for line in sys.stdin:
        replies.write(json.dumps(_answer(session, json.loads(line))) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
