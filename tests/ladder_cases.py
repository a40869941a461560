"""Models and data that plain calibration spoils, each in its own way; for the ladder's tests and
benchmark. All are trained here, on data that scikit-learn carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FACTOR = 2000.0


@dataclass(frozen=True)
class Case:
    """A model and its data, by arrays x and y, to calibrate with and to judge with."""

    model: Any
    train: tuple[np.ndarray, np.ndarray]
    data: tuple[np.ndarray, np.ndarray]

    def save(self, folder: Path) -> tuple[Path, Path, Path]:
        """Write ``model.keras``, ``train.npz`` and ``data.npz``; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / "model.keras")
        for name, (x, y) in (("train", self.train), ("data", self.data)):
            np.savez(folder / f"{name}.npz", x=x, y=y)
        return tuple(folder / name for name in ("model.keras", "train.npz", "data.npz"))  # type: ignore[return-value]


def _digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)[..., np.newaxis]
    order = np.random.default_rng(0).permutation(len(x))
    train, data = order[:1300], order[1300:]
    return (x[train], digits.target[train]), (x[data], digits.target[data])


def _cells() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return scikit-learn's breast cancer set: 30 features with ranges from 0.03 to 4,000."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    x = found.data.astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, data = order[:350], order[350:]
    return (x[train], found.target[train]), (x[data], found.target[data])


def _fitted(model: Any, train: tuple[np.ndarray, np.ndarray], epochs: int) -> Any:
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*train, epochs=epochs, batch_size=32, verbose=0)
    return model


def _image_model(train: tuple[np.ndarray, np.ndarray], *, separable: bool = False) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="first")(inputs)
    if separable:
        x = layers.DepthwiseConv2D(3, strides=2, activation="relu", name="second")(x)
        x = layers.Conv2D(24, 1, activation="relu", name="third")(x)
    else:
        x = layers.Conv2D(16, 3, strides=2, activation="relu", name="second")(x)
    x = layers.Flatten()(x)
    outputs = layers.Dense(10, activation="softmax", name="scores")(x)
    return _fitted(keras.Model(inputs, outputs), train, 20)


def _with_outlier_channels(model: Any) -> Any:
    """Multiply every fourth channel behind the first layer, and divide where the second reads it,
    by ten times as much: the model relies on the others, and they lose their int8 steps."""
    first, second = model.get_layer("first"), model.get_layer("second")
    factors = np.where(np.arange(12) % 4 == 0, FACTOR, 1.0).astype(np.float32)
    weights, bias = first.get_weights()
    first.set_weights([weights * factors, bias * factors])
    weights, bias = second.get_weights()
    second.set_weights([weights / np.where(factors > 1, 10 * factors, 1)[:, np.newaxis], bias])
    return model


def outlier_channels() -> Case:
    """A few channels of a convolution 2,000 times as large as the others."""
    train, data = _digits()
    return Case(_with_outlier_channels(_image_model(train)), train, data)


def outlier_channels_depthwise() -> Case:
    """The same in front of a depthwise convolution."""
    train, data = _digits()
    return Case(_with_outlier_channels(_image_model(train, separable=True)), train, data)


def _table_model(train: tuple[np.ndarray, np.ndarray]) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    scaling = layers.Normalization(name="scaling")
    scaling.adapt(train[0])
    inputs = keras.Input((30,), name="features")
    x = layers.Dense(16, activation="relu", name="hidden")(scaling(inputs))
    outputs = layers.Dense(2, activation="softmax", name="scores")(x)
    return _fitted(keras.Model(inputs, outputs), train, 40)


def unlike_inputs_normalization() -> Case:
    """Features of unlike ranges that the model's own Normalization scales."""
    train, data = _cells()
    return Case(_table_model(train), train, data)


def unlike_inputs() -> Case:
    """Features of unlike ranges that the first layer's weights make up for."""
    import keras

    train, data = _cells()
    trained = _table_model(train)
    mean = np.asarray(trained.get_layer("scaling").mean).ravel()
    spread = np.sqrt(np.asarray(trained.get_layer("scaling").variance).ravel())
    inputs = keras.Input((30,), name="features")
    hidden = keras.layers.Dense(16, activation="relu")
    scores = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(inputs, scores(hidden(inputs)))
    weights, bias = trained.get_layer("hidden").get_weights()
    folded = weights / spread[:, np.newaxis]
    hidden.set_weights([folded, bias - mean @ folded])
    scores.set_weights(trained.get_layer("scores").get_weights())
    return Case(model, train, data)


def bad_sample() -> Case:
    """One value of a million among the images that calibrate."""
    train, data = _digits()
    model = _image_model(train)
    x = train[0].copy()
    x[7, 2, 3, 0] = 1e6
    return Case(model, (x, train[1]), data)


CASES: dict[str, Callable[[], Case]] = {
    "outlier channels": outlier_channels,
    "outlier channels, depthwise": outlier_channels_depthwise,
    "unlike inputs, Normalization": unlike_inputs_normalization,
    "unlike inputs": unlike_inputs,
    "bad sample": bad_sample,
}
"""Each by what spoils it."""
