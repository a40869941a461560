"""How long it takes to judge a model on MNIST's 10,000 test images: float, int8, generated C.

Trains a LeNet-5 for one epoch, then times what ``edgebuild build`` does with labels.

    python benchmarks/accuracy.py [--shared ../shared]
"""

from __future__ import annotations

import argparse
import gzip
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from edgebuild.judging import judge_outputs
from edgebuild.models.convert import to_int8_tflite
from edgebuild.models.data import load_data
from edgebuild.models.source import open_model
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.pipeline.steps import LazyHost
from edgebuild.tflite.reader import read_tflite
from edgebuild.verification import GeneratedC, LiteRt

ROOT = Path(__file__).resolve().parent.parent
BAR_S = 10.0


def images(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of MNIST: float32 [n, 28, 28, 1] in 0..1, and labels."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)
    return (x / 255).astype(np.float32), y.astype(np.int64)


def train(folder: Path, x: np.ndarray, y: np.ndarray) -> Path:
    """Train a LeNet-5 (20-50-500-10) for one epoch."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(500, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=256, epochs=1, verbose=0)
    model.save(folder / "lenet5.keras")
    return folder / "lenet5.keras"


def main() -> None:
    """Print the figures, the seconds and the ratio to the bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    folder = parser.parse_args().shared / "data" / "mnist"
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        path = train(scratch, *images(folder, "train"))
        x, y = images(folder, "t10k")
        np.savez(scratch / "test.npz", x=x, y=y)
        source = open_model(path)
        data = load_data("test.npz", source, folder=scratch, seed=0)
        model = to_int8_tflite(source, data, samples=200, seed=0).model
        graph = run_passes(read_tflite(model, name="lenet5"), DEFAULT_PASSES).graph
        host = LazyHost(graph, "lenet5", "zig", scratch, lambda _: None)
        start = time.perf_counter()
        engine = GeneratedC(graph, lambda: host.device)
        report = judge_outputs(source, graph, data, engine, reference=LiteRt(model)).accuracy
        seconds = time.perf_counter() - start
        source.close()
    assert report is not None
    for figure in (report.float_baseline, report.int8_reference, report.shipped):
        assert figure is not None
        print(f"{figure.source:28} {figure.value:.2%}")
    print(
        f"{'seconds, compiling included':28} {seconds:.1f} (bar {BAR_S:g}): {seconds / BAR_S:.2f}"
    )


if __name__ == "__main__":
    main()
