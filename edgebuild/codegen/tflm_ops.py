"""The operators of TFLite Micro, as ``MicroMutableOpResolver`` names them.

Source of the names: ``tensorflow/lite/micro/micro_mutable_op_resolver.h``.
"""

from __future__ import annotations

from edgebuild.errors import UnsupportedOperatorError, nearest
from edgebuild.graph import Graph

RESOLVER_METHODS = {
    "ABS": "AddAbs",
    "ADD": "AddAdd",
    "ADD_N": "AddAddN",
    "ARG_MAX": "AddArgMax",
    "ARG_MIN": "AddArgMin",
    "ASSIGN_VARIABLE": "AddAssignVariable",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd",
    "BROADCAST_ARGS": "AddBroadcastArgs",
    "BROADCAST_TO": "AddBroadcastTo",
    "CALL_ONCE": "AddCallOnce",
    "CAST": "AddCast",
    "CEIL": "AddCeil",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "COS": "AddCos",
    "CUMSUM": "AddCumSum",
    "DEPTH_TO_SPACE": "AddDepthToSpace",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEQUANTIZE": "AddDequantize",
    "DIV": "AddDiv",
    "DYNAMIC_UPDATE_SLICE": "AddDynamicUpdateSlice",
    "ELU": "AddElu",
    "EMBEDDING_LOOKUP": "AddEmbeddingLookup",
    "EQUAL": "AddEqual",
    "EXP": "AddExp",
    "EXPAND_DIMS": "AddExpandDims",
    "FILL": "AddFill",
    "FLOOR": "AddFloor",
    "FLOOR_DIV": "AddFloorDiv",
    "FLOOR_MOD": "AddFloorMod",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "GATHER_ND": "AddGatherNd",
    "GREATER": "AddGreater",
    "GREATER_EQUAL": "AddGreaterEqual",
    "HARD_SWISH": "AddHardSwish",
    "IF": "AddIf",
    "L2_NORMALIZATION": "AddL2Normalization",
    "L2_POOL_2D": "AddL2Pool2D",
    "LEAKY_RELU": "AddLeakyRelu",
    "LESS": "AddLess",
    "LESS_EQUAL": "AddLessEqual",
    "LOG": "AddLog",
    "LOGICAL_AND": "AddLogicalAnd",
    "LOGICAL_NOT": "AddLogicalNot",
    "LOGICAL_OR": "AddLogicalOr",
    "LOGISTIC": "AddLogistic",
    "LOG_SOFTMAX": "AddLogSoftmax",
    "MAXIMUM": "AddMaximum",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MIRROR_PAD": "AddMirrorPad",
    "MUL": "AddMul",
    "NEG": "AddNeg",
    "NOT_EQUAL": "AddNotEqual",
    "PACK": "AddPack",
    "PAD": "AddPad",
    "PADV2": "AddPadV2",
    "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize",
    "READ_VARIABLE": "AddReadVariable",
    "REDUCE_ALL": "AddReduceAll",
    "REDUCE_MAX": "AddReduceMax",
    "REDUCE_MIN": "AddReduceMin",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor",
    "REVERSE_V2": "AddReverseV2",
    "ROUND": "AddRound",
    "RSQRT": "AddRsqrt",
    "SELECT_V2": "AddSelectV2",
    "SHAPE": "AddShape",
    "SIN": "AddSin",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd",
    "SPACE_TO_DEPTH": "AddSpaceToDepth",
    "SPLIT": "AddSplit",
    "SPLIT_V": "AddSplitV",
    "SQRT": "AddSqrt",
    "SQUARE": "AddSquare",
    "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SQUEEZE": "AddSqueeze",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "SUM": "AddSum",
    "SVDF": "AddSvdf",
    "TANH": "AddTanh",
    "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "UNPACK": "AddUnpack",
    "VAR_HANDLE": "AddVarHandle",
    "WHILE": "AddWhile",
    "ZEROS_LIKE": "AddZerosLike",
    "CUSTOM CIRCULAR_BUFFER": "AddCircularBuffer",
    "CUSTOM SignalDelay": "AddDelay",
    "CUSTOM SignalEnergy": "AddEnergy",
    "CUSTOM SignalFftAutoScale": "AddFftAutoScale",
    "CUSTOM SignalFilterBank": "AddFilterBank",
    "CUSTOM SignalFilterBankLog": "AddFilterBankLog",
    "CUSTOM SignalFilterBankSpectralSubtraction": "AddFilterBankSpectralSubtraction",
    "CUSTOM SignalFilterBankSquareRoot": "AddFilterBankSquareRoot",
    "CUSTOM SignalFramer": "AddFramer",
    "CUSTOM SignalIrfft": "AddIrfft",
    "CUSTOM SignalOverlapAdd": "AddOverlapAdd",
    "CUSTOM SignalPCAN": "AddPCAN",
    "CUSTOM SignalRfft": "AddRfft",
    "CUSTOM SignalStacker": "AddStacker",
    "CUSTOM SignalWindow": "AddWindow",
    "CUSTOM TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "CUSTOM ethos-u": "AddEthosU",
}
"""Operator kind, as the reader spells it, to the resolver's method."""


def resolver_methods(graph: Graph) -> tuple[str, ...]:
    """Return the resolver's method for every operator kind that ``graph`` uses, sorted.

    Raises:
        UnsupportedOperatorError: names every kind that TFLite Micro does not have.
    """
    kinds = sorted({op.kind for op in graph.ops})
    unknown = [kind for kind in kinds if kind not in RESOLVER_METHODS]
    if unknown:
        raise UnsupportedOperatorError(
            f"TFLite Micro has no operator {', '.join(unknown)}",
            details=[_place(graph, kind) for kind in unknown],
            hint="replace the operator in the model, or leave the TFLite Micro form out",
        )
    return tuple(sorted(RESOLVER_METHODS[kind] for kind in kinds))


def _place(graph: Graph, kind: str) -> str:
    places = [str(op.source_index) for op in graph.ops if op.kind == kind]
    return f"{kind} at operator {', '.join(places[:8])}{nearest(kind, RESOLVER_METHODS)}"
