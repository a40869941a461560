"""How a model is trained: optimizer, loss, augmentation; the user's, or sensible defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Augment = Callable[[tuple[np.ndarray, ...], np.random.Generator], tuple[np.ndarray, ...]]
"""Maps a batch, an array (samples, ...) for each input, to a varied one of the same shapes."""

_LEAST_BATCH, _MOST_BATCH, _STEPS = 16, 128, 32


@dataclass(frozen=True)
class Distillation:
    """Learn from the original's outputs too (Hinton et al. 2015).

    ``weight`` of the teacher's soft targets at ``temperature``; the labels have the rest. Without
    labels the teacher has all. ``hints`` last outputs of teacher and student are no outputs but
    hidden values to match, with ``hint_weight`` (Romero et al. 2015).
    """

    temperature: float = 3.0
    weight: float = 0.5
    hints: int = 0
    hint_weight: float = 0.0


@dataclass(frozen=True)
class TrainingSetup:
    """What fine-tuning uses.

    ``optimizer`` makes a new Keras optimizer for a learning rate (Adam by default); ``loss`` maps
    (labels, first output) to a value for each sample, by default the one that fits labels and
    output: cross-entropy for classes, else mean squared error. ``learning_rate`` is where the
    cosine decay begins. ``batch_size`` 0 takes 128, or fewer (down to 16) for a small data set, so
    that an epoch has some 32 steps. ``distillation`` None learns from labels alone.
    """

    learning_rate: float = 1e-3
    batch_size: int = 0
    optimizer: Callable[[float], Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    augment: Augment | None = None
    distillation: Distillation | None = Distillation()

    def batch(self, samples: int) -> int:
        """Return how many of so many training samples make a batch."""
        usual = min(_MOST_BATCH, max(_LEAST_BATCH, samples // _STEPS))
        return min(self.batch_size or usual, samples)

    def make_optimizer(self, learning_rate: Any) -> Any:
        """Return a new optimizer."""
        if self.optimizer is not None:
            return self.optimizer(learning_rate)
        import keras

        return keras.optimizers.Adam(learning_rate)
