"""Train a small CNN on scikit-learn's bundled digits (1,797 images, 8x8) in seconds.

Writes ``digits.keras``, ``train.npz`` and ``test.npz`` (held-out images), both with labels.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (x_train, x_test, y_train, y_test); images are float32 [n, 8, 8, 1] in 0..1."""
    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[..., np.newaxis]
    return train_test_split(images, digits.target, test_size=0.25, random_state=0)


def network() -> keras.Model:
    """Return a CNN with a residual block."""
    relu = keras.activations.relu
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(16, 3, padding="same", activation=relu)(inputs)
    skip = x
    x = keras.layers.Conv2D(16, 3, padding="same", activation=relu)(x)
    x = keras.layers.Conv2D(16, 3, padding="same")(x)
    x = keras.layers.Activation(relu)(keras.layers.Add()([x, skip]))
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation=relu)(x)
    x = keras.layers.Conv2D(32, 1, activation=relu)(x)
    x = keras.layers.AveragePooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="digits")


def main() -> None:
    """Train, and write the model and its data."""
    keras.utils.set_random_seed(7)
    x_train, x_test, y_train, y_test = load()
    model = network()
    schedule = keras.optimizers.schedules.CosineDecay(4e-3, decay_steps=40 * 22)
    optimizer = keras.optimizers.Adam(schedule)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=40, batch_size=64, verbose=0)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    model.save(HERE / "digits.keras")
    np.savez_compressed(HERE / "train.npz", x=x_train, y=y_train)
    np.savez_compressed(HERE / "test.npz", x=x_test, y=y_test)
    print(f"digits.keras: test accuracy {accuracy:.4f}, {model.count_params():,} parameters")


if __name__ == "__main__":
    main()
