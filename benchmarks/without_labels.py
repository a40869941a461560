"""MLPerf Tiny's ad01 and resnet8 from their .h5, pruned by half and quantized without labels.

What they learn from is the original, on noise (``--data random``) and on inputs of the kind that
they take: for ad01 smooth spectra of five frames between -85 and 15 dB, for resnet8 pieces of
photographs. Similarity to the original is 1 less the noise-to-signal ratio of the
outputs, agreement the share of equal classes, on samples that were held out. Every build is run on
the simulator, which must give the bytes that tflite-micro gives.

    python benchmarks/without_labels.py [--shared ../shared]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import edgebuild

ROOT = Path(__file__).resolve().parent.parent
COUNT = 12_000
RECIPES = ("quantize", "prune:by=macs,ratio=0.5,steps=3,epochs=30,quantize")


def spectra(_: Path) -> np.ndarray:
    """Return (samples, 640): five frames of 128 bands in dB, of twelve smooth shapes and noise."""
    rng = np.random.default_rng(0)
    bands = np.arange(128) / 128
    shapes = [np.cos(np.pi * order * bands) / (1 + order) for order in range(12)]
    weights = rng.normal(0.0, 12.0, (COUNT, 5, 12))
    weights = 0.2 * weights + 0.8 * weights[:, :1]
    x = -30.0 - 15.0 * bands + weights @ np.array(shapes) + rng.normal(0, 2, (COUNT, 5, 128))
    return np.clip(x, -85.0, 15.0).reshape(COUNT, 640).astype(np.float32)


def pictures(_: Path) -> np.ndarray:
    """Return (samples, 32, 32, 3), 0 to 255: pieces of scikit-learn's two photographs, 32 to 256
    pixels wide, made small."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    pieces = []
    for _ in range(COUNT):
        photo = photos[rng.integers(len(photos))]
        side = int(2 ** rng.uniform(5, 8))
        left, top = (int(rng.integers(length - side)) for length in photo.size)
        box = (left, top, left + side, top + side)
        pieces.append(np.asarray(photo.resize((32, 32), Image.Resampling.BOX, box)))
    return np.array(pieces, np.float32)


JOBS: tuple[tuple[str, Callable[[Path], np.ndarray]], ...] = (
    ("ad01", spectra),
    ("resnet8", pictures),
)


def main() -> int:
    """Print a line for each model, data and recipe; return 1 when bytes differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=shared)
    options = parser.parse_args()
    differ = 0
    print(f"{'model':8}{'learns from':12}{'MACs':>11}{'flash':>10}{'int8':>9}  what, on the data")
    for name, make in JOBS:
        with tempfile.TemporaryDirectory() as folder:
            given = Path(folder) / "given.npz"
            np.savez(given, x=make(options.shared))
            for data in ("random", str(given)):
                for recipe in RECIPES:
                    start = time.perf_counter()
                    report = edgebuild.build(
                        options.shared / "models" / "mlperf_tiny" / f"{name}.h5",
                        target="cortex-m4",
                        data=data,
                        compress=recipe,
                        out=Path(folder) / "out",
                    )
                    assert report.comparison is not None and report.similarity is not None
                    differ += not report.comparison.equal
                    (found,) = report.similarity.outputs
                    macs = report.compression[-1].cost[1].macs
                    print(
                        f"{name:8}{'noise' if data == 'random' else 'inputs':12}{macs:11,}"
                        f"{report.metrics.flash_bytes.value:10,.0f}"
                        f"{found.value:9.2%}  {found.measure}"
                        f" ({time.perf_counter() - start:.0f} s)",
                        flush=True,
                    )
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
