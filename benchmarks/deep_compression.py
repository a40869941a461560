"""Deep Compression's LeNet-300-100 on MNIST (Han et al. 2016): sparsify, cluster, Huffman.

Han: 1,070 KB to 27 KB (40x), test error 1.64 % to 1.58 %. The bar is 60x at no more than 1.64 %.
Sizes are real bytes: float32 weights against ``edgebuild.compress.huffman.pack``, unpacked again
for the test. The last 5,000 training images are the validation split; the test set is looked at
once.

    python benchmarks/deep_compression.py [--shared ../shared] [--epochs 30]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from accuracy import images

from edgebuild.compress.base import Context, State, run_pass
from edgebuild.compress.cluster import Cluster
from edgebuild.compress.huffman import pack_model, unpack
from edgebuild.compress.quality import quality
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.sparsify import Sparsify
from edgebuild.compress.splits import Split
from edgebuild.compress.training import clone

ROOT = Path(__file__).resolve().parent.parent
BAR_RATIO, BAR_ERROR = 60.0, 0.0164


def train(x: np.ndarray, y: np.ndarray, epochs: int) -> object:
    """Train LeNet-300-100."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((28, 28, 1))
    hidden = layers.Flatten()(inputs)
    for units in (300, 100):
        hidden = layers.Dense(units, activation="relu")(hidden)
        hidden = layers.Dropout(0.2)(hidden)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(hidden))
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, epochs * (len(x) // 128))
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=128, epochs=epochs, verbose=0)
    return model


def main() -> None:
    """Print each step's figures, then bytes, ratio and error beside the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    start = time.perf_counter()
    folder = options.shared / "data" / "mnist"
    x, y = images(folder, "train")
    model = train(x[:-5000], y[:-5000], options.epochs)
    splits = Split((x[:-5000],), y[:-5000]), Split((x[-5000:],), y[-5000:])
    context = Context(*splits, model, TrainingSetup())
    state = State(model)
    epochs = options.epochs
    for step in (Sparsify(0.945, steps=6, epochs=epochs), Cluster(bits=3, epochs=epochs // 3)):
        result = run_pass(step, state, context)
        state = result.state
        print(f"{step.name:10} validation error {1 - result.quality[1].value:.2%}")
    packed = pack_model(state)
    final = clone(state.model)
    weights = unpack(packed)
    for variable in final.weights:
        if variable.path in weights:
            variable.assign(weights[variable.path])
    test = Split(*(lambda a, b: ((a,), b))(*images(folder, "t10k")))
    plain = 4 * sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    before, after = (1 - quality(m, test, model).value for m in (model, final))
    ratio = plain / len(packed)
    print(f"float32 {plain:,} B, packed {len(packed):,} B")
    print(f"ratio {ratio:.1f}x (bar {BAR_RATIO:g}x, Han 40x)")
    print(f"test error {before:.2%} to {after:.2%} (bar {BAR_ERROR:.2%})")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
