"""Models of the shapes of the four MLPerf Tiny models: Keras, fixed seeds, no training.

``python -m tests.made_models FOLDER`` writes each as ``.tflite`` (float and int8) and ``.h5``, and
kws as a SavedModel, under the names that the public models have. Weights are random; batch
normalization is set by random images, so that activations stay in range and outputs differ.
Architectures: https://github.com/mlcommons/tiny/tree/master/benchmark/training
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = ("ad01", "kws", "resnet8", "vww96")

MACS = {"ad01": 264_192, "kws": 2_656_768, "resnet8": 12_501_632, "vww96": 7_489_664}
"""Of one inference."""

TFLM_ARENA_BYTES = {
    "cortex-m3": {"ad01": 3024, "kws": 22832, "resnet8": 54992, "vww96": 100720},
    "cortex-m4": {"ad01": 3024, "kws": 22832, "resnet8": 55008, "vww96": 100720},
    "cortex-m7": {"ad01": 3024, "kws": 22832, "resnet8": 55008, "vww96": 100720},
    "cortex-m55": {"ad01": 5184, "kws": 27312, "resnet8": 55008, "vww96": 100768},
}
"""The smallest arena with which TFLite Micro (2026-08-20) and CMSIS-NN (2026-06-17) allocate a
model; it depends on shapes alone."""

TFLM_INSTRUCTIONS_ON_M4 = {
    "ad01": 573_196,
    "kws": 7_401_181,
    "resnet8": 28_453_226,
    "vww96": 23_390_520,
}
"""One inference of theirs, the best of their settings, counted by QEMU 7.2."""

TFLM_INSTRUCTIONS_ON_M55 = {
    "ad01": 147_000,
    "kws": 1_770_000,
    "resnet8": 4_790_000,
    "vww96": 6_390_000,
}
"""The same with CMSIS-NN's Helium kernels, in thousands."""


Pair = tuple[int, int]


def normalized(x: Any, activation: str | None = "relu") -> Any:
    """Return ``x`` after batch normalization, which ``fitted`` sets, and an activation."""
    import keras

    x = keras.layers.BatchNormalization(momentum=0.0)(x)
    return keras.layers.Activation(activation)(x) if activation else x


def ad01(size: int = 640, width: int = 128, code: int = 8) -> Any:
    """Return the autoencoder of anomaly detection."""
    import keras

    x = image = keras.Input((size,), batch_size=1)
    for units in (width,) * 4 + (code,) + (width,) * 4:
        x = normalized(keras.layers.Dense(units)(x))
    return keras.Model(image, keras.layers.Dense(size)(x))


def kws(size: Pair = (49, 10), width: int = 64, strides: Pair = (2, 2)) -> Any:
    """Return the depthwise separable network of keyword spotting."""
    import keras

    image = keras.Input((*size, 1), batch_size=1)
    x = keras.layers.Conv2D(width, (10, 4), strides=strides, padding="same")(image)
    x = normalized(x)
    for _ in range(4):
        x = normalized(keras.layers.DepthwiseConv2D(3, padding="same")(x))
        x = normalized(keras.layers.Conv2D(width, 1)(x))
    return keras.Model(image, classifier(keras.layers.AveragePooling2D(x.shape[1:3])(x), 12))


def resnet8(size: int = 32, width: int = 16) -> Any:
    """Return the residual network of image classification."""
    import keras

    image = keras.Input((size, size, 3), batch_size=1)
    x = normalized(keras.layers.Conv2D(width, 3, padding="same")(image))
    for channels, strides in ((width, 1), (2 * width, 2), (4 * width, 2)):
        y = normalized(keras.layers.Conv2D(channels, 3, strides=strides, padding="same")(x))
        y = normalized(keras.layers.Conv2D(channels, 3, padding="same")(y), activation=None)
        if strides > 1:
            x = keras.layers.Conv2D(channels, 1, strides=strides, padding="same")(x)
        x = keras.layers.Activation("relu")(keras.layers.Add()([x, y]))
    return keras.Model(image, classifier(keras.layers.AveragePooling2D(x.shape[1:3])(x), 10))


def vww96(size: int = 96, width: int = 8) -> Any:
    """Return the MobileNet of visual wake words, a quarter of the width."""
    import keras

    image = keras.Input((size, size, 3), batch_size=1)
    x = normalized(keras.layers.Conv2D(width, 3, strides=2, padding="same")(image))
    wider = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *((16, 1),) * 5, (32, 2), (32, 1))
    for channels, strides in ((times * width, strides) for times, strides in wider):
        x = normalized(keras.layers.DepthwiseConv2D(3, strides=strides, padding="same")(x))
        x = normalized(keras.layers.Conv2D(channels, 1)(x))
    return keras.Model(image, classifier(keras.layers.AveragePooling2D(x.shape[1:3])(x), 2))


def classifier(x: Any, classes: int) -> Any:
    """Return the probability of each class."""
    import keras

    return keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(x))


BUILDERS: dict[str, Callable[[], Any]] = {f.__name__: f for f in (ad01, kws, resnet8, vww96)}


def images(model: Any, count: int, seed: int) -> Any:
    """Return random inputs of a model."""
    import numpy as np

    return np.random.default_rng(seed).normal(size=(count, *model.input_shape[1:])).astype("f4")


def fitted(build: Callable[[], Any], seed: int) -> Any:
    """Return what ``build`` builds: random weights, normalization fitted to random images."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(seed)
    model = build()
    rng = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.6, 1.4, size))
            layer.beta.assign(rng.normal(0.0, 0.4, size))
    # In order, as each layer's statistics depend on those before it.
    wide = keras.models.clone_model(model, input_tensors=keras.Input(model.input_shape[1:]))
    wide.set_weights(model.get_weights())
    wide(images(model, 64, seed=1), training=True)
    model.set_weights(wide.get_weights())
    return model


def write(name: str, folder: Path) -> None:
    """Write the model in every form that a public model has."""
    import numpy as np
    import tensorflow as tf

    model = fitted(BUILDERS[name], MODELS.index(name))
    model.save(folder / f"{name}.h5")
    if name == "kws":
        model.export(folder / "kws_saved_model", format="tf_saved_model", verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / f"{name}_float.tflite").write_bytes(converter.convert())
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    inputs = images(model, 32, seed=2)
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in inputs)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    # As in the public models; with a scale for each output TFLite Micro keeps more in its arena.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    (folder / f"{name}_int8.tflite").write_bytes(converter.convert())


def main() -> None:
    """Write all four into the folder that is named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        write(name, folder)


if __name__ == "__main__":
    main()
