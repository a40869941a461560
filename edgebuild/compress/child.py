"""The program of the child process that has TensorFlow; see ``edgebuild.compress.run``.

It reads ``job.json``, prints one line of JSON for each bit of progress and one for the result.
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

Say = Callable[[dict[str, Any]], None]


def _compress(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Compress the model that ``job`` names; return what each step did."""
    from edgebuild.compress.apply import apply_recipe, open_original, training_setup
    from edgebuild.compress.base import Context
    from edgebuild.compress.huffman import Huffman, pack_model
    from edgebuild.compress.ptq.float_file import FloatFile
    from edgebuild.compress.recipe import recipe_from_json
    from edgebuild.targets import CpuFeatures

    folder = Path(job["folder"])
    context = Context(
        _split(folder / "train.npz"),
        _split(folder / "validation.npz"),
        open_original(
            Path(job["model"]),
            job["kind"],
            trust=job["trust"],
            seed=job["seed"],
            shapes=job["shapes"],
        ),
        training_setup(job["training"], Path(job["entry_folder"])),
        features=CpuFeatures(**job["features"]),
        seed=job["seed"],
        checkpoints=Path(job["checkpoints"]),
        trust=job["trust"],
        progress=lambda text: say({"progress": text}),
    )
    recipe = recipe_from_json(job["recipe"])
    state, steps = apply_recipe(recipe, context)
    if not isinstance(state.model, FloatFile):
        state.model.save(folder / "compressed.keras")
    if state.flatbuffer is not None:
        (folder / "compressed.tflite").write_bytes(state.flatbuffer)
    if any(isinstance(step, Huffman) for step in recipe):
        (folder / "weights.huff").write_bytes(pack_model(state))
    return {"steps": [dataclasses.asdict(step) for step in steps]}


def _synthesize(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Make inputs of the model that ``job`` names; return how like real ones they are."""
    import numpy as np

    from edgebuild.compress.apply import open_original
    from edgebuild.compress.invert import invert
    from edgebuild.compress.run import named_arrays

    made = invert(
        open_original(Path(job["model"]), job["kind"], trust=job["trust"], seed=job["seed"]),
        samples=job["samples"],
        steps=job["steps"],
        seed=job["seed"],
        limits=None if job["limits"] is None else tuple(job["limits"]),
        progress=lambda text: say({"progress": text}),
    )
    np.savez(Path(job["folder"]) / "inputs.npz", allow_pickle=False, **named_arrays(made.x))
    return {"off": made.off, "sure": made.sure}


def _climb(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Try the ladder's remedies on the float model below the job's folder; return all rungs."""
    from edgebuild.compress.ladder import terms_from_json
    from edgebuild.compress.ptq.climbing import climb
    from edgebuild.errors import ModelError

    folder = Path(job["folder"])
    try:
        found = climb(
            (folder / "float.tflite").read_bytes(),
            _split(folder / "train.npz"),
            _split(folder / "validation.npz"),
            terms_from_json(job["terms"]),
            lambda text: say({"progress": text}),
        )
    except ValueError as error:
        raise ModelError(
            "the model has a loop, which cannot be quantized",
            hint="build recurrent layers with unroll=True",
        ) from error
    (folder / "best.tflite").write_bytes(found.content)
    return found.to_json()


TASKS = {"compress": _compress, "synthesize": _synthesize, "climb": _climb}


def _split(path: Path) -> Any:
    import numpy as np

    from edgebuild.compress.splits import Split

    with np.load(path, allow_pickle=False) as archive:
        labels = {int(name[1:]): archive[name] for name in archive.files if name[0] == "y"}
        count = len(archive.files) - len(labels)
        x = tuple(archive[f"x{i}"] for i in range(count))
        return Split(x, labels.pop(0, None), more=labels)


def main() -> None:
    """Run the job whose description is the first argument."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print: that goes to the log

    def say(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    try:
        job = json.loads(Path(sys.argv[1]).read_text())
        say(TASKS[job["task"]](job, say))
    except EdgebuildError as error:
        say(error_reply(error))
    except Exception as error:
        say(error_reply(unexpected(error, "compression")))


if __name__ == "__main__":
    main()
