"""How a model is trained: optimizer, loss, augmentation; the user's, or sensible defaults."""

from __future__ import annotations

import functools
import inspect
import math
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from edgebuild.errors import EdgebuildError, InputError

Augment = Callable[[tuple[np.ndarray, ...], np.random.Generator], tuple[np.ndarray, ...]]
"""Maps a batch, an array (samples, ...) for each input, to a varied one of the same shapes."""

_LEAST_BATCH, _MOST_BATCH, _STEPS = 16, 128, 32


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, Real) or not 0.0 < float(value) < math.inf:
        raise InputError(f"{name} is a number above 0, not {_shown(value)}")


def _shown(value: Any) -> str:
    return repr(value)[:60]


def call_users(role: str, function: Callable[..., Any], *arguments: Any, users: Any = None) -> Any:
    """Return what a function gives that is the user's, or that calls ``users``, which is.

    Raises:
        InputError: (which names the ``role``) it fails in the file of the user's function; what
            fails elsewhere is raised as it is.
    """
    try:
        return function(*arguments)
    except EdgebuildError:
        raise
    except Exception as error:  # whatever the user's function raises
        where = _in_file(error, _file_of(function if users is None else users))
        if where is None:
            raise
        why = next(iter(str(error).strip().splitlines()), "")
        raise InputError(
            f"the training entry's {role} failed: {type(error).__name__}: {why[:200]}",
            details=[where],
            hint=f"correct the {role} that --training returns",
        ) from error


def _file_of(function: Any) -> str:
    """Return the file that a function, or an object that is called, is written in."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__code__"):
        function = getattr(function, "__func__", None) or getattr(type(function), "call", None)
        function = function or type(function).__call__
    return str(getattr(getattr(function, "__code__", None), "co_filename", ""))


def _in_file(error: BaseException, file: str) -> str | None:
    """Return the last line of ``file`` that an error came through, None where it did not.

    TensorFlow compiles Python functions, and lists in the message the lines that they had.
    """
    frames = [f for f in traceback.extract_tb(error.__traceback__) if file and f.filename == file]
    if frames:
        return f"{file}, line {frames[-1].lineno}: {frames[-1].line}"
    found = re.findall(rf'File "{re.escape(file)}", line (\d+)', str(error)) if file else []
    return f"{file}, line {found[-1]}" if found else None


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

    def __post_init__(self) -> None:
        """Refuse what cannot be learned with."""
        _check_positive("distillation's temperature", self.temperature)
        if not isinstance(self.weight, Real) or not 0.0 <= float(self.weight) <= 1.0:
            raise InputError(
                f"distillation's weight is a number from 0 to 1, not {_shown(self.weight)}"
            )


@dataclass(frozen=True)
class TrainingSetup:
    """What fine-tuning uses.

    ``optimizer`` makes a new Keras optimizer for a learning rate (Adam by default); ``loss`` maps
    (labels, first output) to a value for each sample, by default the one that fits labels and
    output: cross-entropy for classes, else mean squared error. ``metrics`` are told before and
    after each pass (``metric_values``). ``learning_rate`` is where the cosine decay begins.
    ``batch_size`` 0 takes 128, or fewer (down to 16) for a small data set, so that an epoch has
    some 32 steps. ``distillation`` None learns from labels alone.
    """

    learning_rate: float = 1e-3
    batch_size: int = 0
    optimizer: Callable[[float], Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    augment: Augment | None = None
    distillation: Distillation | None = Distillation()
    metrics: Sequence[Any] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        _check_positive("learning_rate", self.learning_rate)
        size = self.batch_size
        if not isinstance(size, Integral) or size < 0:
            raise InputError(f"batch_size is a whole number from 0, not {_shown(size)}")
        for name in ("optimizer", "loss", "augment"):
            if not (getattr(self, name) is None or callable(getattr(self, name))):
                raise InputError(f"{name} is a function, not {_shown(getattr(self, name))}")
        known = isinstance(self.metrics, (list, tuple)) and all(
            isinstance(m, str) or callable(m) for m in self.metrics
        )
        if not known:
            raise InputError(
                f"metrics is a list of names and functions, not {_shown(self.metrics)}"
            )
        if not (self.distillation is None or isinstance(self.distillation, Distillation)):
            raise InputError(
                f"distillation is a dictionary or None, not {_shown(self.distillation)}"
            )

    def batch(self, samples: int) -> int:
        """Return how many of so many training samples make a batch."""
        usual = min(_MOST_BATCH, max(_LEAST_BATCH, samples // _STEPS))
        return min(self.batch_size or usual, samples)

    def make_optimizer(self, learning_rate: Any) -> Any:
        """Return a new optimizer."""
        if self.optimizer is not None:
            return call_users("optimizer", self.optimizer, learning_rate)
        import keras

        return keras.optimizers.Adam(learning_rate)
