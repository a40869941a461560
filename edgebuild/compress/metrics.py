"""The user's own metrics, as Keras computes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebuild.errors import InputError

_ACCURACY = ("accuracy", "acc")


def metric_values(
    metrics: Sequence[Any], labels: np.ndarray, outputs: np.ndarray
) -> dict[str, float]:
    """Return, by its name, what each metric says of first outputs (samples, ...).

    A metric is a name that Keras knows, a ``keras.metrics.Metric``, or a function of (labels,
    outputs). InputError for one that is unknown or that does not take them.
    """
    values = {}
    for given in metrics:
        metric = _made(given, labels, outputs)
        try:
            metric.reset_state()
            metric.update_state(labels, outputs)
            values[str(metric.name)] = float(metric.result())
        except Exception as error:  # whatever the user's function raises
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise InputError(
                f"metric '{metric.name}' fails for labels {labels.shape} and outputs "
                f"{outputs.shape}: {why[:200]}"
            ) from error
    return values


def _made(given: Any, labels: np.ndarray, outputs: np.ndarray) -> Any:
    import keras

    if isinstance(given, str):
        if given.lower() in _ACCURACY:
            return _accuracy(given, labels, outputs)
        try:
            found = keras.metrics.get(given)
        except ValueError as error:
            raise InputError(
                f"no metric '{given[:60]}' is known",
                hint="a name of keras.metrics, such as 'mae', or a function of (labels, outputs)",
            ) from error
    else:
        found = given
    if isinstance(found, keras.metrics.Metric):
        return found
    name = given if isinstance(given, str) else getattr(found, "__name__", "metric")
    return keras.metrics.MeanMetricWrapper(found, name=name)


def _accuracy(name: str, labels: np.ndarray, outputs: np.ndarray) -> Any:
    """Return the accuracy that fits, as Keras chooses it."""
    import keras

    if math.prod(outputs.shape[1:]) == 1:
        return keras.metrics.BinaryAccuracy(name=name)
    if labels.shape == outputs.shape:
        return keras.metrics.CategoricalAccuracy(name=name)
    return keras.metrics.SparseCategoricalAccuracy(name=name)
