"""The LeNets of the compression papers and MNIST for them, with shifted training images."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from edgebuild.compress.run import ENVIRONMENT

os.environ.update(ENVIRONMENT)

import numpy as np
from accuracy import images

from edgebuild.compress.base import Context, State
from edgebuild.compress.quality import quality
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.compress.training import fine_tune

ROOT = Path(__file__).resolve().parent.parent
HELD_OUT = 5000
CACHE = ROOT / "build" / "lenet"


def lenet_300_100() -> Any:
    """Return the network of two hidden layers: 266,610 parameters."""
    import keras

    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    x = layers.Flatten()(inputs)
    for units in (300, 100):
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="lenet_300_100")


def lenet_5() -> Any:
    """Return Caffe's LeNet-5, whose convolutions have no activation: 431,080 parameters."""
    import keras

    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    x = layers.MaxPooling2D()(layers.Conv2D(20, 5, name="conv1")(inputs))
    x = layers.MaxPooling2D()(layers.Conv2D(50, 5, name="conv2")(x))
    x = layers.Dense(500, activation="relu", name="fc")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="lenet_5")


def shifted(batch: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Shift each image by up to one pixel each way."""
    (x,) = batch
    count, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    down, right = rng.integers(0, 3, (2, count))
    rows = (down[:, None] + np.arange(height))[:, :, None]
    columns = (right[:, None] + np.arange(width))[:, None, :]
    return (padded[np.arange(count)[:, None, None], rows, columns],)


def arguments(text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all of these benchmarks have."""
    parser = argparse.ArgumentParser(description=text)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--cache", type=Path, default=CACHE)
    return parser


def mnist(shared: Path) -> tuple[Split, Split, Split]:
    """Return training, validation (the last 5,000 training images) and test images."""
    folder = shared / "data" / "mnist"
    x, y = images(folder, "train")
    test_x, test_y = images(folder, "t10k")
    train = Split((x[:-HELD_OUT],), y[:-HELD_OUT])
    return train, Split((x[-HELD_OUT:],), y[-HELD_OUT:]), Split((test_x,), test_y)


def trained(make: Any, splits: tuple[Split, ...], epochs: int, cache: Path) -> tuple[Any, Context]:
    """Return the trained network, and the context in which it is compressed."""
    import dataclasses

    import keras

    keras.utils.set_random_seed(0)
    model = make()
    setup = TrainingSetup(learning_rate=2e-3, augment=shifted, distillation=None)
    context = Context(*splits[:2], model, setup, checkpoints=cache)
    model = fine_tune(State(model), context, epochs=epochs).model
    setup = TrainingSetup(learning_rate=3e-3, augment=shifted)
    return model, dataclasses.replace(context, teacher=model, setup=setup)


def error(model: Any, split: Split) -> float:
    """Return the share of wrong classes."""
    return 1.0 - quality(model, split, model).value
