"""What training makes small: the distance to labels, and to a teacher's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.base import Context
from edgebuild.compress.quality import gives_probability, predict_all
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError
from edgebuild.models.accuracy import read_labels
from edgebuild.models.likeness import is_classifier

_TINY = 1e-7
_SAMPLES = 64


@dataclass(frozen=True)
class Losses:
    """The losses of one model and its teacher.

    For each output: ``classes`` says whether it scores classes, where one score stands for two
    classes; ``ours`` and ``theirs`` whether the model's and the teacher's is a probability made by
    a sigmoid; ``shapes`` are those of its samples. ``labelled`` are the positions of the outputs
    with labels; ``of_labels`` is the user's own loss of (labels, first output).
    """

    classes: tuple[bool, ...]
    ours: tuple[bool, ...]
    theirs: tuple[bool, ...]
    of_labels: Callable[[Any, Any], Any] | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    labelled: tuple[int, ...] = ()

    @property
    def unlabelled(self) -> bool:
        """Whether an output has no labels to learn from."""
        return len(self.labelled) < len(self.classes)

    def labels(self, split: Split) -> list[np.ndarray]:
        """Return the labels of each output that has some, as the loss takes them: where they are
        classes, their numbers (samples,) or (samples, positions)."""
        return [self._labels_of(i, split.labels[i]) for i in self.labelled]

    def _labels_of(self, output: int, y: np.ndarray) -> np.ndarray:
        if not self.classes[output]:
            return np.asarray(y, np.float32)
        numbers = read_labels(y, self.shapes[output], probability=self.ours[output]).numbers
        assert numbers is not None
        return numbers[:, 0] if numbers.shape[1] == 1 else numbers

    def label_loss(self, labels: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """Return the sum of the mean losses of the outputs with ``labels``."""
        total = 0.0
        for i, given in zip(self.labelled, labels, strict=True):
            total += self._loss_of(i, given, outputs[i])
        return total

    def _loss_of(self, i: int, labels: Any, output: Any) -> Any:
        """Return the mean loss of one output: the user's for the first, cross-entropy for classes,
        else the mean squared error."""
        import tensorflow as tf

        if i == 0 and self.of_labels is not None:
            return tf.reduce_mean(self.of_labels(labels, output))
        if not self.classes[i]:
            return tf.reduce_mean(tf.square(tf.reshape(labels, tf.shape(output)) - output))
        scores = class_scores(output, self.ours[i], math.prod(labels.shape[1:]))
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.reshape(labels, (-1,)), logits=scores
            )
        )

    def teacher_loss(
        self,
        teacher: Sequence[Any],
        outputs: Sequence[Any],
        temperature: float = 1.0,
        weights: Sequence[float] | None = None,
    ) -> Any:
        """Return the sum of all outputs' mean distances to the teacher's, by default each with the
        weight 1: for classes the divergence at ``temperature``, times its square (Hinton et al.
        2015), else ``distance``."""
        import tensorflow as tf

        total = 0.0
        for i, (theirs, ours) in enumerate(zip(teacher, outputs, strict=True)):
            weight = 1.0 if weights is None else weights[i]
            if not weight:
                continue
            if not self.classes[i]:
                total += weight * distance(theirs, ours)
                continue
            wanted = tf.nn.log_softmax(class_scores(theirs, self.theirs[i]) / temperature)
            given = tf.nn.log_softmax(class_scores(ours, self.ours[i]) / temperature)
            divergence = tf.reduce_sum(tf.exp(wanted) * (wanted - given), axis=-1)
            total += weight * (tf.reduce_mean(divergence) * temperature**2)
        return total


def losses_of(context: Context, teacher: Any = None) -> Losses:
    """Return the losses of the context's original, with another ``teacher`` where one is given.

    Labels tell whether an output scores classes. Of outputs without them, what the original says on
    some samples tells. InputError for labels that do not fit the model.
    """
    original = context.teacher
    count = len(original.outputs)
    ours, theirs = (
        tuple(_is_single(model.outputs[i]) and gives_probability(model, i) for i in range(count))
        for model in (original, teacher or original)
    )
    said = predict_all(original, context.validation.first(_SAMPLES).x)
    classes = [
        is_classifier(output) or (single and math.prod(output.shape[1:]) == 1)
        for output, single in zip(said, ours, strict=True)
    ]
    shapes = tuple(output.shape[1:] for output in said)
    labels = context.train.labels
    for i in labels:
        classes[i] = _are_classes(context, i, shapes[i], ours[i])
    return Losses(tuple(classes), ours, theirs, context.setup.loss, shapes, tuple(labels))


def _is_single(output: Any) -> bool:
    """Return whether an output has one channel: a score, at each of its positions."""
    return len(output.shape) < 2 or output.shape[-1] == 1


def _are_classes(context: Context, output: int, shape: tuple[int, ...], probability: bool) -> bool:
    """Return whether the training labels are classes for an output of ``shape``; InputError where
    they are neither those nor values, unless a loss of the user's takes them."""
    y, name = context.train.labels[output], f"y{output}" if context.train.more else "y"
    try:
        return read_labels(y, shape, probability=probability, name=name).numbers is not None
    except InputError:
        if context.setup.loss is None or output > 0:
            raise
        return False


def split_loss(context: Context, split: Split, model: Any) -> float:
    """Return the mean loss of ``model`` on a whole split: for each output of its labels, else
    against the teacher."""
    import tensorflow as tf

    losses = losses_of(context)
    outputs = [tf.constant(output) for output in predict_all(model, split.x)]
    total = float(losses.label_loss(losses.labels(split), outputs))
    if not losses.unlabelled:
        return total
    theirs = [tf.constant(output) for output in predict_all(context.teacher, split.x)]
    weights = [float(i not in losses.labelled) for i in range(len(outputs))]
    return total + float(losses.teacher_loss(theirs, outputs, weights=weights))


def distance(teacher: Any, output: Any) -> Any:
    """Return the mean squared error in units of the teacher's variance."""
    import tensorflow as tf

    scale = tf.math.reduce_variance(teacher) + _TINY
    return tf.reduce_mean(tf.square(teacher - output)) / scale


def class_scores(output: Any, probability: bool, positions: int | None = None) -> Any:
    """Return logits (samples times positions, classes), with so many ``positions`` of each sample;
    by default those that the output's shape has.

    One score becomes those of two classes: its own logit and zero, or the logarithms where it is a
    ``probability``.
    """
    import tensorflow as tf

    total = math.prod(output.shape[1:])
    if positions is None:
        scores_apart = total == 1 or not _is_single(output) or probability
        positions = total // output.shape[-1] if scores_apart else 1
    rows = tf.reshape(output, (-1, total // positions))
    if total > positions:
        return as_logits(rows)
    if probability:
        return tf.math.log(tf.maximum(tf.concat([1.0 - rows, rows], axis=1), _TINY))
    return tf.concat([tf.zeros_like(rows), rows], axis=1)


def as_logits(output: Any) -> Any:
    """Return rows that are probabilities as logarithms; other rows are logits already."""
    import tensorflow as tf

    sums = tf.reduce_sum(output, axis=-1)
    probable = tf.reduce_all(output >= 0.0) & tf.reduce_all(tf.abs(sums - 1.0) < 1e-3)
    return tf.cond(probable, lambda: tf.math.log(tf.maximum(output, _TINY)), lambda: output)
