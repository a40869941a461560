"""MLPerf Tiny's ad01 and resnet8 from their .h5, pruned by half and quantized without labels.

What they learn from is the original, on inputs of the kind that they take: for ad01 smooth spectra
of five frames between -85 and 15 dB, and noise (``--data random``), for resnet8 pieces of eight
photographs that scikit-image, scikit-learn and matplotlib carry, and inputs that it tells itself
(``edgebuild synthesize``). Similarity to the original is 1
less the noise-to-signal ratio of the outputs, agreement the share of equal classes, on samples that
were held out (of resnet8: other pieces of the same photographs). Every build is run on the
simulator, which must give the bytes that tflite-micro gives.

    python benchmarks/without_labels.py [--shared ../shared] [--only resnet8]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import edgebuild
from edgebuild.compress.ptq.artifact import run_reals
from edgebuild.models.keras_file import load_keras_model
from edgebuild.models.likeness import Likeness, likeness
from edgebuild.report.model import Report

ROOT = Path(__file__).resolve().parent.parent
SPECTRA, PIECES, PUBLISHED = 12_000, 60_000, 3_000
PHOTOS = {
    "skimage": ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    "sklearn": ("china.jpg", "flower.jpg"),
    "matplotlib": ("grace_hopper.jpg",),
}
FOLDERS = {"skimage": "data", "sklearn": "datasets/images", "matplotlib": "mpl-data/sample_data"}


def patiently() -> dict[str, object]:
    """Return the training of resnet8: many small steps."""
    return {"learning_rate": 0.002, "batch_size": 32}


def carefully() -> dict[str, object]:
    """Return the training of a resnet8 that has all of its channels: it is near where it was."""
    return {"learning_rate": 0.0005, "batch_size": 32}


@dataclass(frozen=True)
class Recipe:
    """What is built, and how it is trained."""

    text: str
    training: str | None = None


@dataclass(frozen=True)
class Job:
    """A model, how to make the inputs that it is judged on, and what to build from it, by what it
    learns from: ``noise``, such ``inputs``, or ``itself``, inputs that it tells."""

    model: str
    make: Callable[[], np.ndarray]
    recipes: Mapping[str, tuple[Recipe, ...]]


def spectra() -> np.ndarray:
    """Return (samples, 640): five frames of 128 bands in dB, of twelve smooth shapes and noise."""
    rng = np.random.default_rng(0)
    bands = np.arange(128) / 128
    shapes = [np.cos(np.pi * order * bands) / (1 + order) for order in range(12)]
    weights = rng.normal(0.0, 12.0, (SPECTRA, 5, 12))
    weights = 0.2 * weights + 0.8 * weights[:, :1]
    x = -30.0 - 15.0 * bands + weights @ np.array(shapes) + rng.normal(0, 2, (SPECTRA, 5, 128))
    return np.clip(x, -85.0, 15.0).reshape(SPECTRA, 640).astype(np.float32)


def photographs() -> list[Image.Image]:
    """Return the photographs, in a fixed order."""
    found = []
    for package, names in PHOTOS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is needed for its photographs: pip install {package}")
        folder = Path(spec.origin).parent / FOLDERS[package]
        found += [Image.open(folder / name).convert("RGB") for name in names]
    return found


def pictures() -> np.ndarray:
    """Return (samples, 32, 32, 3), 0 to 255: square pieces of photographs, from 128 pixels wide to
    all of the shorter side, made small; half of them mirrored."""
    rng = np.random.default_rng(0)
    photos = photographs()
    pieces = []
    for _ in range(PIECES):
        photo = photos[rng.integers(len(photos))]
        side = min(int(2 ** rng.uniform(7, 9)), *(length - 1 for length in photo.size))
        left, top = (int(rng.integers(length - side)) for length in photo.size)
        box = (left, top, left + side, top + side)
        piece = np.asarray(photo.resize((32, 32), Image.Resampling.BOX, box))
        pieces.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return np.array(pieces, np.float32)


_HALF_AD01 = "prune:by=macs,ratio=0.5,steps=3,epochs=30,quantize"
_HALF_RESNET8 = "prune:by=macs,ratio=0.5,epochs=5,quantize:calibration=mse"
_SPARSE_RESNET8 = (
    "sparsify:sparsity=0.5,epochs=8,quantize:calibration=mse,rounding=adaround,samples=400"
)
JOBS = (
    Job(
        "ad01",
        spectra,
        {
            "noise": (Recipe("quantize"), Recipe(_HALF_AD01)),
            "inputs": (Recipe("quantize"), Recipe(_HALF_AD01)),
        },
    ),
    Job(
        "resnet8",
        pictures,
        {
            "itself": (
                Recipe("quantize"),
                Recipe("sparsify:sparsity=0.25,steps=1,epochs=0,quantize"),
            ),
            "inputs": (
                Recipe("quantize:calibration=mse"),
                Recipe(_SPARSE_RESNET8, "without_labels:carefully"),
                Recipe(_HALF_RESNET8, "without_labels:patiently"),
            ),
        },
    ),
)


def main() -> int:
    """Print a line for each model, data and recipe; return 1 when bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    parser.add_argument("--only", choices=[job.model for job in JOBS])
    options = parser.parse_args()
    print(
        f"{'model':8}{'learns from':12}{'MACs':>11}{'not zero':>9}{'flash':>10}"
        f"{'int8':>9}  what, on the data"
    )
    differ = 0
    for job in JOBS:
        if options.only in (None, job.model):
            with tempfile.TemporaryDirectory() as folder:
                differ += run(job, options.shared, Path(folder))
    return 1 if differ else 0


def run(job: Job, shared: Path, folder: Path) -> int:
    """Build all of a job; return how many builds give other bytes than tflite-micro."""
    model = shared / "models" / "mlperf_tiny" / f"{job.model}.h5"
    given, told = folder / "given.npz", folder / "told.npz"
    x = job.make()
    np.savez(given, x=x)
    found = published(model, x[:PUBLISHED])
    print(
        f"{job.model:8}MLPerf Tiny's own int8 file, on inputs: {found.value:.2%}  {found.measure}"
    )
    if "itself" in job.recipes:
        edgebuild.synthesize(model, out=told, limits=(0.0, 255.0))
    # What it learns from, and what it is judged on where that is something else.
    data = {
        "noise": {"data": "random"},
        "inputs": {"data": str(given)},
        "itself": {"data": str(given), "train": str(told)},
    }
    differ = 0
    for source, recipes in job.recipes.items():
        for recipe in recipes:
            start = time.perf_counter()
            report = edgebuild.build(
                model,
                target="cortex-m4",
                compress=recipe.text,
                training=recipe.training,
                data_folder=Path(__file__).parent,
                out=folder / "out",
                **data[source],
            )
            assert report.comparison is not None and report.similarity is not None
            differ += not report.comparison.equal
            (found,) = report.similarity.outputs
            last = report.compression[-1].cost[1]
            print(
                f"{job.model:8}{source:12}{last.macs:11,}{_nonzero(report):9,}"
                f"{report.metrics.flash_bytes.value:10,.0f}"
                f"{found.value:9.2%}  {found.measure}"
                f" ({time.perf_counter() - start:.0f} s)",
                flush=True,
            )
    return differ


def published(model: Path, x: np.ndarray) -> Likeness:
    """Return how MLPerf Tiny's own int8 file is like the ``.h5`` on ``x`` (samples, ...)."""
    (outputs,) = run_reals(model.with_name(f"{model.stem}_int8.tflite").read_bytes(), [x])
    original = load_keras_model(model, "h5", trust=False)
    return likeness(outputs, np.asarray(original.predict(x, verbose=0)))


def _nonzero(report: Report) -> int:
    """Return how many weights are not zero before quantization."""
    return report.compression[-1].cost[0].nonzero


if __name__ == "__main__":
    sys.exit(main())
