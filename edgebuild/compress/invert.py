"""Inputs that a trained model asks for by itself, where there are no data.

A batch normalization remembers the mean and the variance of what it saw in training. Noise is moved
by gradients until a batch shows the same, in every one of them, and until its samples are taken for
the classes that they were meant to be (ZeroQ, Cai et al. 2020; DeepInversion, Yin et al. 2020).
Such inputs look like no real ones, but they use a model as real ones do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.base import Progress
from edgebuild.compress.costs import nodes
from edgebuild.compress.losses import class_scores
from edgebuild.compress.quality import gives_probability
from edgebuild.errors import InputError
from edgebuild.models.likeness import is_classifier
from edgebuild.models.tf_model import as_list, inputs_of

MOST_BATCH, LEAST_BATCH = 256, 16
"""So many samples share their statistics: the most that leave the values of all layers within
``_MOST_VALUES``."""
_MOST_VALUES = 1 << 28
_LEARNING_RATE = 0.15
"""Of Adam, in units of the first noise's deviation."""
_CLASS_WEIGHT = 0.05
"""Of being taken for a class, beside the statistics."""
_LEAST_SURE = 0.6
"""A sample is meant to be of its class by so much, up to 1; another class has the rest."""
_SPREADS = tuple(2.0**power for power in (0, *range(1, 15), *range(-1, -9, -1)))
_OFFSETS = (0.0, -2.0, -1.0, 1.0, 2.0, 4.0, 6.0)
"""Means of the first noise that are tried, in units of its deviation."""
_OCTAVES = ((2, 1.0), (4, 0.7), (8, 0.5), (16, 0.3), (32, 0.15))
"""Points of a side, and how strong they are."""
_TRIED = 32
_TINY = 1e-7
_REAL = "pass real inputs (--data set.npz), labels are not needed"

Limits = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Inversion:
    """Inputs that were made: an array (samples, ...) float32 for each of the model's.

    ``off`` says how far a batch's statistics are from training's, before and after: the root mean
    square over all channels, in their deviations. ``sure`` is the mean of the highest probability
    of the first output that scores classes, None where none does.
    """

    x: tuple[np.ndarray, ...]
    off: tuple[float, float]
    sure: float | None


@dataclass(frozen=True)
class _Noise:
    """What an input is made of at first: ``spread * noise + mean``, over space smooth or not."""

    spread: float = 1.0
    mean: float = 0.0
    smooth: bool = False

    def draw(self, shape: Sequence[int], count: int, rng: np.random.Generator) -> np.ndarray:
        """Return (count, \\*shape), before spread and mean."""
        if not self.smooth:
            return rng.normal(size=(count, *shape)).astype(np.float32)
        return _smooth(shape, count, rng)

    def applied(self, noise: Any) -> Any:
        """Return ``noise`` with spread and mean."""
        return noise * self.spread + self.mean


def invert(
    model: Any,
    *,
    samples: int,
    steps: int,
    seed: int = 0,
    limits: Limits | None = None,
    progress: Progress = lambda _: None,
) -> Inversion:
    """Return ``samples`` inputs of a functional Keras model, without nested models.

    Args:
        model: it has batch normalization, float inputs, and sizes that are all known.
        samples: how many, made in batches.
        steps: of gradient descent for each batch.
        seed: equal seed, equal inputs.
        limits: the least and the greatest value that an input can have, such as 0 and 255.
        progress: is told what is going on.

    Raises:
        InputError: the model tells nothing of its inputs, or they cannot be moved.
    """
    shapes = _shapes(model)
    seen = _Seen(model)
    batch = _batch(model)
    rng = np.random.default_rng(seed)
    progress("looking for where to begin")
    starts = _starts(seen, shapes, limits, rng)
    maker = _Maker(seen, starts, [(batch, *shape) for shape in shapes], steps, limits)
    made, off = [], []
    count = math.ceil(samples / batch)
    for number in range(1, count + 1):
        noise = [start.draw(shape, batch, rng) for start, shape in zip(starts, shapes, strict=True)]
        before, after, x = maker.make(noise, seen.wishes(batch, rng))
        made.append(x)
        off.append((before, after))
        progress(f"batch {number} of {count}: statistics off by {before:.2f}, then {after:.2f}")
    arrays = tuple(np.concatenate(parts)[:samples] for parts in zip(*made, strict=True))
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise InputError("the inputs that were made are not finite: the model may be damaged")
    first, last = np.mean(off, axis=0)
    return Inversion(arrays, (float(first), float(last)), seen.sureness(arrays))


def _batch(model: Any) -> int:
    """Return how many samples are made at once."""
    tensors = [tensor for node in nodes(model) for tensor in node.output_tensors]
    values = sum(math.prod(size or 1 for size in tensor.shape[1:]) for tensor in tensors)
    return min(MOST_BATCH, max(LEAST_BATCH, _MOST_VALUES // max(1, values)))


def _shapes(model: Any) -> list[tuple[int, ...]]:
    """Return the shape of a sample of each input; InputError where it cannot be moved."""
    tables = {
        id(tensor)
        for node in nodes(model)
        if type(node.operation).__name__ == "Embedding"
        for tensor in node.input_tensors
    }
    shapes = []
    for tensor in model.inputs:
        shape, whole = tuple(tensor.shape[1:]), id(tensor) in tables
        if whole or "float" not in str(tensor.dtype):
            kind = "numbers of a table's rows" if whole else tensor.dtype
            raise InputError(
                f"input '{tensor.name}' takes {kind}, which cannot be made by gradient descent",
                hint=_REAL,
            )
        if None in shape:
            raise InputError(
                f"input '{tensor.name}' is of the shape {shape}: its size is not known", hint=_REAL
            )
        shapes.append(shape)
    return shapes


class _Seen:
    """A model that also shows what its batch normalizations are given."""

    def __init__(self, model: Any) -> None:
        import keras
        import tensorflow as tf

        calls = [
            node for node in nodes(model) if type(node.operation).__name__ == "BatchNormalization"
        ]
        if not calls:
            raise InputError(
                "the model has no batch normalization, whose statistics show what inputs are like",
                hint=_REAL,
            )
        self._layers = [node.operation for node in calls]
        self._count = len(model.outputs)
        given = [node.input_tensors[0] for node in calls]
        self._shown = keras.Model(model.inputs, [*model.outputs, *given])
        self._single = [
            math.prod(tensor.shape[1:]) == 1 and gives_probability(model, place)
            for place, tensor in enumerate(model.outputs)
        ]
        self._classes = [0] * self._count
        self._asked = 0
        self._call = tf.function(self.run, autograph=False)

    def learn_outputs(self, x: Sequence[np.ndarray]) -> None:
        """Take from the outputs for some inputs which of them score classes, and how many."""
        outputs, _ = self(x)
        for place, output in enumerate(outputs):
            if self._single[place]:
                self._classes[place] = 2
            elif is_classifier(np.asarray(output)):
                self._classes[place] = output.shape[-1]

    def __call__(self, x: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Return the outputs, and what the batch normalizations are given."""
        import tensorflow as tf

        return self._call([tf.convert_to_tensor(array) for array in x])

    def run(self, x: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return the same, for a graph that is being traced."""
        import tensorflow as tf

        given = self._shown(inputs_of(self._shown, x), training=False)
        values = [tf.cast(tensor, tf.float32) for tensor in as_list(given)]
        return values[: self._count], values[self._count :]

    def distance(self, given: Sequence[Any]) -> Any:
        """Return the mean square over all channels of how far means and deviations are from
        training's, in its deviations."""
        import tensorflow as tf

        total, channels = 0.0, 0
        for layer, values in zip(self._layers, given, strict=True):
            rank = len(values.shape)
            axis = layer.axis % rank
            mean, variance = tf.nn.moments(values, [i for i in range(rank) if i != axis])
            known = tf.sqrt(layer.moving_variance.value + layer.epsilon)
            shift = (mean - layer.moving_mean.value) / known
            stretch = tf.sqrt(variance + layer.epsilon) / known - 1.0
            total += tf.reduce_sum(tf.square(shift) + tf.square(stretch))
            channels += int(layer.moving_mean.shape[0])
        return total / channels

    def wishes(self, count: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Return for each output that scores classes what ``count`` samples are to be taken for:
        (samples, classes). One batch after the other asks for every class as often."""
        wishes, samples = [], np.arange(count)
        for classes in filter(None, self._classes):
            first = rng.permutation((self._asked + samples) % classes)
            second = (first + rng.integers(1, classes, count)) % classes
            share = rng.uniform(_LEAST_SURE, 1.0, count)
            wish = np.zeros((count, classes), np.float32)
            wish[samples, first] = share
            wish[samples, second] = 1.0 - share
            wishes.append(wish)
        self._asked += count
        return wishes

    def surprise(self, outputs: Sequence[Any], wishes: Sequence[Any]) -> Any:
        """Return the mean divergence of what a batch is taken for from the ``wishes``."""
        import tensorflow as tf

        left, total = list(wishes), 0.0
        for place, output in enumerate(outputs):
            if self._classes[place]:
                wish = left.pop(0)
                given = tf.nn.log_softmax(class_scores(output, self._single[place]))
                total += tf.reduce_mean(
                    tf.reduce_sum(wish * (tf.math.log(wish + _TINY) - given), axis=-1)
                )
        return total

    def sureness(self, x: Sequence[np.ndarray]) -> float | None:
        """Return the mean of the highest probability; see ``Inversion``."""
        place = next((i for i, classes in enumerate(self._classes) if classes), None)
        if place is None:
            return None
        parts = []
        for start in range(0, len(x[0]), LEAST_BATCH):
            output = np.asarray(self([a[start : start + LEAST_BATCH] for a in x])[0][place])
            rows = output.reshape(len(output), -1)
            parts.append(np.maximum(rows, 1.0 - rows)[:, 0] if self._single[place] else rows.max(1))
        return float(np.concatenate(parts).mean())


def _starts(
    seen: _Seen,
    shapes: Sequence[tuple[int, ...]],
    limits: Limits | None,
    rng: np.random.Generator,
) -> list[_Noise]:
    """Return the noise of each input whose statistics are nearest to training's: one input after
    the other, the others as they are by then."""
    starts = [_Noise() for _ in shapes]
    plain = [_Noise().draw(shape, _TRIED, rng) for shape in shapes]
    drawn = {(i, False): noise for i, noise in enumerate(plain)}
    for place, shape in enumerate(shapes):
        if len(shape) > 1:
            drawn[place, True] = _smooth(shape, _TRIED, rng)
    seen.learn_outputs(plain)

    def cost(candidate: Sequence[_Noise]) -> float:
        x = [
            _within(noise.applied(drawn[i, noise.smooth]), limits)
            for i, noise in enumerate(candidate)
        ]
        found = float(seen.distance(seen(x)[1]))
        return found if math.isfinite(found) else math.inf

    for place in range(len(shapes)):
        candidates = [
            [*starts[:place], noise, *starts[place + 1 :]]
            for noise in _noises(smooth=(place, True) in drawn)
        ]
        starts = min(candidates, key=cost)
    return starts


def _noises(*, smooth: bool) -> Iterator[_Noise]:
    for kind in (False, True)[: 1 + smooth]:
        for spread, offset in itertools.product(_SPREADS, _OFFSETS):
            yield _Noise(spread, offset * spread, kind)


class _Maker:
    """Moves batches of noise; the graph is traced once for all of them."""

    def __init__(
        self,
        seen: _Seen,
        starts: Sequence[_Noise],
        shapes: Sequence[tuple[int, ...]],
        steps: int,
        limits: Limits | None,
    ) -> None:
        import keras
        import tensorflow as tf

        self._seen, self._starts, self._steps, self._limits = seen, starts, steps, limits
        schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
        self._noise = [tf.Variable(tf.zeros(shape)) for shape in shapes]
        self._optimizer = keras.optimizers.Adam(schedule)
        self._optimizer.build(self._noise)
        self._move = tf.function(self._moved, autograph=False)

    def make(
        self, noise: Sequence[np.ndarray], wishes: Sequence[np.ndarray]
    ) -> tuple[float, float, list[np.ndarray]]:
        """Return how far a batch's statistics were off before and after, and the batch."""
        import tensorflow as tf

        for variable in self._optimizer.variables:
            variable.assign(tf.zeros_like(variable))
        for variable, array in zip(self._noise, noise, strict=True):
            variable.assign(array)
        before = self._off()
        wanted = [tf.constant(wish) for wish in wishes]
        for _ in range(self._steps):
            self._move(wanted)
        return before, self._off(), [np.asarray(x) for x in self._x()]

    def _x(self) -> list[Any]:
        return [
            _within(start.applied(noise), self._limits)
            for start, noise in zip(self._starts, self._noise, strict=True)
        ]

    def _off(self) -> float:
        return math.sqrt(float(self._seen.distance(self._seen(self._x())[1])))

    def _moved(self, wishes: list[Any]) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            x = [start.applied(n) for start, n in zip(self._starts, self._noise, strict=True)]
            outputs, given = self._seen.run(x)
            loss = self._seen.distance(given)
            loss += _CLASS_WEIGHT * self._seen.surprise(outputs, wishes)
        gradients = tape.gradient(loss, self._noise)
        for place, gradient in enumerate(gradients):
            if gradient is None:
                raise InputError(
                    f"input {place} leads to no batch normalization and to no classes: nothing "
                    "tells what it is like",
                    hint=_REAL,
                )
        self._optimizer.apply(gradients, self._noise)
        for noise, start in zip(self._noise, self._starts, strict=True):
            if self._limits is not None:
                low, high = ((limit - start.mean) / start.spread for limit in self._limits)
                noise.assign(tf.clip_by_value(noise, low, high))


def _within(x: Any, limits: Limits | None) -> Any:
    import tensorflow as tf

    return x if limits is None else tf.clip_by_value(x, *limits)


def _smooth(shape: Sequence[int], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (count, \\*shape) of deviation 1 that is coarse more than fine, as pictures and
    signals are: octaves over all axes but the last, the channels, each octave weaker."""
    total = np.zeros((count, *shape), np.float64)
    for points, strength in _OCTAVES:
        grid = [min(points, length) for length in shape[:-1]]
        noise = rng.normal(size=(count, *grid, shape[-1]))
        for axis, (few, many) in enumerate(zip(grid, shape[:-1], strict=True), 1):
            noise = np.moveaxis(np.tensordot(_between(few, many), noise, (1, axis)), 0, axis)
        total += strength * noise
    return np.asarray(total / total.std(), np.float32)


def _between(few: int, many: int) -> np.ndarray:
    """Return the matrix (many, few) that interpolates ``few`` points linearly."""
    places = np.linspace(0.0, few - 1.0, many)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(few)))
