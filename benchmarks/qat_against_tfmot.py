"""Quantization-aware training here and in tensorflow-model-optimization, from the same float net.

A narrow net with a residual and a depthwise block (``tfmot_train.net``) is trained in float on
Fashion-MNIST; both sides train on with the same samples, epochs, batches, optimizer and rates.
Prints test accuracies of what is shipped, the int8 ``.tflite``, in percent.

tfmot knows only legacy Keras, so it has an environment of its own, made at the first run.

    python benchmarks/qat_against_tfmot.py [--shared ../shared] [--environment build/tfmot-venv]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import images
from tfmot_train import named_weights, net

from edgebuild.compress.base import Context, State
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.compress.qat import RATE
from edgebuild.compress.quality import predict
from edgebuild.compress.quantize import Quantize, draw
from edgebuild.compress.run import ENVIRONMENT
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tensorflow==2.16.*", "tf-keras==2.16.*", "tensorflow-model-optimization==0.8.*")
SAMPLES, BATCH, CALIBRATION = 20_000, 128, 200
FLOAT_EPOCHS = 6


def tfmot_python(folder: Path) -> Path:
    """Return the Python that has tfmot, installed below ``folder`` where it is not yet."""
    python = folder / "bin" / "python"
    check = [str(python), "-c", "import tensorflow_model_optimization"]
    there = python.exists() and subprocess.run(check, capture_output=True).returncode == 0
    if not there:
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


def trained(x: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """Return the float net."""
    import keras

    keras.utils.set_random_seed(seed)
    model = net(keras)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, FLOAT_EPOCHS * (len(x) // BATCH))
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=BATCH, epochs=FLOAT_EPOCHS, verbose=0)
    return model


def with_tfmot(python: Path, model: Any, split: Split, epochs: int, rate: float) -> bytes:
    """Return the int8 ``.tflite`` that tfmot makes of the float net."""
    samples = split.take(draw(len(split), CALIBRATION, 0)).x[0]
    with tempfile.TemporaryDirectory(prefix="edgebuild-tfmot-") as name:
        job, out = Path(name) / "job.npz", Path(name) / "out.tflite"
        arrays = {"x": split.x[0], "y": split.y, "samples": samples, **named_weights(model)}
        np.savez(job, epochs=epochs, learning_rate=rate, batch=BATCH, seed=0, **arrays)
        script = Path(__file__).with_name("tfmot_train.py")
        environment = {**os.environ, **ENVIRONMENT, "TF_USE_LEGACY_KERAS": "1"}
        command = [str(python), str(script), str(job), str(out)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"tfmot failed:\n{run.stderr[-2000:]}")
        return out.read_bytes()


def main() -> None:
    """Print a row for each seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "tfmot-venv")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    python = tfmot_python(options.environment)
    os.environ.update(ENVIRONMENT)
    folder = options.shared / "data" / "fashion_mnist"
    x, y = images(folder, "train")
    train, held = Split((x[:SAMPLES],), y[:SAMPLES]), Split((x[-2000:],), y[-2000:])
    test_x, test_y = images(folder, "t10k")

    def accuracy(output: np.ndarray) -> float:
        return 100.0 * float(np.mean(output.argmax(axis=-1) == test_y))

    rows = []
    setup = TrainingSetup(batch_size=BATCH, distillation=None)
    rate = setup.learning_rate * RATE
    print(f"{'seed':>4} {'float':>7} {'after':>7} {'here':>7} {'tfmot':>7}")
    for seed in range(options.seeds):
        model = trained(*(train.x[0], y[:SAMPLES]), seed)
        context = Context(train, held, model, setup)
        files = []
        for epochs in (0, options.epochs):
            step = Quantize(epochs=epochs, samples=CALIBRATION)
            state, notes = step.apply(State(model), context)
            files.append(state.flatbuffer or b"")
        files.append(with_tfmot(python, model, train, options.epochs, rate))
        found = [accuracy(run_reals(content, (test_x,))[0]) for content in files]
        rows.append([accuracy(predict(model, (test_x,))), *found])
        print(f"{seed:>4} " + " ".join(f"{value:7.2f}" for value in rows[-1]), flush=True)
        print(f"     here: {notes[-1]}", flush=True)
    print("mean " + " ".join(f"{value:7.2f}" for value in np.mean(rows, axis=0)))
    print("float; after: calibrated after training; here and tfmot: trained with int8")


if __name__ == "__main__":
    main()
