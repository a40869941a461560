"""Training, validation and test samples, apart from each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgebuild.errors import InputError

VALIDATION_SHARE = 0.15
TEST_SHARE = 0.15
_LEAST = 10


@dataclass(frozen=True, eq=False)
class Split:
    """Samples: an array (samples, ...) for each model input, labels (samples, ...) or None, and
    for each slice that the user names (samples,) of strings. ``y`` are the first output's, ``more``
    those of further outputs by their positions. ``positions`` (samples,) are those of the samples
    in what was divided, None of what was not."""

    x: tuple[np.ndarray, ...]
    y: np.ndarray | None
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    more: Mapping[int, np.ndarray] = field(default_factory=dict)
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x[0])

    @property
    def labels(self) -> dict[int, np.ndarray]:
        """The labels by the position of their output."""
        first = {} if self.y is None else {0: self.y}
        return {**first, **{output: self.more[output] for output in sorted(self.more)}}

    @property
    def arrays(self) -> list[np.ndarray]:
        """All that decides what is learned from it, for a hash: inputs, labels, and of which
        further outputs they are."""
        further = [np.array(sorted(self.more))] if self.more else []
        return [*self.x, *self.labels.values(), *further]

    def take(self, positions: np.ndarray) -> Split:
        """Return the samples at ``positions``."""
        return Split(
            tuple(array[positions] for array in self.x),
            None if self.y is None else self.y[positions],
            {name: values[positions] for name, values in self.slices.items()},
            {output: labels[positions] for output, labels in self.more.items()},
            None if self.positions is None else self.positions[positions],
        )

    def first(self, count: int) -> Split:
        """Return at most ``count`` samples."""
        return self.take(np.arange(min(count, len(self))))


@dataclass(frozen=True, eq=False)
class Splits:
    """``test`` is looked at once, for the final figure."""

    train: Split
    validation: Split
    test: Split


def split_data(
    x: Sequence[np.ndarray],
    y: np.ndarray | None,
    seed: int,
    slices: Mapping[str, np.ndarray] | None = None,
    *,
    test: Split | None = None,
    more: Mapping[int, np.ndarray] | None = None,
) -> Splits:
    """Divide one data set 70 : 15 : 15, shuffled by ``seed``, stratified by class and by the values
    of ``slices`` where there are some; with a ``test`` set of its own, 85 : 15.

    InputError for fewer samples than can be divided.
    """
    whole = Split(tuple(x), y, slices or {}, more or {}, np.arange(len(x[0])))
    if len(whole) < _LEAST:
        raise InputError(
            f"{len(whole)} samples cannot be divided into training, validation and test",
            hint=f"pass at least {_LEAST}, better some thousands",
        )
    order = np.random.default_rng(seed).permutation(len(whole))
    classes = class_numbers(y)
    for group in (*whole.slices.values(), *(() if classes is None else (classes,))):
        # Sorted by class and dealt out in turn, every split gets its share of each class.
        order = order[np.argsort(group[order], kind="stable")]
    place = (np.arange(len(whole)) * 0.6180339887) % 1.0
    held_out = place < (TEST_SHARE if test is None else 0.0)
    validation = ~held_out & (place < held_out.mean() + VALIDATION_SHARE)
    train, validated, held = (
        whole.take(np.sort(order[chosen]))
        for chosen in (~(held_out | validation), validation, held_out)
    )
    return Splits(train, validated, held if test is None else test)


def class_numbers(y: np.ndarray | None) -> np.ndarray | None:
    """Return labels as class numbers (samples,), None when they are no classes.

    Classes are integers (samples,) or (samples, 1), whole floats likewise, or one-hot rows.
    """
    if y is None or y.size == 0:
        return None
    flat = y.reshape(len(y), -1)
    if flat.shape[1] == 1:
        column = flat[:, 0]
        whole = column.dtype.kind in "iub" or bool(np.all(column == np.trunc(column)))
        return column.astype(np.int64) if whole and column.min() >= 0 else None
    one_hot = np.all((flat == 0) | (flat == 1)) and np.all(flat.sum(1) == 1)
    return flat.argmax(axis=1) if one_hot else None
