"""Compress, try remedies, or make inputs, in a child process: TensorFlow stays out of this one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgebuild import children
from edgebuild.compress.base import CompressionStep, Pass, step_from_json
from edgebuild.compress.ladder import Climbed, Terms, climbed_from_json
from edgebuild.compress.recipe import recipe_to_json
from edgebuild.compress.splits import Splits
from edgebuild.models.worker import crash_error, error_from_reply
from edgebuild.targets import CpuFeatures

_DOING = {
    "compress": "compressing the model",
    "synthesize": "making inputs for the model",
    "climb": "trying remedies for the quantized model",
}
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "1",
}
"""Of every process that trains. The order of sums depends on how many threads divide them and on
the instructions of the processor (matrix products are oneDNN's even with its other operations off):
both are set, so that neither depends on the machine. With all of oneDNN and AVX2 the training of
pruned convolutions damages the heap (TensorFlow 2.21)."""


@dataclass(frozen=True)
class CompressionJob:
    """What the child is to do.

    ``model`` is a ``.keras`` or ``.h5`` file of that ``kind``; ``training`` a Python entry
    ``package.module:function`` below ``entry_folder``, which returns the fields of TrainingSetup.
    ``checkpoints`` outlives the run. ``shapes`` are those of all inputs, None where the model
    leaves none open.
    """

    model: Path
    kind: str
    trust: bool
    recipe: Sequence[Pass]
    seed: int
    features: CpuFeatures
    checkpoints: Path
    training: str | None = None
    entry_folder: Path = Path()
    shapes: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class SynthesisJob:
    """What inputs to make for the model in a ``.keras`` or ``.h5`` file of that ``kind``; see
    ``edgebuild.compress.invert``."""

    model: Path
    kind: str
    trust: bool
    samples: int
    steps: int
    seed: int
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Compressed:
    """The compressed ``.keras``, what each step did, the packed weights when asked for, and the
    ``.tflite`` when the recipe has quantized."""

    model: Path
    steps: tuple[CompressionStep, ...]
    packed: bytes | None
    tflite: bytes | None = None


def compress(
    job: CompressionJob, splits: Splits, folder: Path, progress: Callable[[str], None]
) -> Compressed:
    """Run the recipe below ``folder``.

    The test split is not shown to it. Raises what the passes raise; ToolError when the child dies.
    """
    _write_splits(splits, folder)
    description = {
        **dataclasses.asdict(job),
        "task": "compress",
        "model": str(job.model.resolve()),
        "recipe": recipe_to_json(job.recipe),
        "checkpoints": str(job.checkpoints),
        "entry_folder": str(job.entry_folder.resolve()),
        "folder": str(folder),
    }
    reply = _run(description, folder, progress)
    packed, tflite = (folder / name for name in ("weights.huff", "compressed.tflite"))
    return Compressed(
        folder / "compressed.keras",
        tuple(step_from_json(row) for row in reply["steps"]),
        packed.read_bytes() if packed.exists() else None,
        tflite.read_bytes() if tflite.exists() else None,
    )


def climb_ladder(
    model: bytes, terms: Terms, splits: Splits, folder: Path, progress: Callable[[str], None]
) -> Climbed:
    """Try the ladder's remedies on a float ``.tflite`` below ``folder``; the test split is not
    shown to them. See ``edgebuild.compress.ptq.climbing``.

    Raises ModelError where the model cannot be quantized at all, or when the child dies.
    """
    _write_splits(splits, folder)
    (folder / "float.tflite").write_bytes(model)
    description = {"task": "climb", "terms": terms.to_json(), "folder": str(folder)}
    reply = _run(description, folder, progress)
    return climbed_from_json(reply, (folder / "best.tflite").read_bytes())


def _write_splits(splits: Splits, folder: Path) -> None:
    for name, split in (("train", splits.train), ("validation", splits.validation)):
        labels = {f"y{output}": array for output, array in split.labels.items()}
        np.savez(folder / f"{name}.npz", allow_pickle=False, **named_arrays(split.x), **labels)


def synthesize(
    job: SynthesisJob, folder: Path, progress: Callable[[str], None]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return inputs, by the names that ``--data`` takes, and what ``Inversion`` says of them. Works
    below ``folder``. Raises what ``invert`` raises; ToolError when the child dies."""
    description = {
        **dataclasses.asdict(job),
        "task": "synthesize",
        "model": str(job.model.resolve()),
        "folder": str(folder),
    }
    reply = _run(description, folder, progress)
    with np.load(folder / "inputs.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}, reply


def named_arrays(x: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a model's inputs by the names ``x0``, ``x1``, ..."""
    return {f"x{i}": array for i, array in enumerate(x)}


def _run(
    description: dict[str, Any], folder: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    (folder / "job.json").write_text(json.dumps(description))
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
    with (folder / "log").open("wb") as log:
        process = children.start(
            [sys.executable, "-P", "-m", "edgebuild.compress.child", str(folder / "job.json")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        reply: dict[str, Any] = {}
        try:
            assert process.stdout is not None
            for line in process.stdout:
                message = json.loads(line)
                if "progress" in message:
                    progress(message["progress"])
                else:
                    reply = message
        finally:
            if process.poll() is None and not reply:
                process.terminate()
            process.wait()
            children.ended(process)
    if not reply:
        raise crash_error(
            "TensorFlow", _DOING[description["task"]], process.returncode, folder / "log"
        )
    if "error" in reply:
        raise error_from_reply(reply)
    return reply
