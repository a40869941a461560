"""What labels say of an output, and how right a model is by them.

Labels are classes or values, and both the labels and the output decide which: see ``read_labels``.
An output (samples, \\*shape) has *channels* along its last axis and a *position* for each place of
the axes before it: ten scores have one position and ten channels, a mask of 32 x 32 pixels and
three classes 1,024 positions and three channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.errors import InputError


@dataclass(frozen=True)
class Accuracy:
    """How many samples (or positions of samples) a classifier got right."""

    correct: int
    total: int

    @property
    def value(self) -> float:
        """The share of correct ones, 0 to 1."""
        return self.correct / self.total


@dataclass(frozen=True, eq=False)
class Judged:
    """What a classifier said of each sample.

    ``found`` and ``labels`` are class numbers (samples,) or, for a label at each position,
    (samples, positions), int64, below ``classes``.
    """

    found: np.ndarray
    labels: np.ndarray
    classes: int

    @property
    def right(self) -> np.ndarray:
        """Where it is right: bool, in the shape of ``labels``."""
        return self.found == self.labels

    @property
    def accuracy(self) -> Accuracy:
        """The count of those."""
        return Accuracy(int(np.count_nonzero(self.right)), self.labels.size)


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one output.

    ``numbers`` are class numbers (samples, positions), int64, below ``classes``; None where the
    labels are ``values``, float64 (samples, positions, channels). ``direct``: the output holds
    class numbers itself, as an ARG_MAX gives them, instead of a score for each class.
    """

    numbers: np.ndarray | None
    classes: int = 0
    values: np.ndarray | None = None
    direct: bool = False

    def judge(self, outputs: np.ndarray, threshold: float) -> Judged:
        """Return what ``outputs`` (samples, ...) say, where the labels are classes.

        Raw integers serve as they are: quantization keeps their order. A single score says class 1
        above ``threshold``, which is in its own units.
        """
        assert self.numbers is not None
        rows = np.asarray(outputs).reshape(*self.numbers.shape, -1)
        if self.direct:
            found = rows[..., 0].astype(np.int64)
        elif rows.shape[-1] == 1:
            found = (rows[..., 0] > threshold).astype(np.int64)
        else:
            found = rows.argmax(axis=-1).astype(np.int64)
        if found.shape[1] == 1:
            return Judged(found[:, 0], self.numbers[:, 0], self.classes)
        return Judged(found, self.numbers, self.classes)


def read_labels(
    y: np.ndarray,
    shape: Sequence[int],
    *,
    probability: bool = True,
    direct: bool = False,
    name: str = "y",
) -> Labels:
    """Return what ``y`` (samples, ...) says of an output whose samples have ``shape``.

    - As many numbers as the output has: one-hot rows along the last axis (or the only one that is
      longer than 1) are classes, anything else values. Of an output with one channel, zeros and
      ones are two classes.
    - A whole number for each position of an output with several channels: the number of its class.
    - One whole number for a sample: a class, all of the output's values being scores.

    Args:
        y: the labels.
        shape: of one sample's output, without the batch.
        probability: a single score ends in a sigmoid: its labels are 0 and 1, or between.
        direct: the output holds integers, which are class numbers.
        name: what messages call the labels.

    Raises:
        InputError: the labels fit the output in neither way.
    """
    flat = y.reshape(len(y), -1)
    count, total = flat.shape[1], math.prod(shape)
    channels = shape[-1] if shape else 1
    positions = total // max(1, channels)
    if direct and count == total and _are_whole(flat):
        whole = flat.astype(np.int64)
        return Labels(whole, int(whole.max(initial=0)) + 1, direct=True)
    if count == total and channels > 1:
        rows = flat.reshape(len(y), positions, channels)
        if _are_one_hot(rows):
            return Labels(rows.argmax(axis=-1).astype(np.int64), channels)
        return _values(flat, positions, channels)
    if count == total:
        if max(shape, default=1) == total > 1 and _are_one_hot(flat):
            return Labels(flat.argmax(axis=-1).astype(np.int64)[:, np.newaxis], total)
        return _of_single_scores(flat, positions, probability, name)
    if count in (1, positions):
        scores = channels if count == positions else total
        if not _are_whole(flat):
            raise InputError(
                f"labels {name} have fractions, but the model has {scores} classes "
                f"(0 to {scores - 1})",
                hint=f"store the numbers of the classes as y, or for a regression {total} values "
                "a sample",
            )
        return Labels(_in_range(flat, scores, name), scores)
    raise InputError(
        f"labels {name} have {count} values a sample, the model has {total} outputs",
        hint=f"store one class number a sample, or {total} values a sample",
    )


def values_of(y: np.ndarray, shape: Sequence[int]) -> Labels | None:
    """Return labels as values, whatever they look like; None unless there is one for each of the
    output's."""
    if y[0].size != math.prod(shape):
        return None
    channels = shape[-1] if shape else 1
    return _values(y.reshape(len(y), -1), math.prod(shape) // max(1, channels), channels)


def evaluate(
    outputs: np.ndarray,
    y: np.ndarray | None,
    x: np.ndarray | None = None,
    *,
    probability: bool = True,
    threshold: float | None = None,
) -> Accuracy | None:
    """Return the accuracy of outputs (samples, ...); None where labels are missing or no classes.

    The arguments are those of ``labels_for`` and ``Labels.judge``. InputError for labels that do
    not fit.
    """
    labels = labels_for(outputs.shape[1:], y, x, probability=probability)
    if labels is None or labels.numbers is None:
        return None
    cut = real_threshold(probability) if threshold is None else threshold
    return labels.judge(outputs, cut).accuracy


def labels_for(
    shape: Sequence[int],
    y: np.ndarray | None,
    x: np.ndarray | None = None,
    *,
    probability: bool = True,
    direct: bool = False,
    name: str = "y",
) -> Labels | None:
    """Return ``read_labels``; those of a model that reconstructs its input, ``y`` being ``x``, are
    values, though they may all be 0 and 1. None without labels."""
    if y is None or not len(y):
        return None
    if x is not None and _reconstructs(x, y):
        return values_of(y, shape)
    return read_labels(y, shape, probability=probability, direct=direct, name=name)


def real_threshold(probability: bool) -> float:
    """Return above what a single output says class 1: a probability, else a logit."""
    return 0.5 if probability else 0.0


def _of_single_scores(flat: np.ndarray, positions: int, probability: bool, name: str) -> Labels:
    """Return the labels of an output with one channel, a number for each position."""
    if not _are_whole(flat):
        return _values(flat, positions, 1)
    if flat.min() >= 0 and flat.max() <= 1:
        return Labels(flat.astype(np.int64), 2)
    if probability:
        _in_range(flat, 2, name)
    return _values(flat, positions, 1)


def _values(flat: np.ndarray, positions: int, channels: int) -> Labels:
    values = flat.astype(np.float64).reshape(len(flat), positions, channels)
    return Labels(None, values=values)


def _are_whole(labels: np.ndarray) -> bool:
    return labels.dtype.kind in "iub" or bool(np.all(labels == np.trunc(labels)))


def _are_one_hot(rows: np.ndarray) -> bool:
    return bool(np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(axis=-1) == 1))


def _in_range(flat: np.ndarray, classes: int, name: str) -> np.ndarray:
    """Return class numbers as int64; InputError for one that no class has."""
    numbers = flat.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= classes:
        raise InputError(
            f"labels {name} range from {numbers.min()} to {numbers.max()}, but the model has "
            f"{classes} classes (0 to {classes - 1})",
            hint=_renumbered(int(numbers.min()), int(numbers.max()), classes, name),
        )
    return numbers


def _renumbered(least: int, most: int, classes: int, name: str) -> str:
    """Return what to try with class numbers out of range: where others fit, to move them."""
    check = f"check that these labels belong to this model, or leave {name} out"
    if least <= 0 or most - least >= classes:
        return check
    return (
        f"if the classes are numbered from {least}, subtract {least} from {name}; otherwise {check}"
    )


def _reconstructs(x: np.ndarray, y: np.ndarray) -> bool:
    return x.size == y.size and y.ndim > 1 and bool(np.array_equal(x.ravel(), y.ravel()))
