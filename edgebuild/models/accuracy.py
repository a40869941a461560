"""Accuracy of a classifier, from its outputs and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.errors import InputError

Predict = Callable[[tuple[np.ndarray, ...]], np.ndarray]
"""Maps a batch, an array (samples, ...) for each input, to the first output (samples, ...)."""

BATCH = 2048


@dataclass(frozen=True)
class Accuracy:
    """How many samples a classifier got right."""

    correct: int
    total: int

    @property
    def value(self) -> float:
        """The share of correct samples, 0 to 1."""
        return self.correct / self.total


@dataclass(frozen=True, eq=False)
class Judged:
    """What a classifier said of each sample.

    ``found`` and ``labels`` are class numbers (samples,), int64, below ``classes``.
    """

    found: np.ndarray
    labels: np.ndarray
    classes: int

    @property
    def right(self) -> np.ndarray:
        """Which samples are right: bool (samples,)."""
        return self.found == self.labels

    @property
    def accuracy(self) -> Accuracy:
        """The count of those."""
        return Accuracy(int(np.count_nonzero(self.right)), len(self.labels))


def evaluate(
    predict: Predict,
    x: np.ndarray | Sequence[np.ndarray],
    y: np.ndarray | None,
    *,
    probability: bool = True,
    threshold: float | None = None,
    batch: int = BATCH,
) -> Accuracy | None:
    """Return the accuracy of ``predict`` on a data set; None when labels are no classes.

    The arguments are those of ``classify``.
    """
    judged = classify(predict, x, y, probability=probability, threshold=threshold, batch=batch)
    return None if judged is None else judged.accuracy


def classify(
    predict: Predict,
    x: np.ndarray | Sequence[np.ndarray],
    y: np.ndarray | None,
    *,
    probability: bool = True,
    threshold: float | None = None,
    batch: int = BATCH,
) -> Judged | None:
    """Return what ``predict`` says of each sample; None when labels are no classes.

    Args:
        predict: the model. Raw integer outputs serve as they are: quantization keeps their order.
        x: an array (samples, ...) or one for each input.
        y: class numbers (samples,) or (samples, 1), or one-hot (samples, classes). A model that
            reconstructs its input (``y`` equals ``x``) has no accuracy.
        probability: whether a single output (binary) is one, after a sigmoid. Otherwise it is a
            logit, or where labels are others than 0 and 1 the value of a regression.
        threshold: of a single output, in its own units; by default ``real_threshold``. An int8
            output's is the quantized value of that.
        batch: samples in one call of ``predict``.

    Raises:
        InputError: the labels do not fit the model.
    """
    if threshold is None:
        threshold = real_threshold(probability)
    arrays = (x,) if isinstance(x, np.ndarray) else tuple(x)
    total = len(arrays[0])
    if y is None or total == 0 or _reconstructs(arrays[0], y):
        return None
    found = np.empty(total, np.int64)
    labels: np.ndarray | None = None
    classes = 0
    for start in range(0, total, batch):
        stop = min(total, start + batch)
        scores = np.asarray(predict(tuple(array[start:stop] for array in arrays)))
        scores = scores.reshape(stop - start, -1)
        if labels is None:
            labels = class_labels(y, scores.shape[1], probability=probability)
            if labels is None:
                return None
            classes = max(2, scores.shape[1])
        single = scores.shape[1] == 1
        found[start:stop] = scores[:, 0] > threshold if single else scores.argmax(axis=1)
    assert labels is not None
    return Judged(found, labels, classes)


def real_threshold(probability: bool) -> float:
    """Return above what a single output says class 1: a probability, else a logit."""
    return 0.5 if probability else 0.0


def _reconstructs(x: np.ndarray, y: np.ndarray) -> bool:
    return x.size == y.size and y.ndim > 1 and bool(np.array_equal(x.ravel(), y.ravel()))


def class_labels(y: np.ndarray, outputs: int, *, probability: bool = True) -> np.ndarray | None:
    """Return class numbers (samples,) for ``outputs`` scores; None for a regression.

    ``probability`` says whether a single score is one. InputError for labels that do not fit.
    """
    flat = y.reshape(len(y), -1)
    classes = max(outputs, 2)
    if flat.shape[1] == 1:
        labels = flat[:, 0]
        if labels.dtype.kind == "f" and np.any(labels != np.trunc(labels)):
            return None
        labels = labels.astype(np.int64)
        if labels.min() < 0 or labels.max() >= classes:
            if outputs == 1 and not probability:
                return None
            raise InputError(
                f"labels y go from {labels.min()} to {labels.max()}, "
                f"the model has {classes} classes (0 to {classes - 1})"
            )
        return labels
    if flat.shape[1] == classes and np.all((flat == 0) | (flat == 1)) and np.all(flat.sum(1) == 1):
        return flat.argmax(axis=1)
    if outputs > 1 and flat.shape[1] != outputs:
        raise InputError(
            f"labels y have {flat.shape[1]} values a sample, the model has {outputs} outputs"
        )
    return None
