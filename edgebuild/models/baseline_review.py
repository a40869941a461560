"""Whether the float model is right at all on the data, and if not, which scale of them it takes.

A model that is no better than a constant answer loses nothing by quantization: before its drop
means anything, its inputs must be what it was trained on. Without labels, only the two extremes
tell: inputs far too large make a classifier completely certain, inputs far too small make it give
the same answer to all.
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

CERTAINTY, VARIETY = "certainty", "variety"
"""What tells without labels: the share of samples of which a classifier is completely certain, and
the largest standard deviation of a class's probability over the samples."""

WORTH = 0.25
"""A coefficient of determination from which a scale of the data is said to bring one back."""

_MOST = 500
_FEWEST = 20
"""Of samples without labels, from which anything is concluded."""

_CERTAIN, _GRADED = 1e-20, 1e-6
"""A probability of the second class below which a sample is completely certain, and one above which
the answer is a usual one. Models that were trained too long stay far above the first."""

_NEARLY_ALL, _SAME, _UNDECIDED = 0.95, 0.05, 0.9
_VARIED, _OFTEN = 0.2, 0.05
"""Answers that a scale brings apart: their deviation, and the share of samples of a class."""

_TINY = 1e-12


@dataclass(frozen=True)
class Attempt:
    """What the float model reaches on data that are scaled in another way."""

    scale: str
    value: float


@dataclass(frozen=True)
class BaselineReview:
    """A float model that is no better than a constant answer, or seems to be.

    ``measure`` is ``accuracy``, or ``R2``, the coefficient of determination; without labels
    ``certainty`` or ``variety``. ``constant`` is what always naming the most frequent class, or the
    mean of each value, reaches. ``attempts`` are on at most 500 samples; ``scale`` is the one that
    brings the model back, empty where none does (never so without labels).
    """

    measure: str
    value: float
    constant: float
    samples: int
    attempts: tuple[Attempt, ...] = ()
    scale: str = ""

    @property
    def sentence(self) -> str:
        """What the user reads."""
        rescale = _SCALING.get(self.scale, "scale the data that way")
        if self.measure == CERTAINTY:
            return (
                f"the float model's outputs are saturated for {self.value:.0%} of the samples, as "
                f"happens when inputs are far larger than in training; with {self.scale} they are "
                f"not: if the model was trained on such values, {rescale}"
            )
        if self.measure == VARIETY:
            classes = next(a.value for a in self.attempts if a.scale == self.scale)
            return (
                f"the float model gives nearly the same output for all {self.samples} samples, "
                f"as happens when inputs are far smaller than in training; with {self.scale} it "
                f"predicts {classes:.0f} classes: if the model was trained on such values, "
                f"{rescale}"
            )
        if self.measure == ACCURACY:
            said = (
                f"the float model's accuracy of {self.value:.2%} is not significantly better than "
                f"the {self.constant:.2%} of always predicting the most frequent class"
            )
        else:
            said = (
                "the float model's error is no smaller than that of always predicting the "
                f"labels' mean (R2 {self.value:.3g})"
            )
        if self.scale:
            reached = next(a.value for a in self.attempts if a.scale == self.scale)
            shown = f"{reached:.2%}" if self.measure == ACCURACY else f"R2 {reached:.3g}"
            return f"{said}; with {self.scale} it is {shown}: prepare the data that way"
        if self.value > self.constant:
            return f"{said} (only {self.samples:,} samples): use more samples"
        tried = ", ".join(attempt.scale for attempt in self.attempts)
        return (
            f"{said}; other preparations of the data ({tried}) do not help: check that x and y are "
            "in the same order, that classes are numbered as in training, that images are not "
            "turned, and that the data belong to this model"
        )


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
    "standardized channels": _standardized,
    "max + min - x (inverted)": lambda x: x.max() + x.min() - x,
}
"""What is tried, by what the user is told."""

_SWAPPED = "x[..., ::-1] (BGR, not RGB)"

_SCALING = {"x / 255": "divide the data by 255", "x * 255": "multiply the data by 255"}


def review_baseline(
    predict: Predict, x: Sequence[np.ndarray], y: np.ndarray | None
) -> BaselineReview | None:
    """Return what is wrong with a float model on data, None where nothing is known to be.

    Args:
        predict: maps an array (samples, ...) for each input to the first output (samples, ...).
        x: an array (samples, ...) for each input.
        y: labels of the first output (samples, ...); None where there are none.

    Raises:
        InputError: the labels do not fit the model.
    """
    if not any(array.dtype.kind in "fiu" for array in x):
        return None
    if y is None:
        return _without_labels(predict, x)
    outputs = predict(x)
    probability = bool(np.all((outputs >= 0) & (outputs <= 1)))
    score = _Score(y, x[0], outputs.shape[1:], probability)
    value = score.of(outputs, np.arange(len(y)))
    if value is None:
        return None
    if score.is_right(outputs):
        return _right_but_saturated(predict, x, score, value)
    chosen = _drawn(len(y))
    scales = dict(SCALES)
    if any(array.ndim == 4 and array.shape[-1] == 3 for array in x):
        scales[_SWAPPED] = lambda x: x[..., ::-1]
    attempts = [
        Attempt(name, score.of(predict(_scaled(x, chosen, scale)), chosen) or 0.0)
        for name, scale in scales.items()
    ]
    found = BaselineReview(score.measure, value, score.constant, len(y), tuple(attempts))
    best = max(attempts, key=lambda attempt: attempt.value)
    back = _brings_back(found, best.value, len(chosen))
    return dataclasses.replace(found, scale=best.scale if back else "")


def _drawn(count: int) -> np.ndarray:
    """Return the positions of at most 500 samples out of so many."""
    if count <= _MOST:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _MOST, replace=False))


def _right_but_saturated(
    predict: Predict, x: Sequence[np.ndarray], score: _Score, value: float
) -> BaselineReview | None:
    """Return what the outputs tell of a scale on which the model is as right as it is here."""
    found = _without_labels(predict, x)
    if found is None:
        return None
    chosen = _drawn(len(x[0]))
    scaled = score.of(predict(_scaled(x, chosen, SCALES[found.scale])), chosen)
    return found if scaled is not None and scaled >= value else None


def _without_labels(predict: Predict, x: Sequence[np.ndarray]) -> BaselineReview | None:
    """Return what a classifier's outputs tell of the scale of its inputs. Nothing is said unless
    another scale makes the difference: a model may be certain, and data may be alike."""
    chosen = _drawn(len(x[0]))
    outputs = _rows(predict([array[chosen] for array in x]))
    if len(chosen) < _FEWEST or not _are_probabilities(outputs):
        return None
    certain, deviation = _certain(outputs), float(outputs.std(axis=0).max())
    names: tuple[str, ...]
    if certain >= _NEARLY_ALL:
        measure, value, names = CERTAINTY, certain, ("x / 255", "x / 127.5 - 1")
    elif deviation < _SAME and float(outputs.max(axis=1).mean()) < _UNDECIDED:
        measure, value, names = VARIETY, deviation, ("x * 255",)
    else:
        return None
    attempts, scale = [], ""
    for name in names:
        scaled = _rows(predict(_scaled(x, chosen, SCALES[name])))
        varied = float(scaled.std(axis=0).max()) > _VARIED
        if measure == CERTAINTY:
            attempts.append(Attempt(name, _certain(scaled)))
            back = float(np.median(_second(scaled))) > _GRADED and varied
        else:
            counts = np.bincount(scaled.argmax(axis=1)) / len(scaled)
            classes = int(np.count_nonzero(counts >= _OFTEN))
            attempts.append(Attempt(name, float(classes)))
            back = classes > 1 and varied
        scale = scale or (name if back else "")
    if not scale:
        return None
    return BaselineReview(measure, value, 0.0, len(chosen), tuple(attempts), scale)


def _rows(outputs: np.ndarray) -> np.ndarray:
    """Return outputs as (samples, values)."""
    return outputs.reshape(len(outputs), -1)


def _are_probabilities(outputs: np.ndarray) -> bool:
    """Return whether rows are the probabilities of classes: they add up to 1."""
    if outputs.shape[1] < 2 or not np.all(outputs >= 0):
        return False
    return bool(np.all(np.abs(outputs.sum(axis=1) - 1.0) < 1e-3))


def _second(outputs: np.ndarray) -> np.ndarray:
    """Return the second largest probability of each sample."""
    second: np.ndarray = np.partition(outputs, -2, axis=1)[:, -2]
    return second


def _certain(outputs: np.ndarray) -> float:
    """Return the share of samples with one class alone."""
    return float(np.mean(_second(outputs) < _CERTAIN))


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
        """Return whether outputs of all samples are significantly better than a constant one."""
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
    """Return whether a scale is significantly better than a constant answer and than none."""
    if found.measure == R2:
        return value > WORTH
    low = wilson(value * samples, samples).low
    return low > found.constant and low > found.value
