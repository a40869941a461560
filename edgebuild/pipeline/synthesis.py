"""Make inputs for a model that has come without data."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild.compress.run import SynthesisJob, synthesize
from edgebuild.errors import InputError
from edgebuild.files import TemporaryFolder, atomic_write
from edgebuild.models.source import Kind, open_model
from edgebuild.units import quoted


@dataclass(frozen=True)
class Synthesis:
    """Inputs that were made and written to ``file``.

    ``off`` says how far the statistics in batch normalization are from those of training, before
    and after, in its deviations; ``sure`` how sure of a class the model is in the mean, None where
    it scores none.
    """

    file: Path
    samples: int
    off: tuple[float, float]
    sure: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "file": str(self.file)}


def make_inputs(
    model: Path,
    file: Path,
    *,
    samples: int = 512,
    steps: int = 80,
    limits: tuple[float, float] | None = None,
    seed: int = 0,
    trust: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Synthesis:
    """Write inputs of ``model`` to ``file``, an ``.npz`` that ``--data`` and ``--train`` take.

    Args:
        model: a ``.keras`` or ``.h5`` file whose model has batch normalization.
        file: replaced when all is done.
        samples: how many inputs.
        steps: of gradient descent.
        limits: the least and the greatest value of an input, such as 0 and 255.
        seed: equal seed, equal bytes.
        trust: allow code inside the model file.
        progress: is told what is going on.

    Raises:
        InputError: the model is of another kind or tells nothing of its inputs; a wrong option.
        ModelError: it cannot be read.
    """
    if file.suffix != ".npz":
        raise InputError(f"{file}: inputs are written as .npz", hint="--out inputs.npz")
    if file.is_dir():
        raise InputError(f"{file} is a folder", hint="pass the name of a file with --out")
    if samples < 1 or steps < 1:
        raise InputError("samples and steps are at least 1")
    if not 0 <= seed < 1 << 32:
        raise InputError(f"seed must be 0 to {(1 << 32) - 1:,}, not {quoted(seed)}")
    if limits is not None and not limits[0] < limits[1]:
        raise InputError(f"the limits {limits[0]:g} and {limits[1]:g} are no range")
    progress("reading the model")
    source = open_model(model, trust=trust)
    source.close()
    if source.kind not in (Kind.KERAS, Kind.H5):
        raise InputError(
            f"{model}: inputs can only be made for a .keras or .h5 model",
            hint="pass the Keras model that it was made from",
        )
    job = SynthesisJob(model, str(source.kind), trust, samples, steps, seed, limits)
    with TemporaryFolder("synthesize") as folder:
        arrays, found = synthesize(job, Path(folder), progress)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    atomic_write(file, content.getvalue())
    first, last = found["off"]
    return Synthesis(file, samples, (first, last), found["sure"])
