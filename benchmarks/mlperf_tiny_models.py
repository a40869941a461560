"""MLPerf Tiny's two models that are known by their shapes alone, and variants of all six.

Keras makes them with fixed seeds: random weights, and batch normalization that keeps every channel
alive. edgebuild quantizes them, once: ``build/mlperf_tiny`` keeps the result for each version of
what makes it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edgebuild.files import atomic_write  # noqa: E402
from edgebuild.models.convert import to_int8_tflite  # noqa: E402
from edgebuild.models.data import load_data  # noqa: E402
from edgebuild.models.source import open_model  # noqa: E402
from edgebuild.toolchain.cache import cache_key  # noqa: E402
from tests import made_models  # noqa: E402

KEPT = ROOT / "build" / "mlperf_tiny"
PUBLIC = ("ad01", "resnet8", "kws", "vww96")
"""Models whose files are public."""
MODELS = (*PUBLIC, "str_ww", "ic02")


def str_ww(frames: int = 30, bands: int = 40, width: int = 128, strides: int = 1) -> Any:
    """Return the streaming wake word: convolutions over time, each first by channel."""
    import keras

    x = sound = keras.Input((frames, 1, bands), batch_size=1)
    for taps, channels in ((3, width), (5, width), (10, width), (None, width // 4)):
        window = (taps or x.shape[1], 1)
        x = keras.layers.DepthwiseConv2D(window, strides=strides if taps == 3 else 1)(x)
        x = made_models.normalized(keras.layers.Conv2D(channels, 1)(x))
    return keras.Model(sound, made_models.classifier(x, 3))


BUILDERS: Mapping[str, Callable[..., Any]] = {
    **made_models.BUILDERS,
    "str_ww": str_ww,
    "ic02": partial(made_models.resnet8, width=40),
}

VARIANTS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "ad01": ({"width": 96}, {"width": 200}, {"size": 400}, {"code": 16}),
    "resnet8": ({"width": 12}, {"width": 24}, {"size": 24}, {"size": 45}),
    "kws": ({"width": 48}, {"width": 84}, {"size": (98, 12)}, {"strides": (1, 1)}),
    "vww96": ({"width": 6}, {"width": 16}, {"size": 64}, {"size": 120}),
    "str_ww": ({"width": 96}, {"width": 172}, {"frames": 49, "bands": 64}, {"strides": 2}),
    "ic02": ({"width": 32}, {"width": 52}, {"size": 24}, {"size": 45}),
}
"""Other widths, sizes and strides of each."""


def made(name: str, **changes: Any) -> Path:
    """Return the int8 ``.tflite`` of a model with these changes, which Keras makes if need be."""
    changed = "".join(f"-{key}-{value}" for key, value in changes.items())
    sources = [Path(path).read_bytes() for path in (__file__, str(made_models.__file__))]
    versions = [f"{tool} {metadata.version(tool)}" for tool in ("tensorflow", "keras")]
    path = KEPT / cache_key([*sources, *versions])[:16] / f"{name}{changed}.tflite"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, _quantized(partial(BUILDERS[name], **changes), MODELS.index(name)))
    return path


def _quantized(build: Callable[[], Any], seed: int) -> bytes:
    import numpy as np

    model = made_models.fitted(build, seed)
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder) / "model.keras", Path(folder) / "data.npy"
        model.save(path)
        np.save(data, made_models.images(model, 32, seed=2))
        source = open_model(path)
        try:
            return to_int8_tflite(source, load_data(data, source), seed=seed).model
        finally:
            source.close()
