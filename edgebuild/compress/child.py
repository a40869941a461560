"""The program of the child process that compresses a model; see ``edgebuild.compress.run``.

It reads ``job.json``, prints one line of JSON for each bit of progress and one for the result.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebuild.errors import EdgebuildError, InputError, ModelError
from edgebuild.models.worker import error_reply

Say = Callable[[dict[str, Any]], None]


def run_job(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Compress the model that ``job`` names; return what each step did."""
    import keras

    from edgebuild.compress.base import Context, State, run_pass
    from edgebuild.compress.huffman import Huffman, pack_model
    from edgebuild.compress.recipe import recipe_from_json
    from edgebuild.models.keras_file import load_keras_model
    from edgebuild.targets import CpuFeatures

    keras.utils.set_random_seed(job["seed"])
    folder = Path(job["folder"])
    model = load_keras_model(Path(job["model"]), job["kind"], trust=job["trust"])
    if not hasattr(model, "_nodes_by_depth"):
        raise ModelError(
            f"{job['model']}: a subclassed model cannot be compressed",
            hint="build it with the functional API or keras.Sequential",
        )
    model = _functional(model)
    context = Context(
        _split(folder / "train.npz"),
        _split(folder / "validation.npz"),
        model,
        _setup(job["training"], Path(job["entry_folder"])),
        features=CpuFeatures(**job["features"]),
        seed=job["seed"],
        checkpoints=Path(job["checkpoints"]),
    )
    state, rows = State(model), []
    recipe = recipe_from_json(job["recipe"])
    for number, step in enumerate(recipe, 1):
        label = f"{step.name} ({number} of {len(recipe)})"
        say({"progress": label})
        told = dataclasses.replace(context, progress=_prefixed(say, label))
        result = run_pass(step, state, told)
        state = result.state
        rows.append(
            {
                "name": step.name,
                "options": dataclasses.asdict(step),  # type: ignore[call-overload]
                "notes": list(result.notes),
                "cost": [dataclasses.asdict(cost) for cost in result.cost],
                "quality": [dataclasses.asdict(quality) for quality in result.quality],
            }
        )
    state.model.save(folder / "compressed.keras")
    if any(isinstance(step, Huffman) for step in recipe):
        (folder / "weights.huff").write_bytes(pack_model(state))
    return {"steps": rows}


def _prefixed(say: Say, label: str) -> Callable[[str], None]:
    return lambda text: say({"progress": f"{label}: {text}"})


def _functional(model: Any) -> Any:
    """Return a sequential model in functional form: its calls are known then."""
    import keras

    if not isinstance(model, keras.Sequential):
        return model
    return keras.Model(model.inputs, model.outputs, name=model.name)


def _split(path: Path) -> Any:
    import numpy as np

    from edgebuild.compress.splits import Split

    with np.load(path, allow_pickle=False) as archive:
        y = archive["y"] if "y" in archive.files else None
        count = len(archive.files) - (y is not None)
        return Split(tuple(archive[f"x{i}"] for i in range(count)), y)


def _setup(entry: str | None, folder: Path) -> Any:
    """Return the training set-up that a Python entry gives, or the default one."""
    from edgebuild.compress.setup import TrainingSetup

    if entry is None:
        return TrainingSetup()
    from edgebuild.models.data_files import call_python

    given = call_python(entry, folder, "training entry")
    names = [field.name for field in dataclasses.fields(TrainingSetup)]
    if not isinstance(given, dict) or not set(given) <= set(names):
        raise InputError(
            f"{entry}: does not return a dictionary with keys among {', '.join(names)}",
            hint="return {'learning_rate': 1e-3, 'augment': my_function}",
        )
    return TrainingSetup(**given)


def main() -> None:
    """Run the job whose description is the first argument."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print: that goes to the log

    def say(message: dict[str, Any]) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    try:
        say(run_job(json.loads(Path(sys.argv[1]).read_text()), say))
    except EdgebuildError as error:
        say(error_reply(error))
    except Exception as error:
        traceback.print_exc()
        first = str(error).strip().splitlines() or [""]
        say(
            error_reply(ModelError(f"compression failed: {type(error).__name__}: {first[0][:300]}"))
        )


if __name__ == "__main__":
    main()
