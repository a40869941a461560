"""Where operators without a kernel come from in Keras, and what could stand in their place.

The layers are those that the TFLite converter lowers to the operator; a replacement is made of
operators that edgebuild has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What a Keras user knows an operator by, and what to do instead, an imperative; both may be
    empty."""

    keras: str = ""
    instead: str = ""


_SHAPES = Origin(
    "shapes that are computed when the model runs",
    "export with fixed input shapes (`--input-shape`)",
)
_UNROLL = Origin("LSTM, GRU or SimpleRNN", "use the layer with unroll=True, or Conv1D layers")
_COMPARE = Origin("a comparison, as in keras.ops.where", "decide after the model, in C")
_ROUNDING = Origin("keras.ops rounding", "remove it: int8 values are rounded already")
_LATER = Origin("control flow in a Lambda or tf.function", "run it after the model, in C")
_VIDEO = Origin("Conv3D or Conv3DTranspose", "use Conv2D over frames stacked as channels")
_BLOCKS = Origin("tf.nn.space_to_depth and its kin", "use strided Conv2D, or UpSampling2D")
_DILATED = Origin(
    "a dilated convolution that was exported with an open batch", "export with a batch of 1"
)
_STATE = Origin("a variable that the model keeps", "make the state an input and an output")
_NORM = Origin(
    "LayerNormalization, GroupNormalization or UnitNormalization", "use BatchNormalization"
)
_STABLE = Origin("JAX or PyTorch exports", "convert with the TFLite builtin operators")

_ORIGINS: dict[str, Origin] = {
    "ABS": Origin("keras.ops.absolute", "use relu(x) + relu(-x)"),
    "ADD_N": Origin("tf.add_n", "use Add layers of two inputs"),
    "ARG_MIN": Origin("keras.ops.argmin", "use argmax of the negated values"),
    "ASSIGN_VARIABLE": _STATE,
    "BATCH_MATMUL": Origin(
        "MultiHeadAttention, Attention, Dot or keras.ops.matmul",
        "use Dense or convolution layers (their weights are constant)",
    ),
    "BATCH_TO_SPACE_ND": _DILATED,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _UNROLL,
    "BIDIRECTIONAL_SEQUENCE_RNN": _UNROLL,
    "BROADCAST_ARGS": _SHAPES,
    "BROADCAST_TO": Origin("keras.ops.broadcast_to", "use an Add or Multiply that broadcasts"),
    "BUCKETIZE": Origin("Discretization", "do it before the model, in C"),
    "CALL_ONCE": _STATE,
    "CAST": Origin("keras.ops.cast or an input that is not float32", "use float32 inputs"),
    "CEIL": _ROUNDING,
    "CONV_3D": _VIDEO,
    "CONV_3D_TRANSPOSE": _VIDEO,
    "COS": Origin("keras.ops.cos", "use a lookup table before the model, in C"),
    "CUMSUM": Origin("keras.ops.cumsum", "use a Dense layer with a triangular matrix of ones"),
    "DEPTH_TO_SPACE": _BLOCKS,
    "DIV": Origin("a division, as in keras.ops.divide", "use a product with the reciprocal"),
    "DYNAMIC_UPDATE_SLICE": _STATE,
    "ELU": Origin("an ELU layer or activation='elu'", "use ReLU or LeakyReLU"),
    "EMBEDDING_LOOKUP": Origin("Embedding", "look rows up before the model, in C"),
    "EQUAL": _COMPARE,
    "EXP": Origin("keras.ops.exp, softplus or selu", "use sigmoid, tanh or ReLU"),
    "FILL": _SHAPES,
    "FLOOR": _ROUNDING,
    "FLOOR_DIV": Origin("integer division", "do it after the model, in C"),
    "FLOOR_MOD": Origin("integer division", "do it after the model, in C"),
    "GATHER": Origin("Embedding or keras.ops.take", "look rows up before the model, in C"),
    "GATHER_ND": Origin("tf.gather_nd", "use slices with fixed indices"),
    "GELU": Origin("activation='gelu'", "use ReLU or hard_silu"),
    "GREATER": _COMPARE,
    "GREATER_EQUAL": _COMPARE,
    "IF": _LATER,
    "L2_NORMALIZATION": Origin("UnitNormalization", "use BatchNormalization"),
    "L2_POOL_2D": Origin("a model from before TensorFlow 2", "use AveragePooling2D"),
    "LESS": _COMPARE,
    "LESS_EQUAL": _COMPARE,
    "LOG": Origin("keras.ops.log", "do it before or after the model, in C"),
    "LOGICAL_AND": _COMPARE,
    "LOGICAL_NOT": _COMPARE,
    "LOGICAL_OR": _COMPARE,
    "LOG_SOFTMAX": Origin(
        "activation='log_softmax'", "use Softmax, whose largest value is the same"
    ),
    "LSTM": _UNROLL,
    "MIRROR_PAD": Origin("keras.ops.pad with mode='reflect'", "use ZeroPadding2D"),
    "NEG": Origin("keras.ops.negative", "use a product with -1"),
    "NOT_EQUAL": _COMPARE,
    "ONE_HOT": Origin("CategoryEncoding or keras.ops.one_hot", "encode before the model"),
    "POW": Origin("keras.ops.power", "use products of x with itself"),
    "PRELU": Origin("PReLU", "use LeakyReLU"),
    "RANGE": _SHAPES,
    "RANK": _SHAPES,
    "READ_VARIABLE": _STATE,
    "REDUCE_ALL": _COMPARE,
    "REDUCE_ANY": _COMPARE,
    "REDUCE_MAX": Origin(
        "GlobalMaxPooling or keras.ops.max", "use MaxPooling2D over the whole image"
    ),
    "REDUCE_MIN": Origin("keras.ops.min", "use MaxPooling2D of the negated values"),
    "REDUCE_PROD": Origin("keras.ops.prod", "use Multiply layers"),
    "RELU_N1_TO_1": Origin("keras.ops.clip(x, -1, 1)", "use tanh, or ReLU with max_value"),
    "RELU_0_TO_1": Origin("keras.ops.clip(x, 0, 1)", "use ReLU with max_value=6"),
    "REVERSE_V2": Origin("keras.ops.flip, Bidirectional", "use a slice with step -1"),
    "ROUND": _ROUNDING,
    "RSQRT": _NORM,
    "SCATTER_ND": Origin("tf.scatter_nd", "use Concatenate or ZeroPadding layers"),
    "SELECT": _COMPARE,
    "SELECT_V2": _COMPARE,
    "SHAPE": _SHAPES,
    "SIN": Origin("keras.ops.sin", "use a lookup table before the model, in C"),
    "SPACE_TO_BATCH_ND": _DILATED,
    "SPACE_TO_DEPTH": _BLOCKS,
    "SPLIT_V": Origin("keras.ops.split at given indices", "use slices (x[..., a:b])"),
    "SQRT": _NORM,
    "SQUARE": Origin("keras.ops.square", "use the product of x with itself"),
    "SQUARED_DIFFERENCE": _NORM,
    "SVDF": Origin("a streaming model from before Keras 3", "use Conv1D layers"),
    "TILE": Origin(
        "RepeatVector, keras.ops.tile, or UpSampling2D exported with an open batch",
        "export with a batch of 1, or use Concatenate",
    ),
    "TOPK_V2": Origin("keras.ops.top_k", "sort the scores after the model, in C"),
    "TRANSPOSE_CONV": Origin("Conv2DTranspose", "use UpSampling2D and Conv2D"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _UNROLL,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _UNROLL,
    "VAR_HANDLE": _STATE,
    "WHERE": _COMPARE,
    "WHILE": Origin(
        "LSTM, GRU or SimpleRNN that is not unrolled, or control flow",
        "use the layer with unroll=True, or Conv1D layers",
    ),
    "CUSTOM TFLite_Detection_PostProcess": Origin(
        "the end of an object detector", "cut the model before it, and do it after the model, in C"
    ),
}

_MODEL_PART = re.compile(r"(functional|sequential|model|StatefulPartitionedCall)(_\d+)*(:\d+)?")
_BAD_PARTS = ("tfl.", "arith.", "serving_default_")


def origin(kind: str) -> Origin:
    """Return what is known of an operator kind; an empty Origin where nothing is."""
    if kind.startswith("CUSTOM Flex"):
        return Origin(
            f"TensorFlow's own {kind.removeprefix('CUSTOM Flex')}",
            "convert with TFLITE_BUILTINS alone, and replace what it then names",
        )
    if kind.startswith("STABLEHLO_"):
        return _STABLE
    return _ORIGINS.get(kind, Origin())


def keras_layer(name: str) -> str:
    """Return the Keras layer in a tensor's name, empty where there is none.

    The converter writes ``model/layer/operation``, nested models one inside the other; a fused
    operator has several such names with ``;`` between them.
    """
    for path in name.split(";"):
        parts = path.split("/")[:-1]
        inner = parts[1:] if parts[:1] == ["StatefulPartitionedCall"] else parts
        parts = inner[1:] if len(inner) > 1 else inner  # the model's own name comes first
        while len(parts) > 1 and _MODEL_PART.fullmatch(parts[0]):
            del parts[0]
        layer = parts[0] if parts else ""
        if layer and not _MODEL_PART.fullmatch(layer) and not layer.startswith(_BAD_PARTS):
            return layer
    return ""
