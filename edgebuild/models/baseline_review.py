"""Whether the float model is right at all on the data, and if not, which scale of them it takes.

A model that is no better than a constant answer loses nothing by quantization: before its drop
means anything, its inputs must be what it was trained on. Without labels, only the two extremes
tell: inputs far too large make a classifier completely certain, inputs far too small make it give
the same answer to all.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.models.accuracy import labels_for, real_threshold
from edgebuild.models.calibration_review import Finding, find_outliers, table_of
from edgebuild.models.statistics import drop_interval, wilson
from edgebuild.units import quoted

Predict = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Maps an array (samples, ...) for each input to one output (samples, ...)."""

ACCURACY, R2 = "accuracy", "R2"
"""What a model is right by: of classes, and of values."""

CONSTANT = "constant"
"""The output is the same for every sample."""

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
_NAMED = 3


@dataclass(frozen=True)
class Attempt:
    """What the float model reaches on data that are scaled in another way."""

    scale: str
    value: float


@dataclass(frozen=True)
class BaselineReview:
    """A float model that is no better than a constant answer, or seems to be.

    ``measure`` is ``constant`` for an output that is the same for every sample, else ``accuracy``,
    or ``R2``, the coefficient of determination; without labels
    ``certainty`` or ``variety``. ``constant`` is what always naming the most frequent class, or the
    mean of each value, reaches. ``attempts`` are on at most 500 samples; ``scale`` is the one that
    brings the model back, empty where none does (never so without labels). ``bad`` says which
    samples are outliers, where the model is right without them: it reaches ``usual`` then.
    ``output`` is empty for a model of one output; ``others`` are the same of further outputs.
    """

    measure: str
    value: float
    constant: float
    samples: int
    attempts: tuple[Attempt, ...] = ()
    scale: str = ""
    bad: tuple[str, ...] = ()
    usual: float = 0.0
    output: str = ""
    others: tuple[BaselineReview, ...] = ()

    @property
    def all(self) -> tuple[BaselineReview, ...]:
        """This one and those of further outputs."""
        return (self, *self.others)

    @property
    def headline(self) -> str:
        """The shortest form of it."""
        if all(one.bad for one in self.all):
            return "outliers in these data hide how right the float model is"
        if all(one.measure == CONSTANT for one in self.all):
            return "the float model gives the same output for every sample"
        return "the float model is wrong on these data"

    @property
    def sentence(self) -> str:
        """What the user reads."""
        return f"output {quoted(self.output)}: {self._said}" if self.output else self._said

    @property
    def _said(self) -> str:
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
        if self.measure == CONSTANT:
            return (
                f"the float model gives the same output for all {self.samples:,} samples, so "
                "nothing can be said of what quantization loses: check the model (layers behind a "
                "ReLU that is always 0, weights that were not loaded) and that the data are "
                "scaled as in training"
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
        if self.bad:
            them, one = ("them", "those samples") if len(self.bad) > 1 else ("it", "that sample")
            return (
                f"{said}, because of outliers: {'; '.join(self.bad)}. Without {them} R2 is "
                f"{self.usual:.3g}: correct or remove {one}"
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
    others = tuple(baseline_from_json(row) for row in value.get("others", ()))
    attempts = tuple(Attempt(**row) for row in value["attempts"])
    bad = tuple(value.get("bad", ()))
    return BaselineReview(**{**value, "attempts": attempts, "bad": bad, "others": others})


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
    predict: Predict, x: Sequence[np.ndarray], y: np.ndarray | None, name: str = "y"
) -> BaselineReview | None:
    """Return what is wrong with a float model on data, None where nothing is known to be.

    Args:
        predict: maps an array (samples, ...) for each input to the output (samples, ...).
        x: an array (samples, ...) for each input.
        y: labels of the output (samples, ...); None where there are none.
        name: what messages call the labels.

    Raises:
        InputError: the labels do not fit the model.
    """
    if not any(array.dtype.kind in "fiu" for array in x):
        return None
    outputs = predict(x)
    still = BaselineReview(CONSTANT, 0.0, 0.0, len(x[0])) if _is_constant(outputs, x) else None
    if y is None:
        return _without_labels(predict, x) or still
    probability = bool(np.all((outputs >= 0) & (outputs <= 1)))
    score = _Score(y, x[0], outputs.shape[1:], probability)
    value = score.of(outputs, np.arange(len(y)))
    if value is None:
        return still
    if score.is_right(outputs):
        return _right_but_saturated(predict, x, score, value)
    found = BaselineReview(score.measure, value, score.constant, len(y))
    out, findings = score.outliers(x, name)
    kept = np.setdiff1d(np.arange(len(y)), out)
    if out and (usual := score.of(outputs[kept], kept) or 0.0) > 0.0:
        bad = tuple(finding.sentence for finding in findings[:_NAMED])
        return dataclasses.replace(found, bad=bad, usual=usual)
    if out:  # which would drown what a scale of the others gives
        x = [array[kept] for array in x]
        score = score.part(kept)
    chosen = _drawn(len(kept))
    scales = dict(SCALES)
    if any(array.ndim == 4 and array.shape[-1] == 3 for array in x):
        scales[_SWAPPED] = lambda x: x[..., ::-1]
    attempts = [
        Attempt(name, score.of(predict(_scaled(x, chosen, scale)), chosen) or 0.0)
        for name, scale in scales.items()
    ]
    found = dataclasses.replace(found, attempts=tuple(attempts))
    best = max(attempts, key=lambda attempt: attempt.value)
    back = _brings_back(found, best.value, len(chosen))
    if still is not None and not back:
        return still
    return dataclasses.replace(found, scale=best.scale if back else "")


def _is_constant(outputs: np.ndarray, x: Sequence[np.ndarray]) -> bool:
    """Return whether outputs are the same for samples that are not."""
    varied = any(np.any(array != array[0]) for array in x)
    return varied and bool(np.all(outputs == outputs[0]))


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

    def part(self, chosen: np.ndarray) -> _Score:
        """Return the same of the samples ``chosen`` alone."""
        part = copy.copy(self)
        assert self._labels is not None
        rows = {
            name: None if array is None else array[chosen]
            for name, array in (("numbers", self._labels.numbers), ("values", self._labels.values))
        }
        part._labels = dataclasses.replace(self._labels, **rows)  # type: ignore[arg-type]
        if self._labels.numbers is not None:
            part._usual = self._usual[chosen]
        return part

    def outliers(
        self, x: Sequence[np.ndarray], name: str
    ) -> tuple[tuple[int, ...], tuple[Finding, ...]]:
        """Return the samples whose inputs or labels are outliers and what to say of each; none
        where labels are classes, among which one sample counts as one."""
        assert self._labels is not None
        if self._labels.values is None:
            return (), ()
        arrays = [
            (f"input {n}" if len(x) > 1 else "the input", array[:, 0] if array.ndim > 2 else array)
            for n, array in enumerate(x)
        ]
        return find_outliers([*arrays, (f"the labels {name}", table_of(self._labels.values))])

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
