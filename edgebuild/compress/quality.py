"""How good a model is: by labels where there are classes, else by the original's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.base import Quality, State
from edgebuild.compress.metrics import metric_values
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.ptq.float_file import FloatFile
from edgebuild.compress.splits import Split
from edgebuild.models.accuracy import evaluate, labels_for
from edgebuild.models.last_activation import graph_gives_probability, keras_gives_probability
from edgebuild.models.likeness import is_classifier, least_similarity, likeness
from edgebuild.models.output_parts import output_cuts
from edgebuild.models.regression import error_increase
from edgebuild.models.tf_model import as_list, inputs_of
from edgebuild.tflite.reader import read_tflite

_BATCH = 512


def quality(model: Any, split: Split, teacher: Any) -> Quality:
    """Return the quality of a Keras ``model`` on ``split``; ``teacher`` is the original."""
    return state_quality(State(model), split, teacher)


def state_quality(state: State, split: Split, teacher: Any, metrics: Sequence[Any] = ()) -> Quality:
    """Return the quality of ``state`` on ``split``: of its flatbuffer where there is one.

    ``teacher`` is the original, ``metrics`` are the user's, told where there are labels.
    """
    if state.flatbuffer is None:
        outputs = predict(state.model, split.x)
    else:
        outputs = run_reals(state.flatbuffer, split.x)[0]
    original = None if split.y is not None and is_classifier(outputs) else predict(teacher, split.x)
    found = output_quality(outputs, split, original, probability=gives_probability(state.model))
    if split.y is None or not metrics:
        return found
    return dataclasses.replace(found, metrics=metric_values(metrics, split.y, outputs))


@dataclass(frozen=True)
class Kept:
    """What budgets of quality limit besides accuracy, as a build measures it: ``similarity`` of the
    output or channel that is least like the original's, and the largest ``error_increase`` of one
    with labels that are values, None without such."""

    similarity: float
    error_increase: float | None = None


def quality_kept(state: State, split: Split, teacher: Any) -> Kept:
    """Return what ``state``'s flatbuffer keeps of ``teacher`` on ``split``, over all outputs."""
    assert state.flatbuffer is not None
    graph = read_tflite(state.flatbuffer)
    ours, originals = run_reals(state.flatbuffer, split.x), predict_all(teacher, split.x)
    similarities, increases = [1.0], []
    for position, (mine, wanted) in enumerate(zip(ours, originals, strict=True)):
        mine = np.asarray(mine).reshape(wanted.shape)
        similarities.append(least_similarity(mine, wanted, output_cuts(graph, position)))
        y = split.y if position == 0 else split.more.get(position)
        probability = graph_gives_probability(graph, position)
        labels = labels_for(wanted.shape[1:], y, split.x[0], probability=probability)
        if labels is None or labels.values is None:
            continue
        before, after = (np.asarray(a, float).reshape(labels.values.shape) for a in (wanted, mine))
        for c in range(labels.values.shape[-1]):
            rise, _ = error_increase(before[..., c], after[..., c], labels.values[..., c])
            increases += [rise] if rise is not None else []
    return Kept(min(similarities), max(increases, default=None))


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
    accuracy = evaluate(outputs, split.y, split.x[0], probability=probability)
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

    def call(batch: Sequence[Any]) -> Sequence[Any]:
        return as_list(model(inputs_of(model, batch), training=False))

    return tf.function(call, autograph=False)
