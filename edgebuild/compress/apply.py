"""Open a model for compression and take it through a recipe, in the process that has TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgebuild.compress.base import CompressionStep, Context, Pass, State, run_pass
from edgebuild.compress.ptq.float_file import KINDS as FLOAT_KINDS
from edgebuild.compress.ptq.float_file import open_float_file
from edgebuild.compress.rebuild import flatten
from edgebuild.compress.setup import Distillation, TrainingSetup
from edgebuild.compress.training import DivergedError
from edgebuild.errors import InputError, ModelError
from edgebuild.models.keras_import import import_keras


def open_original(
    path: Path, kind: str, *, trust: bool, seed: int, shapes: Sequence[Sequence[int]] | None = None
) -> Any:
    """Return the functional Keras model in a ``.keras`` or ``.h5`` file, without nested models.

    Keras's names and random numbers begin anew, so that what follows is the same in every process.
    ``shapes`` of all inputs fix the dimensions that the model leaves open. A ``.tflite`` or
    SavedModel is returned as a FloatFile. ModelError for a subclassed model, InputError where the
    model does not take the shapes.
    """
    if kind in FLOAT_KINDS:
        return open_float_file(path, kind, trust=trust, shapes=shapes)
    import_keras()
    import keras

    from edgebuild.models.keras_file import load_keras_model

    if seed >= 1 << 32:
        raise InputError(f"seed {seed:,} is above {(1 << 32) - 1:,}")
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = load_keras_model(path, kind, trust=trust)
    if isinstance(model, keras.Sequential):  # its calls are known then
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    if not hasattr(model, "_nodes_by_depth"):
        raise ModelError(
            f"{path}: a subclassed model cannot be taken apart",
            hint="build it with the functional API or keras.Sequential",
        )
    return flatten(model, shapes)


def training_setup(entry: str | None, folder: Path) -> TrainingSetup:
    """Return the training set-up that a Python entry below ``folder`` gives, or the default."""
    if entry is None:
        return TrainingSetup()
    from edgebuild.models.data_files import call_python

    given = call_python(entry, folder, "training entry")
    names = [field.name for field in dataclasses.fields(TrainingSetup)]
    if not isinstance(given, dict) or not set(given) <= set(names):
        raise InputError(
            f"{entry}: must return a dictionary with keys from {', '.join(names)}",
            hint="return {'learning_rate': 1e-3, 'augment': my_function}",
        )
    distillation = given.get("distillation")
    if isinstance(distillation, dict):
        fields = {field.name for field in dataclasses.fields(Distillation)}
        if not set(distillation) <= fields:
            raise InputError(
                f"{entry}: distillation has keys other than {', '.join(sorted(fields))}",
                hint="'distillation': {'temperature': 3.0, 'weight': 0.5}, or None",
            )
    try:
        if isinstance(distillation, dict):
            given = {**given, "distillation": Distillation(**distillation)}
        return TrainingSetup(**given)
    except InputError as error:
        raise InputError(f"{entry}: {error.message}") from error


def apply_recipe(
    recipe: Sequence[Pass], context: Context
) -> tuple[State, tuple[CompressionStep, ...]]:
    """Take the context's teacher, which is the original, through ``recipe``.

    Returns the last state, and what each step did to cost and quality. InputError that names the
    step whose training diverges.
    """
    state, steps = State(context.teacher), []
    for number, step in enumerate(recipe, 1):
        label = f"{step.name} ({number} of {len(recipe)})"
        context.progress(label)
        told = dataclasses.replace(context, progress=_prefixed(context.progress, label))
        try:
            result = run_pass(step, state, told)
        except DivergedError as error:
            raise InputError(f"{label}: {error.message}", hint=error.hint) from error
        state = result.state
        options = dataclasses.asdict(step)  # type: ignore[call-overload]
        steps.append(CompressionStep(step.name, options, result.notes, result.cost, result.quality))
    return state, tuple(steps)


def _prefixed(say: Callable[[str], None], label: str) -> Callable[[str], None]:
    return lambda text: say(f"{label}: {text}")
