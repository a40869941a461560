"""Compare the arena model, for 64-bit, with what TFLite Micro allocates on this machine."""

import re
import subprocess
import sys

import numpy as np
import pytest

from edgebuild.codegen.tflm import tflm_arena
from edgebuild.codegen.tflm_kernels import data_blocks
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.ops.cases import activation, constant, one_op
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from tests.made_models import MODELS

pytest.importorskip("tflite_micro")

# The interpreter of the tflite-micro package uses RecordingMicroAllocator, which keeps seven
# counters of three words in the arena; 16 more for where that moves an alignment gap.
RECORDING_BYTES = 7 * 24 + 16 + 16

CHILD = """
import sys
from tflite_micro import runtime
for path in sys.stdin.read().split():
    print("MODEL", file=sys.stderr, flush=True)
    model = open(path, "rb").read()
    runtime.Interpreter.from_bytes(model, arena_size=1 << 20).print_allocations()
"""

FUSED = {"fused_activation_function": "NONE"}
STRIDE_1 = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
CONV = STRIDE_1 | {"dilation_w_factor": 1, "dilation_h_factor": 1} | FUSED
POOL = {"padding": "SAME", "stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
RESIZE = {"align_corners": False, "half_pixel_centers": False}


def act(*shape: int, scale: float = 0.5, zero_point: int = 0, dtype: DType = DType.INT8) -> Tensor:
    return activation(shape, scale, zero_point, dtype)


def weights(*shape: int, scales: int = 1, axis: int = 0) -> Tensor:
    return constant(np.ones(shape), [0.1] * scales, axis=axis)


def ints(values: object) -> Tensor:
    return constant(values, dtype=DType.INT32)


def bias(length: int, scales: int = 1) -> Tensor:
    return constant(np.zeros(length), [0.05] * scales, dtype=DType.INT32)


def kinds() -> list[Graph]:
    """One model for each kind of operator that is modelled, more where options matter."""
    image, half, pair = act(1, 8, 8, 4), act(1, 4, 4, 4), [act(1, 8, 8, 4), act(1, 8, 8, 4)]
    row, real = act(1, 10), act(1, 10, dtype=DType.FLOAT32)
    unit = act(1, 10, scale=1 / 256, zero_point=-128)
    ring = ints([[0, 0], [1, 1], [1, 1], [0, 0]])
    axes = {"keep_dims": False}
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    table = [
        ("CONV_2D", [image, weights(8, 3, 3, 4, scales=8), bias(8, 8)], [act(1, 8, 8, 8)], CONV),
        ("CONV_2D", [image, weights(8, 3, 3, 4), bias(8)], [act(1, 8, 8, 8)], CONV),
        (
            "DEPTHWISE_CONV_2D",
            [image, weights(1, 3, 3, 4, scales=4, axis=3), bias(4, 4)],
            [image],
            CONV | {"depth_multiplier": 1},
        ),
        ("FULLY_CONNECTED", [act(1, 20), weights(7, 20), bias(7)], [act(1, 7)], FUSED),
        (
            "FULLY_CONNECTED",
            [act(1, 20), weights(7, 20, scales=7), bias(7, 7)],
            [act(1, 7)],
            FUSED,
        ),
        (
            "FULLY_CONNECTED",
            [act(1, 4, 20), weights(7, 20), bias(7)],
            [act(1, 4, 7)],
            FUSED | {"keep_num_dims": True},
        ),
        ("AVERAGE_POOL_2D", [image], [half], POOL | FUSED),
        ("MAX_POOL_2D", [image], [half], POOL | FUSED),
        ("ADD", pair, [image], FUSED),
        ("SUB", pair, [image], FUSED),
        ("MUL", pair, [image], FUSED),
        ("MAXIMUM", pair, [image], {}),
        ("MINIMUM", pair, [image], {}),
        ("SOFTMAX", [row], [unit], {"beta": 1.0}),
        ("LOGISTIC", [row], [unit], {}),
        ("TANH", [row], [act(1, 10, scale=1 / 128)], {}),
        ("RELU", [row], [row], {}),
        ("RELU6", [row], [row], {}),
        ("ABS", [row], [row], {}),
        ("LEAKY_RELU", [row], [row], {"alpha": 0.1}),
        ("PRELU", [half, weights(1, 1, 4)], [half], {}),
        ("HARD_SWISH", [row], [row], {}),
        ("RESHAPE", [row, ints([2, 5])], [act(2, 5)], {"new_shape": (2, 5)}),
        ("SQUEEZE", [row], [act(10)], {"squeeze_dims": (0,)}),
        ("EXPAND_DIMS", [row, ints([0])], [act(1, 1, 10)], {}),
        ("PAD", [half, ring], [act(1, 6, 6, 4)], {}),
        ("PADV2", [half, ring, constant([3], 0.5)], [act(1, 6, 6, 4)], {}),
        ("MEAN", [image, ints([1, 2])], [act(1, 4)], axes),
        ("MEAN", [act(1, 2, 2, 2, 20), ints([1, 2])], [act(1, 2, 20)], axes),
        ("SUM", [image, ints([3])], [act(1, 8, 8)], axes),
        ("CONCATENATION", pair, [act(1, 8, 8, 8)], {"axis": 3} | FUSED),
        ("SPLIT", [ints(3), image], [act(1, 8, 8, 2)] * 2, {"num_splits": 2}),
        (
            "SPLIT_V",
            [image, ints([1, 3]), ints(3)],
            [act(1, 8, 8, 1), act(1, 8, 8, 3)],
            {"num_splits": 2},
        ),
        ("SLICE", [image, ints([0, 0, 0, 0]), ints([1, 4, 4, 4])], [half], {}),
        (
            "STRIDED_SLICE",
            [image, ints([0, 0, 0, 0]), ints([1, 8, 8, 4]), ints([1, 2, 2, 1])],
            [half],
            dict.fromkeys(masks, 0),
        ),
        ("TRANSPOSE", [image, ints([0, 3, 1, 2])], [act(1, 4, 8, 8)], {}),
        ("PACK", [act(4, 4), act(4, 4)], [act(2, 4, 4)], {"axis": 0, "values_count": 2}),
        ("UNPACK", [act(2, 4, 4)], [act(4, 4), act(4, 4)], {"axis": 0, "num": 2}),
        ("QUANTIZE", [row], [act(1, 10, scale=0.25)], {}),
        ("QUANTIZE", [real], [row], {}),
        ("DEQUANTIZE", [row], [real], {}),
        ("RESIZE_NEAREST_NEIGHBOR", [half, ints([8, 8])], [image], RESIZE),
        ("RESIZE_BILINEAR", [half, ints([8, 8])], [image], RESIZE),
        ("ARG_MAX", [row, ints([1])], [act(1, dtype=DType.INT32)], {"output_type": "INT32"}),
        ("ARG_MIN", [row, ints([1])], [act(1, dtype=DType.INT32)], {"output_type": "INT32"}),
    ]
    return [one_op(kind, kind, ins, outs, attrs).graph for kind, ins, outs, attrs in table]


def unmodelled() -> list[Graph]:
    """Kinds that get a bound."""
    matrices = [act(1, 4, 6), act(1, 6, 8)]
    flags = {"adj_x": False, "adj_y": False}
    up = {"padding": "SAME", "stride_w": 2, "stride_h": 2}
    filters = weights(3, 3, 3, 5, scales=3)
    table = [
        ("SPACE_TO_DEPTH", [act(1, 4, 4, 2)], [act(1, 2, 2, 8)], {"block_size": 2}),
        ("GATHER", [act(4, 4), ints([1, 2])], [act(2, 4)], {"axis": 0, "batch_dims": 0}),
        ("BATCH_MATMUL", matrices, [act(1, 4, 8)], flags),
        ("TRANSPOSE_CONV", [ints([1, 8, 8, 3]), filters, act(1, 4, 4, 5)], [act(1, 8, 8, 3)], up),
    ]
    return [one_op(kind, kind, ins, outs, attrs).graph for kind, ins, outs, attrs in table]


def random_graph(seed: int) -> Graph:
    """A graph with branches, joins, several outputs and a tensor that nothing uses."""
    rng = np.random.default_rng(seed)
    tensors: dict[int, Tensor] = {}
    ops: list[Op] = []

    def add(shape: tuple[int, ...]) -> int:
        index = len(tensors)
        quantization = Quantization((0.5,), (0,))
        tensors[index] = Tensor(index, f"t{index}", shape, DType.INT8, quantization)
        return index

    inputs = [add((1, 12, 12, int(c))) for c in rng.integers(1, 9, 2)]
    live = list(inputs)
    attrs = {"fused_activation_function": "NONE"}
    for _ in range(int(rng.integers(6, 20))):
        a = int(rng.choice(live))
        shape = tensors[a].shape
        same = [i for i in live if tensors[i].shape == shape]
        rows = [i for i in live if tensors[i].shape[:3] == shape[:3]]
        kind = rng.choice(["RELU", "ADD", "CONCATENATION", "MAX_POOL_2D"])
        if kind == "ADD":
            ins, out, extra = (a, int(rng.choice(same))), shape, attrs
        elif kind == "CONCATENATION":
            b = int(rng.choice(rows))
            depth = shape[3] + tensors[b].shape[3]
            ins, out, extra = (a, b), (*shape[:3], depth), {"axis": 3, **attrs}
        elif kind == "MAX_POOL_2D":
            out = (1, -(-shape[1] // 2), -(-shape[2] // 2), shape[3])
            strides = {"stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
            ins, extra = (a,), {"padding": "SAME", **strides, **attrs}
        else:
            ins, out, extra = (a,), shape, {}
        ops.append(Op(str(kind), ins, (add(out),), extra, len(ops)))
        live.append(ops[-1].outputs[0])
    used = {i for op in ops for i in op.inputs}
    outputs = tuple(i for i in live if i not in used and i not in inputs)
    add((1, 30, 30, 1 + 9 * (seed % 2)))
    return Graph("random", tuple(inputs), outputs, tuple(ops), tensors)


def allocations(graphs: list[Graph], models: list[bytes], folder) -> list[dict[str, int]]:
    """Return what RecordingMicroAllocator logs for each model (from C++, to stderr), in bytes."""
    paths = [folder / f"{i}.tflite" for i in range(len(models))]
    for path, model in zip(paths, models, strict=True):
        path.write_bytes(model)
    command = [sys.executable, "-c", CHILD]
    text = "\n".join(map(str, paths))
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    logs = (done.stderr + done.stdout).split("MODEL")[1:]
    return [_read(log, graph) for graph, log in zip(graphs, logs, strict=True)]


def _read(log: str, graph: Graph) -> dict[str, int]:
    found = {part: int(re.search(rf"{part} (\d+) bytes", log)[1]) for part in ("head", "tail")}
    (data,) = re.findall(r"Persistent buffer data' used \d+ .*requested (\d+) bytes", log)
    # The interpreter's lists of input and output tensors are persistent buffers too.
    found["data"] = int(data) - 8 * (len(graph.inputs) + len(graph.outputs))
    return found


def check(graph: Graph, logged: dict[str, int], *, exact: bool = True) -> None:
    arena = tflm_arena(graph, "host")
    plan = arena.activations + arena.scratch
    assert plan == logged["head"] if exact else plan >= logged["head"], graph.name
    assert logged["tail"] - RECORDING_BYTES <= arena.persistent, graph.name
    data = sum(size for node in graph.nodes() for size in data_blocks(node, 8))
    assert logged["data"] <= data, graph.name


def test_every_modelled_kernel_asks_for_what_the_model_says(tmp_path):
    graphs = kinds()
    logged = allocations(graphs, [write_tflite(graph) for graph in graphs], tmp_path)
    for graph, found in zip(graphs, logged, strict=True):
        check(graph, found)
    assert {graph.name for graph in graphs} <= set(RESOLVER_METHODS)


def test_a_kernel_that_is_not_modelled_asks_for_less_than_its_bound(tmp_path):
    graphs = unmodelled()
    logged = allocations(graphs, [write_tflite(graph) for graph in graphs], tmp_path)
    for graph, found in zip(graphs, logged, strict=True):
        check(graph, found, exact=False)


def test_the_plan_of_generated_models_is_tflite_micros(tmp_path):
    graphs = [random_graph(seed) for seed in range(14)]
    logged = allocations(graphs, [write_tflite(graph) for graph in graphs], tmp_path)
    for graph, found in zip(graphs, logged, strict=True):
        check(graph, found)


def test_the_plan_of_the_mlperf_tiny_models_is_tflite_micros(mlperf_dir, tmp_path):
    models = [(mlperf_dir / f"{m}_int8.tflite").read_bytes() for m in MODELS]
    graphs = [read_tflite(model) for model in models]
    for graph, found in zip(graphs, allocations(graphs, models, tmp_path), strict=True):
        check(graph, found)
