"""Two networks on Fashion-MNIST: int8 after training, int8 in training, half the MACs and int8.

A residual network and one in the style of MobileNetV1, both with batch normalization. Bars, in
points of test accuracy below the float network: 0.3 for post-training quantization, 0.1 for
quantization-aware training, 0.5 for structured pruning to half the MACs with int8.

The last 5,000 training images are the validation split; the test set is looked at once for each
row. Trained networks are kept in --cache.

    python benchmarks/fashion_mnist.py [--shared ../shared] [--cache DIR] [--epochs 24]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgebuild.compress.run import ENVIRONMENT

os.environ.update(ENVIRONMENT)

import numpy as np
from accuracy import images

from edgebuild.compress.apply import apply_recipe, open_original
from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import model_cost
from edgebuild.compress.quality import state_quality
from edgebuild.compress.recipe import parse_recipe
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.compress.training import fine_tune

ROOT = Path(__file__).resolve().parent.parent
HELD_OUT = 5000


def residual() -> Any:
    """Return a residual network of three stages."""
    import keras

    layers = keras.layers
    inputs = keras.Input((28, 28, 1))

    def convolution(x: Any, filters: int, size: int, strides: int) -> Any:
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    x = layers.ReLU()(convolution(inputs, 16, 3, 1))
    for filters, strides in ((16, 2), (32, 2), (64, 2)):
        y = layers.ReLU()(convolution(x, filters, 3, strides))
        y = convolution(y, filters, 3, 1)
        x = layers.ReLU()(layers.Add()([y, convolution(x, filters, 1, strides)]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="residual")


def mobile() -> Any:
    """Return depthwise separable blocks, as in MobileNetV1."""
    import keras

    layers = keras.layers
    inputs = keras.Input((28, 28, 1))

    def normalized(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization()(x))

    x = normalized(layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(inputs))
    for filters, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        x = normalized(layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x))
        x = normalized(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="mobile")


def varied(batch: tuple[np.ndarray, ...], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Shift by up to two pixels, and mirror half of the images."""
    (x,) = batch
    count, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    down, right = rng.integers(0, 5, (2, count))
    rows = (down[:, None] + np.arange(height))[:, :, None]
    columns = np.arange(width)[None] + np.zeros((count, 1), int)
    mirrored = rng.random(count) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    columns = (right[:, None] + columns)[:, None, :]
    return (padded[np.arange(count)[:, None, None], rows, columns],)


def trained(make: Callable[[], Any], context: Context, epochs: int, file: Path) -> Any:
    """Return the float network, from the cache where it is there."""
    import keras

    if not file.is_file():
        keras.utils.set_random_seed(0)
        model = fine_tune(State(make()), context, epochs=epochs).model
        file.parent.mkdir(parents=True, exist_ok=True)
        model.save(file)
    return open_original(file, "keras", trust=False, seed=0)


def main() -> int:
    """Print a row for each network and way; return 1 when a bar is missed."""
    import dataclasses

    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "fashion_mnist")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--only", choices=("residual", "mobile"))
    options = parser.parse_args()
    folder = options.shared / "data" / "fashion_mnist"
    x, y = images(folder, "train")
    test = Split(*(lambda a, b: ((a,), b))(*images(folder, "t10k")))
    splits = (
        Split((x[:-HELD_OUT],), y[:-HELD_OUT]),
        Split((x[-HELD_OUT:],), y[-HELD_OUT:]),
    )
    half = f"prune:by=macs,ratio=0.5,steps=3,epochs={options.epochs // 2}"
    rows = (
        ("int8 after training", "quantize", 0.3),
        ("int8 in training", f"quantize:epochs={max(1, options.epochs // 4)}", 0.1),
        ("half the MACs, int8", f"{half},quantize", 0.5),
    )
    missed = 0
    print(f"{'network':10}{'way':22}{'MACs':>11}{'bytes':>10}{'test':>9}{'drop':>7}{'bar':>6}")
    for make in (residual, mobile):
        if options.only not in (None, make.__name__):
            continue
        alone = TrainingSetup(learning_rate=3e-3, augment=varied, distillation=None)
        checkpoints = options.cache / "checkpoints"
        context = Context(*splits, make(), alone, checkpoints=checkpoints)
        model = trained(make, context, options.epochs, options.cache / f"{make.__name__}.keras")
        setup = dataclasses.replace(TrainingSetup(), learning_rate=1e-3, augment=varied)
        context = Context(*splits, model, setup, checkpoints=checkpoints)
        before = state_quality(State(model), test, model).value
        cost = model_cost(model)
        print(f"{make.__name__:10}{'float':22}{cost.macs:11,}{cost.bytes:10,}{before:9.2%}")
        for way, recipe, bar in rows:
            start = time.perf_counter()
            state, _ = apply_recipe(parse_recipe(recipe), context)
            cost = model_cost(state.model)
            size = len(state.flatbuffer or b"")
            after = state_quality(state, test, model).value
            drop = 100 * (before - after)
            missed += drop > bar
            verdict = "MISSED" if drop > bar else "ok"
            print(
                f"{make.__name__:10}{way:22}{cost.macs:11,}{size:10,}{after:9.2%}{drop:+7.2f}"
                f"{bar:6.1f} {verdict} ({time.perf_counter() - start:.0f} s)",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
