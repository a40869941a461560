"""What passes measure, kept in a file that survives a kill."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.kept import read_kept, write_kept


def digest(*values: str | bytes | np.ndarray | np.generic) -> str:
    """Return a hash of texts, bytes, arrays and NumPy's numbers, of their kinds and of where each
    ends."""
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, str | bytes):
            content = value.encode() if isinstance(value, str) else value
            found.update(f":{len(content)}:".encode() + content)
        else:
            array = np.ascontiguousarray(value)
            found.update(f"{array.dtype}{np.shape(value)}:{array.nbytes}:".encode())
            found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()[:24]


class Measured:
    """Figures by the name of what they are of.

    They are kept below ``folder``, in a file for one ``kind`` and all that decides them, whose hash
    is ``deciding``; without a folder in memory alone.
    """

    def __init__(self, folder: Path | None, kind: str, deciding: str) -> None:
        self._file = None if folder is None else folder / f"{kind}-{deciding}.json"
        self._key = deciding
        self._figures = _read(self._file, deciding)

    def get(self, name: str, measure: Callable[[], float]) -> float:
        """Return the figure of ``name``; it is measured when it is not known.

        Layers that are built for that draw seeds from Python's random numbers: those after it are
        the same whether it was known or not, and so is what is trained then.
        """
        if name not in self._figures:
            state = random.getstate()
            try:
                self._figures[name] = float(measure())
            finally:
                random.setstate(state)
            if self._file is not None:
                write_kept(self._file, self._key, json.dumps(self._figures).encode())
        return self._figures[name]


def measured(kind: str, state: State, context: Context) -> Measured:
    """Return what is known of a state on the validation split."""
    split, loss = context.validation, getattr(context.setup.loss, "__qualname__", "")
    weights = (*state.model.get_weights(), *context.teacher.get_weights())
    deciding = digest(state.model.to_json(), loss, *weights, *split.arrays)
    return Measured(context.checkpoints, kind, deciding)


def _read(file: Path | None, key: str) -> dict[str, float]:
    content = None if file is None else read_kept(file, key)
    if content is None:
        return {}
    try:
        found = json.loads(content)
        return {str(name): float(figure) for name, figure in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
