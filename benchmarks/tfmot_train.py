"""The tfmot side of ``qat_against_tfmot.py``, run in tfmot's own environment (legacy Keras).

    python benchmarks/tfmot_train.py JOB.npz OUT.tflite

JOB.npz holds x, y, samples (for the converter), epochs, learning_rate, batch, seed, and the float
weights as LAYER/NUMBER. Prints nothing; what it leaves is the int8 ``.tflite``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def net(keras: Any) -> Any:
    """Return a narrow net with a residual and a depthwise block; ``keras`` is 2 or 3."""
    layers = keras.layers

    def norm(x: Any, name: str, top: float | None) -> Any:
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return x if top == 0 else layers.ReLU(top, name=f"{name}_relu")(x)

    def conv(x: Any, filters: int, size: int, name: str, top: float | None = None) -> Any:
        x = layers.Conv2D(filters, size, padding="same", use_bias=False, name=name)(x)
        return norm(x, name, top)

    inputs = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs)
    x = skip = norm(x, "stem", None)
    x = conv(conv(x, 16, 3, "a"), 16, 3, "b", 0)
    x = layers.ReLU(name="joined")(layers.Add(name="add")([x, skip]))
    for number, filters in enumerate((32, 64)):
        name = f"dw{number}"
        x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name=name)(x)
        x = conv(norm(x, name, 6.0), filters, 1, f"pw{number}", 6.0)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax", name="out")(x))


def named_weights(model: Any) -> dict[str, np.ndarray]:
    """Return each layer's weights as LAYER/NUMBER."""
    return {
        f"{layer.name}/{number}": values
        for layer in model.layers
        for number, values in enumerate(layer.get_weights())
    }


def main() -> None:
    """Train with ``tfmot.quantization.keras.quantize_model`` and convert."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    job = np.load(sys.argv[1])
    tf_keras.utils.set_random_seed(int(job["seed"]))
    model = net(tf_keras)
    for layer in model.layers:
        count = len(layer.get_weights())
        layer.set_weights([job[f"{layer.name}/{i}"] for i in range(count)])
    x, y, batch = job["x"], job["y"], int(job["batch"])
    aware = tfmot.quantization.keras.quantize_model(model)
    steps = int(job["epochs"]) * (len(x) // batch)
    schedule = tf_keras.optimizers.schedules.CosineDecay(float(job["learning_rate"]), steps)
    aware.compile(tf_keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    aware.fit(x, y, batch_size=batch, epochs=int(job["epochs"]), verbose=0)
    converter = tf.lite.TFLiteConverter.from_keras_model(aware)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in job["samples"])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(sys.argv[2]).write_bytes(converter.convert())


if __name__ == "__main__":
    main()
