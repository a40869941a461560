"""Two networks on Fashion-MNIST: int8 after training, int8 in training, half the MACs and int8.

A residual network and one in the style of MobileNetV1, both with batch normalization. Bars, in
points of test accuracy below the float network: 0.3 for post-training quantization, 0.1 for
quantization-aware training, 0.5 for structured pruning to half the MACs with int8.

The last 10,000 training images are the validation split, on which settings are chosen; the test set
is looked at once for each row, through LiteRT where numbers are int8. Trained networks and
checkpoints are kept in --cache: a run that was stopped goes on. --short is a smoke run, whose
figures mean nothing.

    python benchmarks/fashion_mnist.py [--data ../shared/data/fashion_mnist] [--cache DIR] [--short]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
HELD_OUT = 10_000
SHORT = 1_000
"""Samples of each split of a smoke run."""
RATE = 3e-3
"""Learning rate of float networks; training with int8 takes the default."""


class Way(NamedTuple):
    """A row of the table: ``bar`` is the most points of test accuracy that it may lose."""

    name: str
    recipe: str
    bar: float
    setup: TrainingSetup


def ways(epochs: int) -> tuple[Way, ...]:
    """Return the rows; ``epochs`` are the float network's."""
    half = f"prune:by=macs,ratio=0.5,steps=3,epochs={2 * epochs}"
    tuning = TrainingSetup(augment=varied)
    # Learning rate as high as at first (Renda et al. 2020).
    again = dataclasses.replace(tuning, learning_rate=RATE)
    return (
        Way("int8 after training", "quantize", 0.3, tuning),
        Way("int8 in training", f"quantize:epochs={max(1, epochs // 4)}", 0.1, tuning),
        Way("half the MACs, int8", f"{half},quantize", 0.5, again),
    )


def residual() -> Any:
    """Return a residual network of three stages."""
    import keras

    layers = keras.layers
    inputs = keras.Input((28, 28, 1))

    def convolution(x: Any, filters: int, size: int, strides: int) -> Any:
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    x = layers.ReLU()(convolution(inputs, 12, 3, 1))
    for filters, strides in ((12, 2), (24, 2), (48, 2)):
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
        model = make()
        context = dataclasses.replace(context, teacher=model)  # asked only for its outputs' kind
        model = fine_tune(State(model), context, epochs=epochs).model
        file.parent.mkdir(parents=True, exist_ok=True)
        model.save(file)
    return open_original(file, "keras", trust=False, seed=0)


def splits_of(folder: Path, short: bool) -> tuple[Split, Split, Split]:
    """Return the training, validation and test images."""
    x, y = images(folder, "train")
    xt, yt = images(folder, "t10k")
    splits = (
        Split((x[:-HELD_OUT],), y[:-HELD_OUT]),
        Split((x[-HELD_OUT:],), y[-HELD_OUT:]),
        Split((xt,), yt),
    )
    if short:
        return tuple(split.first(SHORT) for split in splits)  # type: ignore[return-value]
    return splits


def run(model: Any, way: Way, context: Context, test: Split, before: float) -> bool:
    """Print the row of one way; return whether its bar is met."""
    start = time.perf_counter()
    context = dataclasses.replace(context, setup=way.setup)
    state, steps = apply_recipe(parse_recipe(way.recipe), context)
    seconds = time.perf_counter() - start
    for note in (note for step in steps for note in step.notes):
        context.progress(note)  # whether training with int8 was kept, what layers lost
    cost = model_cost(state.model)
    assert state.flatbuffer is not None
    after = state_quality(state, test, model).value
    drop = 100 * (before - after)
    validated = 100 * (steps[0].quality[0].value - steps[-1].quality[1].value)
    met = round(drop, 6) <= way.bar
    print(
        f"{model.name:10}{way.name:21}{cost.macs:10,}{cost.parameters:8,}{len(state.flatbuffer):9,}"
        f"{before:8.2%}{after:8.2%}{drop:+7.2f}{validated:+7.2f}{way.bar:5.1f}"
        f" {'ok' if met else 'MISSED'} ({seconds:.0f} s)",
        flush=True,
    )
    return met


def compare(make: Callable[[], Any], splits: tuple[Split, Split, Split], options: Any) -> int:
    """Train or load one network, print its rows, return how many bars it misses."""

    def tell(text: str) -> None:
        print(f"{make.__name__}: {text}", file=sys.stderr, flush=True)

    train, validation, test = splits
    cache = options.cache / ("short" if options.short else f"{options.epochs}")
    alone = TrainingSetup(learning_rate=RATE, augment=varied, distillation=None)
    folders = {"checkpoints": cache / "checkpoints", "progress": tell}
    context = Context(train, validation, None, alone, **folders)
    model = trained(make, context, options.epochs, cache / f"{make.__name__}.keras")
    context = dataclasses.replace(context, teacher=model)
    before = state_quality(State(model), test, model).value
    cost = model_cost(model)
    print(
        f"{model.name:10}{'float':21}{cost.macs:10,}{cost.parameters:8,}{cost.bytes:9,}{before:8.2%}",
        flush=True,
    )
    return sum(not run(model, way, context, test, before) for way in ways(options.epochs))


def main() -> int:
    """Print a row for each network and way; return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--data", type=Path, default=shared / "data" / "fashion_mnist")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "fashion_mnist")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--only", choices=("residual", "mobile"))
    parser.add_argument("--short", action="store_true", help="a smoke run: no bar is held")
    options = parser.parse_args()
    if options.short:
        options.epochs = 2
    splits = splits_of(options.data, options.short)
    print(
        f"{'network':10}{'way':21}{'MACs':>10}{'params':>8}{'bytes':>9}{'float':>8}{'int8':>8}"
        f"{'drop':>7}{'valid.':>7}{'bar':>5}"
    )
    missed = sum(
        compare(make, splits, options)
        for make in (residual, mobile)
        if options.only in (None, make.__name__)
    )
    return 1 if missed and not options.short else 0


if __name__ == "__main__":
    sys.exit(main())
