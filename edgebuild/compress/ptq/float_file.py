"""A float ``.tflite`` or SavedModel in the place of a Keras model: it is quantized, not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebuild.compress.base import Cost
from edgebuild.compress.ptq.artifact import constants
from edgebuild.models.float_tflite import float16_as_float32, resized
from edgebuild.models.tf_model import open_tf_model
from edgebuild.ops import OPS
from edgebuild.tflite.reader import read_tflite

KINDS = ("tflite", "saved_model")


@dataclass(frozen=True, eq=False)
class FloatFile:
    """A model of which only the operators are known; ``content`` is a float ``.tflite``."""

    content: bytes

    def cost(self) -> Cost:
        """Return what it costs: float constants, and MACs of the operators that are known."""
        floats = [a for a in constants(self.content).values() if a.dtype == np.float32]
        nodes = read_tflite(self.content).nodes()
        return Cost(
            parameters=sum(a.size for a in floats),
            nonzero=sum(int(np.count_nonzero(a)) for a in floats),
            macs=sum(OPS[node.kind].macs(node) for node in nodes if node.kind in OPS),
            bytes=sum(a.nbytes for a in floats),
        )


def open_float_file(
    path: Path, kind: str, *, trust: bool, shapes: Sequence[Sequence[int]] | None = None
) -> FloatFile:
    """Return the model at ``path``, of one of ``KINDS``, with ``shapes`` for its inputs where they
    are given. ModelError when it cannot be converted."""
    if kind == "tflite":
        content = path.read_bytes()
        return FloatFile(float16_as_float32(resized(content, shapes) if shapes else content))
    model = open_tf_model(path, kind, trust=trust)
    for entry, shape in zip(model.inputs, shapes or (), strict=shapes is not None):
        entry["shape"] = list(shape)
    return FloatFile(model.to_tflite())
