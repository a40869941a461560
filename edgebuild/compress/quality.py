"""How good a model is: by labels where there are classes, else by the original's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgebuild.compress.base import Quality, State
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.ptq.float_file import FloatFile
from edgebuild.compress.splits import Split
from edgebuild.models.accuracy import evaluate
from edgebuild.models.last_activation import graph_gives_probability, keras_gives_probability
from edgebuild.models.likeness import is_classifier, likeness
from edgebuild.tflite.reader import read_tflite

_BATCH = 512


def quality(model: Any, split: Split, teacher: Any) -> Quality:
    """Return the quality of a Keras ``model`` on ``split``; ``teacher`` is the original."""
    outputs = predict(model, split.x)
    original = None if split.y is not None and is_classifier(outputs) else predict(teacher, split.x)
    return output_quality(outputs, split, original, probability=gives_probability(model))


def state_quality(state: State, split: Split, teacher: Any) -> Quality:
    """Return the quality of ``state`` on ``split``: of its flatbuffer where there is one."""
    if state.flatbuffer is None:
        return quality(state.model, split, teacher)
    outputs = run_reals(state.flatbuffer, split.x)[0]
    original, probability = predict(teacher, split.x), gives_probability(state.model)
    return output_quality(outputs, split, original, probability=probability)


def output_quality(
    outputs: np.ndarray,
    split: Split,
    original: np.ndarray | None = None,
    *,
    probability: bool,
) -> Quality:
    """Return the quality of first outputs (samples, ...), real values.

    With labels that are classes it is accuracy. Without, it compares with the ``original``'s
    outputs: agreement of classes for a classifier, else similarity. ``probability`` says whether a
    single output is one.
    """
    accuracy = evaluate(
        *(lambda _: outputs, split.x, split.y), probability=probability, batch=max(1, len(split))
    )
    if accuracy is not None:
        return Quality(accuracy.value, "accuracy", len(split))
    if original is None:
        raise ValueError("without classes the original's outputs are needed")
    found = likeness(outputs, original)
    return Quality(found.value, found.measure, len(split))


def gives_probability(model: Any, output: int = 0) -> bool:
    """Return whether an output of a Keras model or FloatFile is made by a sigmoid."""
    if isinstance(model, FloatFile):
        return graph_gives_probability(read_tflite(model.content), output)
    return keras_gives_probability(model.outputs[output])


def predict(model: Any, x: Sequence[np.ndarray]) -> np.ndarray:
    """Return the first output (samples, ...) of a Keras model for a whole data set."""
    return predict_all(model, x)[0]


def predict_all(model: Any, x: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return every output (samples, ...) of a Keras model for a whole data set."""
    if isinstance(model, FloatFile):
        return run_reals(model.content, x)
    import tensorflow as tf

    call = graph_of(model)
    parts = []
    for start in range(0, len(x[0]), _BATCH):
        batch = [tf.constant(np.asarray(a[start : start + _BATCH], np.float32)) for a in x]
        parts.append([np.asarray(output) for output in call(batch)])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def graph_of(model: Any) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return a Keras model's inference as one TensorFlow graph: from a batch, a tensor for each
    input, to all outputs."""
    import tensorflow as tf

    return tf.function(lambda batch: as_list(model(inputs_of(model, batch), training=False)))


def inputs_of(model: Any, batch: Sequence[Any]) -> Any:
    """Return ``batch``, a tensor for each input, in the form in which ``model`` takes it."""
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, dict):
        return dict(zip(structure, batch, strict=True))
    return list(batch) if len(batch) > 1 or isinstance(structure, list) else batch[0]


def as_list(outputs: Any) -> list[Any]:
    """Return a model's outputs as a list."""
    if isinstance(outputs, dict):
        return list(outputs.values())
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
