"""The Keras models of the corpus, by fixed seeds; only ``keras_cases`` imports TensorFlow."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.corpus.files import MICRO, PHONES, Case

Maker = Callable[[Any, Any], Any]


def _image(k: Any, layers: Any, *middle: Any) -> Any:
    head = (layers.Flatten(), layers.Dense(4, activation="softmax"))
    return k.Sequential([k.Input((8, 8, 2)), *middle, *head])


def _series(k: Any, layers: Any, *middle: Any) -> Any:
    return k.Sequential([k.Input((16, 3)), *middle, layers.Flatten(), layers.Dense(3)])


def _two_inputs(k: Any, layers: Any) -> Any:
    a, b = k.Input((6,), name="a"), k.Input((4,), name="b")
    joined = layers.Concatenate()([layers.Dense(5, activation="relu")(a), b])
    return k.Model([a, b], layers.Dense(2)(joined))


def _two_outputs(k: Any, layers: Any) -> Any:
    x = k.Input((8, 8, 1))
    y = layers.Conv2D(4, 3, activation="relu")(x)
    pooled = layers.GlobalAveragePooling2D()(y)
    return k.Model(x, [layers.Dense(3, name="kind")(pooled), layers.Dense(1, name="size")(pooled)])


def _residual(k: Any, layers: Any) -> Any:
    x = k.Input((8, 8, 4))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.Add()([x, layers.Conv2D(4, 3, padding="same")(y)])
    return k.Model(x, layers.Dense(3, activation="softmax")(layers.GlobalMaxPooling2D()(y)))


def _shared(k: Any, layers: Any) -> Any:
    one, a, b = layers.Dense(8, activation="relu"), k.Input((6,)), k.Input((6,))
    return k.Model([a, b], layers.Dense(1)(layers.Subtract()([one(a), one(b)])))


def _attention(k: Any, layers: Any) -> Any:
    x = k.Input((8, 6))
    y = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)]))
    return k.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))


def _float16(k: Any, layers: Any) -> Any:
    k.mixed_precision.set_global_policy("mixed_float16")
    try:
        return _image(k, layers, layers.Conv2D(4, 3, activation="relu"))
    finally:
        k.mixed_precision.set_global_policy("float32")


MAKERS: dict[str, Maker] = {
    "dense": lambda k, n: k.Sequential(
        [k.Input((10,)), n.Dense(16, activation="relu"), n.Dense(3)]
    ),
    "conv": lambda k, n: _image(k, n, n.Conv2D(6, 3, activation="relu"), n.MaxPooling2D()),
    "separable": lambda k, n: _image(k, n, n.SeparableConv2D(6, 3, padding="same"), n.ReLU(6.0)),
    "normalized": lambda k, n: _image(
        k, n, n.Conv2D(6, 3, strides=2, use_bias=False), n.BatchNormalization(), n.ReLU()
    ),
    "average": lambda k, n: _image(k, n, n.DepthwiseConv2D(3), n.AveragePooling2D(2)),
    "leaky": lambda k, n: _image(k, n, n.Conv2D(3, 3), n.LeakyReLU(0.1)),
    "prelu": lambda k, n: _image(k, n, n.Conv2D(3, 3), n.PReLU()),
    "sigmoid": lambda k, n: _image(k, n, n.Conv2D(3, 3, activation="sigmoid")),
    "gelu": lambda k, n: _image(k, n, n.Conv2D(3, 3, activation="gelu")),
    "upsampled": lambda k, n: _image(k, n, n.UpSampling2D(2), n.Conv2D(2, 3)),
    "transposed": lambda k, n: _image(k, n, n.Conv2DTranspose(3, 3, strides=2)),
    "padded": lambda k, n: _image(k, n, n.ZeroPadding2D(1), n.Conv2D(3, 3, dilation_rate=2)),
    "grouped": lambda k, n: _image(k, n, n.Conv2D(4, 3, groups=2, activation="relu")),
    "conv1d": lambda k, n: _series(k, n, n.Conv1D(8, 3, activation="relu"), n.MaxPooling1D()),
    "dilated1d": lambda k, n: _series(k, n, n.Conv1D(8, 3, dilation_rate=2, padding="causal")),
    "lstm": lambda k, n: _series(k, n, n.LSTM(6)),
    "gru": lambda k, n: _series(k, n, n.GRU(6, return_sequences=True)),
    "two-inputs": _two_inputs,
    "two-outputs": _two_outputs,
    "residual": _residual,
    "shared": _shared,
    "attention": _attention,
    "float16": _float16,
    "rescaled": lambda k, n: _image(k, n, n.Rescaling(1 / 255), n.Conv2D(3, 3)),
    "lambda": lambda k, n: _image(k, n, n.Lambda(lambda x: x * 2.0)),
    "unknown-side": lambda k, n: k.Sequential(
        [k.Input((None, None, 1)), n.Conv2D(3, 3), n.GlobalAveragePooling2D()]
    ),
    "large": lambda k, n: k.Sequential([k.Input((1024,)), n.Dense(1100), n.Dense(2)]),
}


def keras_cases() -> list[Case]:
    """Return all of them. The weights are those of a seed; the bytes of a file hold its date."""
    import keras

    targets = itertools.cycle((*MICRO, *PHONES))
    found: list[Case] = []
    for name, make in MAKERS.items():
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        model = make(keras, keras.layers)
        for form in ("keras", "h5") if name in ("dense", "conv") else ("keras",):
            content = _saved(model, form)
            data = None if name == "rescaled" else "random"
            case = Case(f"keras-{name}-{form}", content, next(targets), data=data, suffix=form)
            found.append(case)
    return [*found, *_spoiled(found[0])]


def _saved(model: Any, form: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model.{form}"
        model.save(path)
        return path.read_bytes()


def _spoiled(whole: Case) -> Iterator[Case]:
    """Yield ``whole`` cut short, of another kind, and with flags that it does not take."""
    change = dataclasses.replace
    yield change(whole, name="keras-cut", content=whole.content[: len(whole.content) // 2])
    yield change(whole, name="keras-as-h5", suffix="h5")
    yield change(whole, name="keras-tight", flags=("--max-flash", "1KiB"), target="cortex-m4")
    yield change(
        whole, name="keras-no-format", flags=("--format", "float16"), target="cortex-m0plus"
    )
