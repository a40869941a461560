"""Number formats that TFLite Micro runs its operators in, as its package does.

Each is what an operator reads and writes, every type once, in order: "int8, int32 -> int8". A test
runs a model of one operator for each; formats that are not here may be among those it runs, too.
"""

from __future__ import annotations

from edgebuild.graph import Node

FORMATS: dict[str, tuple[str, ...]] = {
    "ABS": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "ADD": ("float32 -> float32", "int8 -> int8", "int16 -> int16", "int32 -> int32"),
    "ADD_N": ("float32 -> float32", "int8 -> int8"),
    "ARG_MAX": ("float32, int32 -> int32", "int8, int32 -> int32"),
    "ARG_MIN": ("float32, int32 -> int32", "int8, int32 -> int32"),
    "AVERAGE_POOL_2D": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "BATCH_MATMUL": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "BATCH_TO_SPACE_ND": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "BROADCAST_TO": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
    ),
    "CAST": (
        "float32 -> int32",
        "int8 -> int32",
        "int16 -> int32",
        "int32 -> float32",
        "uint32 -> int32",
        "bool -> int32",
    ),
    "CEIL": ("float32 -> float32",),
    "CONCATENATION": (
        "float32 -> float32",
        "int8 -> int8",
        "int16 -> int16",
        "int32 -> int32",
        "int64 -> int64",
        "bool -> bool",
    ),
    "CONV_2D": ("float32 -> float32", "int8, int32 -> int8", "int16, int8, int64 -> int16"),
    "COS": ("float32 -> float32",),
    "CUMSUM": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "DEPTHWISE_CONV_2D": (
        "float32 -> float32",
        "int8, int32 -> int8",
        "int16, int8, int64 -> int16",
    ),
    "DEPTH_TO_SPACE": ("float32 -> float32", "int8 -> int8"),
    "DEQUANTIZE": ("int8 -> float32", "uint8 -> float32", "int16 -> float32"),
    "DIV": ("float32 -> float32", "int8 -> int8"),
    "DYNAMIC_UPDATE_SLICE": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
    ),
    "ELU": ("float32 -> float32", "int8 -> int8"),
    "EMBEDDING_LOOKUP": ("int32, float32 -> float32", "int32, int8 -> int8"),
    "EQUAL": ("float32 -> bool", "int8 -> bool", "int32 -> bool", "int64 -> bool", "bool -> bool"),
    "EXP": ("float32 -> float32",),
    "EXPAND_DIMS": ("float32, int32 -> float32", "int8, int32 -> int8", "int16, int32 -> int16"),
    "FILL": ("int32, float32 -> float32", "int32, int8 -> int8", "int32 -> int32"),
    "FLOOR": ("float32 -> float32",),
    "FLOOR_MOD": ("float32 -> float32",),
    "FULLY_CONNECTED": ("float32 -> float32", "int8, int32 -> int8", "int16, int8, int64 -> int16"),
    "GATHER": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "GATHER_ND": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "GREATER": (
        "float32 -> bool",
        "int8 -> bool",
        "int16 -> bool",
        "int32 -> bool",
        "int64 -> bool",
    ),
    "GREATER_EQUAL": ("float32 -> bool", "int8 -> bool", "int32 -> bool", "int64 -> bool"),
    "HARD_SWISH": ("float32 -> float32", "int8 -> int8"),
    "L2_NORMALIZATION": ("float32 -> float32", "int8 -> int8"),
    "L2_POOL_2D": ("float32 -> float32",),
    "LEAKY_RELU": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "LESS": ("float32 -> bool", "int8 -> bool", "int32 -> bool", "int64 -> bool"),
    "LESS_EQUAL": ("float32 -> bool", "int8 -> bool", "int32 -> bool", "int64 -> bool"),
    "LOG": ("float32 -> float32",),
    "LOGICAL_AND": ("bool -> bool",),
    "LOGICAL_NOT": ("bool -> bool",),
    "LOGICAL_OR": ("bool -> bool",),
    "LOGISTIC": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "LOG_SOFTMAX": ("float32 -> float32",),
    "MAXIMUM": (
        "float32 -> float32",
        "int8 -> int8",
        "int16 -> int16",
        "int32 -> int32",
        "int64 -> int64",
    ),
    "MAX_POOL_2D": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "MEAN": ("float32, int32 -> float32", "int8, int32 -> int8", "int16, int32 -> int16"),
    "MINIMUM": (
        "float32 -> float32",
        "int8 -> int8",
        "int16 -> int16",
        "int32 -> int32",
        "int64 -> int64",
    ),
    "MIRROR_PAD": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "MUL": ("float32 -> float32", "int8 -> int8", "int16 -> int16", "int32 -> int32"),
    "NEG": ("float32 -> float32",),
    "NOT_EQUAL": (
        "float32 -> bool",
        "int8 -> bool",
        "int32 -> bool",
        "int64 -> bool",
        "bool -> bool",
    ),
    "PACK": (
        "float32 -> float32",
        "int8 -> int8",
        "int16 -> int16",
        "int32 -> int32",
        "int64 -> int64",
    ),
    "PAD": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
    ),
    "PADV2": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
    ),
    "PRELU": ("float32 -> float32", "int8 -> int8"),
    "QUANTIZE": (
        "float32 -> int8",
        "float32 -> int16",
        "int8 -> int8",
        "int8 -> int16",
        "int16 -> int8",
        "int16 -> int16",
        "uint8 -> int8",
    ),
    "REDUCE_ALL": ("bool, int32 -> bool",),
    "REDUCE_MAX": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "REDUCE_MIN": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "RELU": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "RELU6": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "RESHAPE": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "uint8, int32 -> uint8",
        "int16, int32 -> int16",
        "int32 -> int32",
        "int64, int32 -> int64",
        "uint32, int32 -> uint32",
        "bool, int32 -> bool",
    ),
    "RESIZE_BILINEAR": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "RESIZE_NEAREST_NEIGHBOR": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
    ),
    "REVERSE_V2": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "uint8, int32 -> uint8",
        "int16, int32 -> int16",
        "int32 -> int32",
        "int64, int32 -> int64",
        "bool, int32 -> bool",
    ),
    "ROUND": ("float32 -> float32",),
    "RSQRT": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "SELECT_V2": ("bool, float32 -> float32", "bool, int8 -> int8", "bool, int16 -> int16"),
    "SHAPE": ("float32 -> int32", "int8 -> int32", "int16 -> int32", "int32 -> int32"),
    "SIN": ("float32 -> float32",),
    "SLICE": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
        "bool, int32 -> bool",
    ),
    "SOFTMAX": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "SPACE_TO_BATCH_ND": ("float32, int32 -> float32", "int8, int32 -> int8"),
    "SPACE_TO_DEPTH": ("float32 -> float32", "int8 -> int8"),
    "SPLIT": (
        "int32, float32 -> float32",
        "int32, int8 -> int8",
        "int32, int16 -> int16",
        "int32 -> int32",
    ),
    "SPLIT_V": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
    ),
    "SQRT": ("float32 -> float32",),
    "SQUARE": ("float32 -> float32",),
    "SQUARED_DIFFERENCE": (
        "float32 -> float32",
        "int8 -> int8",
        "int16 -> int16",
        "int32 -> int32",
    ),
    "SQUEEZE": (
        "float32 -> float32",
        "int8 -> int8",
        "uint8 -> uint8",
        "int16 -> int16",
        "int32 -> int32",
        "int64 -> int64",
        "uint32 -> uint32",
        "bool -> bool",
    ),
    "STRIDED_SLICE": (
        "float32, int32 -> float32",
        "int8, int32 -> int8",
        "int16, int32 -> int16",
        "int32 -> int32",
        "bool, int32 -> bool",
    ),
    "SUB": ("float32 -> float32", "int8 -> int8", "int16 -> int16", "int32 -> int32"),
    "SUM": ("float32, int32 -> float32", "int8, int32 -> int8", "int16, int32 -> int16"),
    "SVDF": ("float32 -> float32", "int8, int32 -> int8"),
    "TANH": ("float32 -> float32", "int8 -> int8", "int16 -> int16"),
    "TRANSPOSE": ("float32, int32 -> float32", "int8, int32 -> int8", "int16, int32 -> int16"),
    "TRANSPOSE_CONV": ("int32, float32 -> float32", "int32, int8 -> int8", "int32, int16 -> int16"),
    "UNPACK": ("float32 -> float32", "int8 -> int8", "int16 -> int16", "int32 -> int32"),
    "ZEROS_LIKE": ("float32 -> float32", "int8 -> int8", "int32 -> int32"),
}


def known_to_run(node: Node) -> bool:
    """Return whether TFLite Micro is known to run ``node``'s kind in its number formats; operands
    that may be left out, as a bias, count as there."""
    reads, writes = _types(node)
    for line in FORMATS.get(node.kind, ()):
        known, _, made = line.partition(" -> ")
        types = known.split(", ")
        if made == ", ".join(writes) and types[:1] == reads[:1] and set(reads) <= set(types):
            return True
    return False


def spelled(node: Node) -> str:
    """Return a node's number formats as ``FORMATS`` has them."""
    return " -> ".join(", ".join(types) for types in _types(node))


def _types(node: Node) -> tuple[list[str], list[str]]:
    """Return the types that a node reads, and those that it writes, each once."""
    reads = dict.fromkeys(str(t.dtype) for t in node.inputs if t is not None)
    return list(reads), list(dict.fromkeys(str(t.dtype) for t in node.outputs))
