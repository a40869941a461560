"""Whether the float model is right at all on the data, and if not, which scale of them it takes.

A model that is no better than a constant answer loses nothing by quantization: before its drop
means anything, its inputs must be what it was trained on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.models.accuracy import labels_for, real_threshold
from edgebuild.models.statistics import drop_interval, wilson

Predict = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Maps an array (samples, ...) for each input to the first output (samples, ...)."""

ACCURACY, R2 = "accuracy", "R2"
"""What a model is right by: of classes, and of values."""

WORTH = 0.25
"""A coefficient of determination from which a scale of the data is said to bring one back."""

_MOST = 500
_TINY = 1e-12


@dataclass(frozen=True)
class Attempt:
    """What the float model reaches on data that are scaled in another way."""

    scale: str
    value: float


@dataclass(frozen=True)
class BaselineReview:
    """A float model that is no better than a constant answer.

    ``measure`` is ``accuracy``, or ``R2``, the coefficient of determination. ``constant`` is what
    always naming the most frequent class, or the mean of each value, reaches. ``attempts`` are on
    at most 500 samples; ``scale`` is the one that brings the model back, empty where none does.
    """

    measure: str
    value: float
    constant: float
    samples: int
    attempts: tuple[Attempt, ...] = ()
    scale: str = ""

    @property
    def sentence(self) -> str:
        """What is said of it."""
        if self.measure == ACCURACY:
            said = (
                f"the float model's accuracy of {self.value:.2%} is not surely above the "
                f"{self.constant:.2%} of always naming the most frequent class"
            )
        else:
            said = (
                "the float model's error is no smaller than that of always giving the labels' mean "
                f"(R2 {self.value:.3g})"
            )
        if self.scale:
            reached = next(a.value for a in self.attempts if a.scale == self.scale)
            shown = f"{reached:.2%}" if self.measure == ACCURACY else f"R2 {reached:.3g}"
            return f"{said}; with {self.scale} it is {shown}: scale the data so"
        tried = ", ".join(attempt.scale for attempt in self.attempts)
        return f"{said}; none of {tried} brings it back: are data and labels those of the model?"


def baseline_from_json(value: Mapping[str, Any]) -> BaselineReview:
    """Return the BaselineReview that a report's JSON holds."""
    return BaselineReview(
        **{**value, "attempts": tuple(Attempt(**row) for row in value["attempts"])}
    )


def _standardized(x: np.ndarray) -> np.ndarray:
    channels = tuple(range(x.ndim - 1)) if x.ndim > 1 else 0
    spread = x.std(axis=channels, keepdims=True)
    scaled: np.ndarray = (x - x.mean(axis=channels, keepdims=True)) / np.where(
        spread > 0, spread, 1
    )
    return scaled


SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "x / 255": lambda x: x / 255.0,
    "x * 255": lambda x: x * 255.0,
    "x / 127.5 - 1": lambda x: x / 127.5 - 1.0,
    "each channel less its mean, divided by its deviation": _standardized,
}
"""What is tried, by what the user is told."""


def review_baseline(
    predict: Predict, x: Sequence[np.ndarray], y: np.ndarray | None
) -> BaselineReview | None:
    """Return what is wrong with a float model on data, None where nothing is known to be.

    Args:
        predict: maps an array (samples, ...) for each input to the first output (samples, ...).
        x: an array (samples, ...) for each input.
        y: labels of the first output (samples, ...).

    Raises:
        InputError: the labels do not fit the model.
    """
    if y is None or not any(array.dtype.kind in "fiu" for array in x):
        return None
    outputs = predict(x)
    probability = bool(np.all((outputs >= 0) & (outputs <= 1)))
    score = _Score(y, x[0], outputs.shape[1:], probability)
    value = score.of(outputs, np.arange(len(y)))
    if value is None or score.is_right(outputs):
        return None
    chosen = np.arange(len(y))
    if len(y) > _MOST:
        chosen = np.sort(np.random.default_rng(0).choice(len(y), _MOST, replace=False))
    attempts = [
        Attempt(name, score.of(predict(_scaled(x, chosen, scale)), chosen) or 0.0)
        for name, scale in SCALES.items()
    ]
    found = BaselineReview(score.measure, value, score.constant, len(y), tuple(attempts))
    best = max(attempts, key=lambda attempt: attempt.value)
    back = _brings_back(found, best.value, len(chosen))
    return dataclasses.replace(found, scale=best.scale if back else "")


class _Score:
    """How right outputs are by labels: accuracy of classes, else the coefficient of determination.
    ``constant`` is what a constant answer reaches."""

    def __init__(
        self, y: np.ndarray, x: np.ndarray, shape: Sequence[int], probability: bool
    ) -> None:
        self._labels = labels_for(shape, y, x, probability=probability)
        assert self._labels is not None
        self._cut = real_threshold(probability)
        self.measure = R2 if self._labels.numbers is None else ACCURACY
        self.constant = 0.0
        if self._labels.numbers is not None:
            counts = np.bincount(self._labels.numbers.ravel())
            self._usual = self._labels.numbers == counts.argmax()
            self.constant = float(self._usual.mean())

    def of(self, outputs: np.ndarray, chosen: np.ndarray) -> float | None:
        """Return the score of the outputs of the samples ``chosen``; None where labels that are
        values do not vary."""
        assert self._labels is not None
        labels = self._labels
        if labels.numbers is not None:
            part = dataclasses.replace(labels, numbers=labels.numbers[chosen])
            return float(part.judge(outputs, self._cut).right.mean())
        assert labels.values is not None
        wanted = labels.values[chosen].reshape(len(chosen), -1)
        spread = float(np.sum((wanted - wanted.mean(axis=0)) ** 2))
        if spread <= _TINY:
            return None
        given = np.asarray(outputs, np.float64).reshape(wanted.shape)
        return 1.0 - float(np.sum((given - wanted) ** 2)) / spread

    def is_right(self, outputs: np.ndarray) -> bool:
        """Return whether outputs of all samples are surely better than a constant answer."""
        assert self._labels is not None
        if self._labels.numbers is None:
            return (self.of(outputs, np.arange(len(outputs))) or 0.0) > 0.0
        right = self._labels.judge(outputs, self._cut).right.reshape(self._usual.shape)
        lost = int(np.count_nonzero(self._usual & ~right))
        gained = int(np.count_nonzero(right & ~self._usual))
        return drop_interval(lost, gained, right.size).high < 0


def _scaled(
    x: Sequence[np.ndarray], chosen: np.ndarray, scale: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, ...]:
    return tuple(
        np.asarray(scale(array[chosen].astype(np.float32)), np.float32)
        if array.dtype.kind in "fiu"
        else array[chosen]
        for array in x
    )


def _brings_back(found: BaselineReview, value: float, samples: int) -> bool:
    """Return whether a scale's value is surely better than a constant answer and than without."""
    if found.measure == R2:
        return value > WORTH
    low = wilson(value * samples, samples).low
    return low > found.constant and low > found.value
