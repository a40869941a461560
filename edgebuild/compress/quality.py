"""How good a model is: by labels where there are some, else by the original's outputs."""

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
from edgebuild.graph import Graph
from edgebuild.models.accuracy import Labels, evaluate, labels_for, values_of
from edgebuild.models.calibration_review import find_outliers
from edgebuild.models.last_activation import graph_gives_probability, keras_gives_probability
from edgebuild.models.likeness import least_similarity, likeness
from edgebuild.models.output_parts import output_cuts
from edgebuild.models.regression import error_increase
from edgebuild.models.tf_model import as_list, inputs_of
from edgebuild.tflite.reader import read_tflite

ACCURACY, R2 = "accuracy", "R2"
"""What a quality by labels is of: classes, or values."""

_BATCH = 512


def quality(model: Any, split: Split, teacher: Any) -> Quality:
    """Return the quality of a Keras ``model`` on ``split``; ``teacher`` is the original."""
    return state_quality(State(model), split, teacher)


def state_quality(state: State, split: Split, teacher: Any, metrics: Sequence[Any] = ()) -> Quality:
    """Return the quality of ``state`` on ``split``: of its flatbuffer where there is one.

    ``teacher`` is the original, ``metrics`` are the user's, told where there are labels.
    """
    if state.flatbuffer is None:
        outputs = predict_all(state.model, split.x)
    else:
        outputs = run_reals(state.flatbuffer, split.x)
    probable = [gives_probability(state.model, i) for i in range(len(outputs))]
    found = output_quality(outputs, split, lambda: predict(teacher, split.x), probable)
    if split.y is None or not metrics:
        return found
    return dataclasses.replace(found, metrics=metric_values(metrics, split.y, outputs[0]))


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
    return outputs_kept(
        run_reals(state.flatbuffer, split.x), predict_all(teacher, split.x), split, graph
    )


def outputs_kept(
    outputs: Sequence[np.ndarray], originals: Sequence[np.ndarray], split: Split, graph: Graph
) -> Kept:
    """Return what a model's outputs (samples, ...), real values, keep of the ``originals``, with
    outlying samples or without them, whichever is worse; ``graph`` has the outputs' last
    operators."""
    whole = _kept(outputs, originals, split, graph)
    out, _ = find_outliers([("the input", array) for array in split.x])
    if not out:
        return whole
    kept = np.setdiff1d(np.arange(len(split)), out)
    mine, wanted = ([np.asarray(a)[kept] for a in arrays] for arrays in (outputs, originals))
    usual = _kept(mine, wanted, split.take(kept), graph)
    rises = [k.error_increase for k in (whole, usual) if k.error_increase is not None]
    return Kept(min(whole.similarity, usual.similarity), max(rises, default=None))


def _kept(
    outputs: Sequence[np.ndarray], originals: Sequence[np.ndarray], split: Split, graph: Graph
) -> Kept:
    similarities, increases = [1.0], []
    for position, (mine, wanted) in enumerate(zip(outputs, originals, strict=True)):
        mine = np.asarray(mine).reshape(wanted.shape)
        similarities.append(least_similarity(mine, wanted, output_cuts(graph, position)))
        y, probability = split.labels.get(position), graph_gives_probability(graph, position)
        labels = labels_for(wanted.shape[1:], y, split.x[0], probability=probability)
        if labels is None or labels.values is None:
            continue
        before, after = (np.asarray(a, float).reshape(labels.values.shape) for a in (wanted, mine))
        for c in range(labels.values.shape[-1]):
            rise, _ = error_increase(before[..., c], after[..., c], labels.values[..., c])
            increases += [rise] if rise is not None else []
    return Kept(min(similarities), max(increases, default=None))


def output_quality(
    outputs: Sequence[np.ndarray],
    split: Split,
    original: Callable[[], np.ndarray],
    probable: Sequence[bool],
) -> Quality:
    """Return the quality of a model's outputs (samples, ...), real values.

    It is the mean over the outputs with labels: of classes their accuracy, of values their R2 (see
    ``_r2``). Without labels the first output is compared with the ``original``'s, which is asked
    for only then: agreement of classes for a classifier, else similarity. ``probable`` says for
    each output whether a single score of it is a probability.
    """
    scores: dict[str, list[float]] = {}
    for i, y in split.labels.items():
        accuracy = evaluate(outputs[i], y, split.x[0], probability=probable[i])
        if accuracy is not None:
            scores.setdefault(ACCURACY, []).append(accuracy.value)
        elif (explained := _r2(outputs[i], values_of(y, outputs[i].shape[1:]))) is not None:
            scores.setdefault(R2, []).append(explained)
    if scores:
        values = [value for found in scores.values() for value in found]
        return Quality(float(np.mean(values)), " and ".join(scores), len(split))
    found = likeness(outputs[0], original())
    return Quality(found.value, found.measure, len(split))


def _r2(outputs: np.ndarray, labels: Labels | None) -> float | None:
    """Return the mean of 1 minus the squared error in units of the labels' variance, over the
    channels whose labels vary; None where none do."""
    if labels is None or labels.values is None:
        return None
    error = np.asarray(outputs, np.float64).reshape(labels.values.shape) - labels.values
    spread = labels.values.var(axis=(0, 1))
    lost = np.mean(error**2, axis=(0, 1))[spread > 0] / spread[spread > 0]
    return float(np.mean(1.0 - lost)) if len(lost) else None


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
