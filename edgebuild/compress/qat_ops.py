"""The operators of a float ``.tflite`` as differentiable TensorFlow operations.

Each function takes an operator and its inputs, and returns its output, or a list of them, without
the fused activation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgebuild.tflite import schema

Spec = dict[str, Any]
"""An operator as plain JSON values: number, kind, inputs, outputs, options, which inputs
are computed, integer constants by position."""


def _conv2d(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return _convolved("conv", spec, inputs, tf.transpose(inputs[1], [1, 2, 3, 0]))


def _depthwise(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    _, height, width, outputs = inputs[1].shape
    channels = inputs[0].shape[-1]
    kernel = tf.reshape(inputs[1], [height, width, channels, outputs // channels])
    return _convolved("depthwise_conv", spec, inputs, kernel)


def _convolved(function: str, spec: Spec, inputs: Sequence[Any], kernel: Any) -> Any:
    """Return what Keras's operation of that name gives: unlike TensorFlow's own on a CPU, it has a
    gradient where the kernel is dilated or grouped, too."""
    import keras

    o = spec["options"]
    value = getattr(keras.ops, function)(
        inputs[0],
        kernel,
        strides=(o["strideH"], o["strideW"]),
        padding=o["padding"].lower(),
        data_format="channels_last",
        dilation_rate=(o["dilationHFactor"], o["dilationWFactor"]),
    )
    return value + inputs[2] if len(inputs) > 2 and inputs[2] is not None else value


def _transpose_conv(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    o, x = spec["options"], inputs[2]
    value = tf.nn.conv2d_transpose(
        x,
        tf.transpose(inputs[1], [1, 2, 0, 3]),
        [tf.shape(x)[0], *spec["integers"]["0"][1:]],
        [o["strideH"], o["strideW"]],
        o["padding"],
    )
    return value + inputs[3] if len(inputs) > 3 and inputs[3] is not None else value


def _fully_connected(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    x = inputs[0]
    if not spec["options"].get("keepNumDims"):
        x = tf.reshape(x, [-1, inputs[1].shape[-1]])
    value = tf.linalg.matmul(x, inputs[1], transpose_b=True)
    return value + inputs[2] if len(inputs) > 2 and inputs[2] is not None else value


def _pool(kind: str) -> Callable[[Spec, Sequence[Any]], Any]:
    def run(spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        o = spec["options"]
        return tf.nn.pool(
            inputs[0],
            [o["filterHeight"], o["filterWidth"]],
            kind,
            [o["strideH"], o["strideW"]],
            o["padding"],
        )

    return run


def _reduce(function: str) -> Callable[[Spec, Sequence[Any]], Any]:
    def run(spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        axes = np.atleast_1d(spec["integers"]["1"]).tolist()
        keep = bool(spec["options"].get("keepDims"))
        return getattr(tf, f"reduce_{function}")(inputs[0], axes, keepdims=keep)

    return run


def _reshape(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.reshape(inputs[0], [-1, *spec["integers"]["shape"][1:]])


def _resize(method: str) -> Callable[[Spec, Sequence[Any]], Any]:
    def run(spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        o = spec["options"]
        which = getattr(tf.compat.v1.image, f"resize_{method}")
        return which(
            inputs[0],
            spec["integers"]["1"],
            align_corners=bool(o.get("alignCorners")),
            half_pixel_centers=bool(o.get("halfPixelCenters")),
        )

    return run


def _pad(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.pad(inputs[0], spec["integers"]["1"])


def _pad_with(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    value = tf.reshape(inputs[2], [])
    return tf.pad(inputs[0] - value, spec["integers"]["1"]) + value


def _mirror_pad(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    mode = schema.enum_names("MirrorPadMode")[spec["options"]["mode"]]
    return tf.pad(inputs[0], spec["integers"]["1"], mode=mode)


def _tile(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.tile(inputs[0], spec["integers"]["1"])


def _blocks(function: str) -> Callable[[Spec, Sequence[Any]], Any]:
    def run(spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        return getattr(tf.nn, function)(inputs[0], spec["options"]["blockSize"])

    return run


def _batches(function: str) -> Callable[[Spec, Sequence[Any]], Any]:
    def run(spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        return getattr(tf, function)(inputs[0], spec["integers"]["1"], spec["integers"]["2"])

    return run


def _batch_matmul(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    o = spec["options"]
    return tf.linalg.matmul(
        *inputs, transpose_a=bool(o.get("adjX")), transpose_b=bool(o.get("adjY"))
    )


def _concatenation(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.concat(list(inputs), spec["options"]["axis"])


def _pack(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.stack(list(inputs), spec["options"]["axis"])


def _split(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    axis = int(np.reshape(spec["integers"]["0"], -1)[0])
    return tf.split(inputs[1], spec["options"]["numSplits"], axis)


def _unpack(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.unstack(inputs[0], spec["options"]["num"], spec["options"]["axis"])


def _slice(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    begin, sizes = spec["integers"]["1"], spec["integers"]["2"]
    # All of a dimension, whatever its size: the file's batch is 1.
    whole = [-1 if n == d else n for n, d in zip(sizes, spec["integers"]["shape"], strict=True)]
    return tf.slice(inputs[0], begin, whole)


def _strided_slice(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    o, begin, end, strides = spec["options"], *(spec["integers"][i] for i in "123")
    masks = [int(o.get(f"{name}Mask", 0)) for name in ("begin", "end", "shrinkAxis")]
    for i, size in enumerate(spec["integers"]["shape"][: len(begin)]):
        if begin[i] == 0 and end[i] >= size and strides[i] == 1 and not masks[2] >> i & 1:
            masks[0], masks[1] = masks[0] | 1 << i, masks[1] | 1 << i
    return tf.strided_slice(
        inputs[0],
        begin,
        end,
        strides,
        begin_mask=masks[0],
        end_mask=masks[1],
        shrink_axis_mask=masks[2],
    )


def _transpose(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.transpose(inputs[0], spec["integers"]["1"])


def _leaky_relu(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.leaky_relu(inputs[0], spec["options"]["alpha"])


def _softmax(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(inputs[0] * spec["options"].get("beta", 1.0))


def _prelu(_spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.relu(inputs[0]) + inputs[1] * tf.minimum(inputs[0], 0.0)


def _gelu(spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return tf.nn.gelu(inputs[0], approximate=bool(spec["options"].get("approximate")))


def _plain(function: str) -> Callable[[Spec, Sequence[Any]], Any]:
    """Return the operation of that name below ``tf`` of all inputs."""

    def run(_spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        found: Any = tf
        for part in function.split("."):
            found = getattr(found, part)
        return found(*inputs)

    return run


def _pairwise(function: str) -> Callable[[Spec, Sequence[Any]], Any]:
    """Return the operation of that name of two inputs that broadcast.

    With a batch of 1 the file may leave out dimensions behind the first; they are put back.
    """

    def run(spec: Spec, inputs: Sequence[Any]) -> Any:
        import tensorflow as tf

        rank = max(len(value.shape) for value in inputs)
        matched = []
        for value, computed in zip(inputs, spec["computed"], strict=True):
            missing = rank - len(value.shape)
            if computed and missing:
                value = tf.reshape(value, [-1, *[1] * missing, *value.shape[1:]])
            matched.append(value)
        return _plain(function)(spec, matched)

    return run


def _hard_swish(_spec: Spec, inputs: Sequence[Any]) -> Any:
    import tensorflow as tf

    return inputs[0] * tf.nn.relu6(inputs[0] + 3.0) / 6.0


COMPUTE: Mapping[str, Callable[[Spec, Sequence[Any]], Any]] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    "AVERAGE_POOL_2D": _pool("AVG"),
    "MAX_POOL_2D": _pool("MAX"),
    "MEAN": _reduce("mean"),
    "SUM": _reduce("sum"),
    "REDUCE_MAX": _reduce("max"),
    "REDUCE_MIN": _reduce("min"),
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "PAD": _pad,
    "PADV2": _pad_with,
    "MIRROR_PAD": _mirror_pad,
    "TILE": _tile,
    "DEPTH_TO_SPACE": _blocks("depth_to_space"),
    "SPACE_TO_DEPTH": _blocks("space_to_depth"),
    "SPACE_TO_BATCH_ND": _batches("space_to_batch_nd"),
    "BATCH_TO_SPACE_ND": _batches("batch_to_space"),
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "SPLIT": _split,
    "UNPACK": _unpack,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE": _transpose,
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest_neighbor"),
    "RESIZE_BILINEAR": _resize("bilinear"),
    "SOFTMAX": _softmax,
    "LOGISTIC": _plain("sigmoid"),
    "TANH": _plain("tanh"),
    "RELU": _plain("nn.relu"),
    "RELU6": _plain("nn.relu6"),
    "LEAKY_RELU": _leaky_relu,
    "PRELU": _prelu,
    "ELU": _plain("nn.elu"),
    "GELU": _gelu,
    "LOG_SOFTMAX": _plain("nn.log_softmax"),
    "ABS": _plain("abs"),
    "NEG": _plain("negative"),
    "EXP": _plain("exp"),
    "LOG": _plain("math.log"),
    "SQRT": _plain("sqrt"),
    "RSQRT": _plain("math.rsqrt"),
    "SQUARE": _plain("square"),
    "HARD_SWISH": _hard_swish,
    "ADD": _pairwise("add"),
    "SUB": _pairwise("subtract"),
    "MUL": _pairwise("multiply"),
    "DIV": _pairwise("divide"),
    "SQUARED_DIFFERENCE": _pairwise("math.squared_difference"),
    "MAXIMUM": _pairwise("maximum"),
    "MINIMUM": _pairwise("minimum"),
}

ACTIVATIONS: Mapping[str, Callable[[Any], Any]] = {
    "NONE": lambda value: value,
    "RELU": lambda value: _plain("nn.relu")({}, [value]),
    "RELU6": lambda value: _plain("nn.relu6")({}, [value]),
    "RELU_N1_TO_1": lambda value: _plain("clip_by_value")({}, [value, -1.0, 1.0]),
}
