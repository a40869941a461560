"""The search: budgets met or proved too small, an exhaustive sweep beside it, 40 trials on digits.

Three small networks on MNIST (14 x 14 pixels, 8,000 training and 2,000 test images), four budgets
each, tight ones and impossible ones among them. Of each winner the cost that the search predicted
is compared with the finished build: flash and RAM must be equal, cycles within 10 %. For three
budgets of the first network every size of its layers is trained: the search's choice must be within
0.5 points of the best that fits.

    python benchmarks/search.py [--shared ../shared] [--only cases|sweep|digits]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import images

from edgebuild.budget import Budget
from edgebuild.compress.run import ENVIRONMENT
from edgebuild.errors import CheckFailedError
from edgebuild.pipeline.plan import BuildRequest, make_plan
from edgebuild.search import Effort, SearchRequest, build_within_budget
from edgebuild.search.problem import Task
from edgebuild.search.request import open_problem

os.environ.update(ENVIRONMENT)
ROOT = Path(__file__).resolve().parent.parent
EFFORT = Effort(trials=18, epochs=12, short_epochs=2)
KIB = 1024


def networks() -> dict[str, Any]:
    """Return the three networks, untrained."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)

    def input_() -> Any:
        return keras.Input((14, 14, 1))

    def output(x: Any) -> Any:
        return layers.Dense(10, activation="softmax")(x)

    mlp = first = input_()
    for units in (24, 16):
        first = layers.Dense(units, activation="relu")(
            layers.Flatten()(first) if first is mlp else first
        )
    cnn = second = input_()
    second = layers.Conv2D(12, 3, padding="same", activation="relu")(second)
    skip = second = layers.MaxPooling2D()(second)
    second = layers.Conv2D(12, 3, padding="same")(second)
    second = layers.ReLU()(layers.Add()([second, skip]))
    second = layers.Conv2D(24, 3, strides=2, activation="relu")(second)
    separable = third = input_()
    third = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(third)
    third = layers.ReLU()(layers.BatchNormalization()(third))
    for filters in (24, 32):
        third = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(third)
        third = layers.ReLU()(layers.BatchNormalization()(third))
        third = layers.Conv2D(filters, 1, use_bias=False)(third)
        third = layers.ReLU()(layers.BatchNormalization()(third))
    third = layers.GlobalAveragePooling2D()(third)
    return {
        "mlp": keras.Model(mlp, output(first)),
        "cnn": keras.Model(cnn, output(layers.Flatten()(second))),
        "separable": keras.Model(separable, output(third)),
    }


CASES = (
    # network, target, flash, RAM, latency in us, whether it can fit
    ("mlp", "cortex-m4", 7_500, None, None, True),
    ("mlp", "cortex-m0plus", 5_600, None, None, True),
    ("mlp", "cortex-m4", None, None, 350.0, True),
    ("mlp", "cortex-m4", 2_500, None, None, False),
    ("cnn", "cortex-m4", 13_000, 2_600, None, True),
    ("cnn", "cortex-m4", None, None, 9_000.0, True),
    ("cnn", "cortex-m33", 11_500, 2_200, None, True),
    ("cnn", "cortex-m4", None, 300, None, False),
    ("separable", "cortex-m4", 12_000, None, 12_000.0, True),
    ("separable", "cortex-m7", 11_000, 3_000, None, True),
    ("separable", "cortex-m3", None, 2_000, 40_000.0, True),
    ("separable", "cortex-m4", None, None, 400.0, False),
)


def prepare(folder: Path, shared: Path) -> None:
    """Write the trained networks and their data."""
    import keras

    def small(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, 14, 2, 14, 2, 1).mean(axis=(2, 4)).astype(np.float32)

    x, y = images(shared / "data" / "mnist", "train")
    test_x, test_y = images(shared / "data" / "mnist", "t10k")
    x, y = small(x[:8000]), y[:8000]
    np.savez(folder / "train.npz", x=x, y=y)
    test_x, test_y = small(test_x[:2000]), test_y[:2000]
    np.savez(folder / "test.npz", x=test_x, y=test_y)
    for name, model in networks().items():
        keras.utils.set_random_seed(0)
        schedule = keras.optimizers.schedules.CosineDecay(4e-3, 15 * 125)
        model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=15, batch_size=64, verbose=0)
        model.save(folder / f"{name}.keras")
        right = model.predict(test_x, verbose=0).argmax(1) == test_y
        print(f"{name}: {right.mean():.2%} as float")


def request(folder: Path, name: str, target: str, budget: Budget, out: str) -> SearchRequest:
    """Return the search of one case."""
    build = BuildRequest(
        folder / f"{name}.keras",
        target,
        data=str(folder / "test.npz"),
        train=str(folder / "train.npz"),
        budget=budget,
        out=folder / out,
    )
    return SearchRequest(build, EFFORT)


def cases(folder: Path) -> Iterator[bool]:
    """Run every case; yield whether it came out right."""
    print(f"{'case':34}{'flash':>8}{'RAM':>7}{'cycles':>10}{'predicted':>10}{'test':>8}  verdict")
    for number, (name, target, flash, ram, latency, can) in enumerate(CASES, 1):
        budget = Budget(flash, ram, latency)
        limits = [f"{v:g}{u}" for v, u in ((flash, "B"), (ram, "B RAM"), (latency, "us")) if v]
        label = f"{number:2} {name} {target[7:]} {' '.join(limits)}"
        start = time.perf_counter()
        wanted = request(folder, name, target, budget, f"case{number}")
        try:
            report = build_within_budget(wanted)
        except CheckFailedError as error:
            right = not can and "cannot fit" in error.message
            print(f"{label:34}  {'ok' if right else 'WRONG'}: {error.message}", flush=True)
            yield right
            continue
        found = json.loads(next((folder / f"case{number}").rglob("search.json")).read_text())
        best, metrics = found["best"], report.metrics
        equal = (metrics.flash_bytes.value, metrics.ram_bytes.value) == (
            best["flash_bytes"],
            best["ram_bytes"],
        )
        cycles, predicted = best["cycles"], best["predicted_cycles"]
        near = abs(predicted / cycles - 1) <= 0.1
        right = can and report.passed and equal and near
        accuracy = report.accuracy.shipped.value
        print(
            f"{label:34}{metrics.flash_bytes.value:8,.0f}{metrics.ram_bytes.value:7,.0f}"
            f"{cycles:10,}{100 * (predicted / cycles - 1):+9.2f}%{accuracy:8.2%}  "
            f"{'ok' if right else 'WRONG'} ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
        yield right


def sweep(folder: Path) -> Iterator[bool]:
    """Train every size of the first network; compare the search's choice for three budgets."""
    from edgebuild.search.evaluate import evaluate

    target = "cortex-m4"
    plan = make_plan(request(folder, "mlp", target, Budget(), "sweep").build)
    problem = open_problem(plan)
    tried = []
    for first in range(4, 25, 4):
        for second in range(4, 17, 4):
            layers = f"dense:{first}+dense_1:{second}" if (first, second) != (24, 16) else ""
            cut = {"pass": "prune", "by": "channels", "ratio": 0.0, "layers": layers}
            recipe = (*([cut] if layers else []), {"pass": "quantize"})
            tried.append(evaluate(problem, Task(recipe, EFFORT.epochs)))
    print(f"sweep of {len(tried)} sizes")
    for share in (0.9, 0.8, 0.7):
        limit = round(share * max(o.flash_bytes or 0 for o in tried))
        best = max(o.quality or 0.0 for o in tried if (o.flash_bytes or 0) <= limit)
        budget = Budget(flash_bytes=limit)
        build_within_budget(request(folder, "mlp", target, budget, f"sweep{share}"))
        found = json.loads(next((folder / f"sweep{share}").rglob("search.json")).read_text())
        quality = found["best"]["quality"]
        right = quality >= best - 0.005
        print(
            f"flash {limit:,} B: search {quality:.2%}, best of the sweep {best:.2%} "
            f"{'ok' if right else 'WRONG'}",
            flush=True,
        )
        yield right


def digits(folder: Path) -> Iterator[bool]:
    """Search 40 trials on the example from the command line."""
    example = ROOT / "examples" / "digits"
    if not (example / "train.npz").is_file():
        subprocess.run([sys.executable, example / "train.py"], check=True)
    command = [
        sys.executable, "-m", "edgebuild", "search", example / "digits.keras",
        "--target", "cortex-m4", "--data", example / "test.npz", "--train", example / "train.npz",
        "--max-flash", "15500", "--max-ram", "3000", "--max-latency", "20ms", "--out", folder,
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    took = time.perf_counter() - start
    print(done.stdout, done.stderr[-2000:])
    print(f"40 trials on digits: {took:.0f} s (bar 600 s)")
    yield done.returncode == 0 and took < 600


def main() -> int:
    """Run the parts; return 1 when one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--only", choices=("cases", "sweep", "digits"))
    options = parser.parse_args()
    parts = {"cases": cases, "sweep": sweep, "digits": digits}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        if options.only != "digits":
            prepare(Path(folder), options.shared)
        for name, part in parts.items():
            if options.only in (None, name):
                results += list(part(Path(folder)))
    print(f"{sum(results)} of {len(results)} right")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
