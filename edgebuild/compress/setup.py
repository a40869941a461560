"""How a model is trained: optimizer, loss, augmentation; the user's, or sensible defaults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Augment = Callable[[tuple[np.ndarray, ...], np.random.Generator], tuple[np.ndarray, ...]]
"""Maps a batch, an array (samples, ...) for each input, to a varied one of the same shapes."""


@dataclass(frozen=True)
class TrainingSetup:
    """What fine-tuning uses.

    ``optimizer`` makes a new Keras optimizer for a learning rate (Adam by default); ``loss`` maps
    (labels, first output) to a value for each sample, by default the one that fits labels and
    output: cross-entropy for classes, else mean squared error. ``learning_rate`` is where the
    cosine decay begins.
    """

    learning_rate: float = 1e-3
    batch_size: int = 128
    optimizer: Callable[[float], Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    augment: Augment | None = None

    def make_optimizer(self, learning_rate: Any) -> Any:
        """Return a new optimizer."""
        if self.optimizer is not None:
            return self.optimizer(learning_rate)
        import keras

        return keras.optimizers.Adam(learning_rate)


@dataclass(frozen=True)
class Distillation:
    """Learn from the original's outputs too (Hinton et al. 2015).

    ``weight`` of the teacher's soft targets at ``temperature``; the labels have the rest. Without
    labels the teacher has all.
    """

    temperature: float = 3.0
    weight: float = 0.5
