"""Pairs of source and compiled models that the suite makes itself, under the names of public ones.

The sources are real models. What stands for the compiled ones has the custom operator, and a
package of the published layout (libedgetpu's ``executable.fbs``) whose instructions and parameters
are random bytes: enough for everything but an Edge TPU.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

from edgebuild.coral.package import CUSTOM_OP, DATA_TYPES
from edgebuild.graph import DType, Graph, Op, Quantization, Tensor
from edgebuild.tflite.writer import write_tflite

RUNTIME = 14
COMPILER = "16.0.384591198"
_TOKEN = 0xFCE222D70D502FB8
_ENDS = {"uint8": Quantization((0.0078,), (127,)), "int8": Quantization((0.0078,), (-1,))}


def write_pairs(folder: Path) -> None:
    """Write each pair into ``folder``, and ``truth.json`` with what the compiler made of it."""
    folder.mkdir(parents=True)
    truths = []
    for graph, mapped, cached_bytes in (_dense(), _split(), _with_class()):
        name = graph.name
        (folder / f"{name}.tflite").write_bytes(write_tflite(graph))
        compiled = _compiled(graph, mapped, cached_bytes)
        (folder / f"{name}_edgetpu.tflite").write_bytes(write_tflite(compiled))
        kinds = [op.kind for op in graph.ops]
        truths.append(
            {
                "model": f"{name}.tflite",
                "ops": Counter(kinds),
                "mapped": Counter(kinds[:mapped]),
                "remaining_on_cpu": Counter(kinds[mapped:]),
                "param_bytes_cached": cached_bytes,
                "param_bytes_streamed": 0,
                "min_runtime": RUNTIME,
            }
        )
    (folder / "truth.json").write_text(json.dumps({"pairs": truths}))


def _graph(name: str, tensors: Sequence[Tensor], ops: Sequence[Op], *ends: Sequence[int]) -> Graph:
    placed = tuple(Op(o.kind, o.inputs, o.outputs, o.attrs, i) for i, o in enumerate(ops))
    return Graph(name, tuple(ends[0]), tuple(ends[1]), placed, {t.index: t for t in tensors})


def _dense() -> tuple[Graph, int, int]:
    weights = np.random.default_rng(0).integers(-127, 128, (256, 256), np.int8)
    row = (1, 256)
    tensors = [
        Tensor(0, "serving_default_keras_tensor:0", row, DType.UINT8, _ENDS["uint8"]),
        Tensor(1, "tfl.quantize", row, DType.INT8, _ENDS["int8"]),
        Tensor(2, "weights", (256, 256), DType.INT8, Quantization((0.01,), (0,)), weights),
        Tensor(3, "dense", row, DType.INT8, Quantization((0.02,), (1,))),
        Tensor(4, "scores", row, DType.UINT8, Quantization((0.02,), (129,))),
    ]
    ops = [
        Op("QUANTIZE", (0,), (1,)),
        Op("FULLY_CONNECTED", (1, 2), (3,), {"fused_activation_function": "NONE"}),
        Op("QUANTIZE", (3,), (4,)),
    ]
    return _graph("dense_256", tensors, ops, (0,), (4,)), 3, 67_584


def _split() -> tuple[Graph, int, int]:
    def image(index: int, name: str, channels: int) -> Tensor:
        return Tensor(index, name, (1, 8, 8, channels), DType.UINT8, _ENDS["uint8"])

    axis = Tensor(4, "axis", (), DType.INT32, None, np.array(3, np.int32))
    parts = [image(5 + i, f"split{i}", 1) for i in range(6)]
    inputs = [image(0, "a", 3), image(1, "b", 1), image(2, "c", 2)]
    tensors = [*inputs, image(3, "all", 6), axis, *parts, image(11, "two", 2)]
    join = {"axis": 3, "fused_activation_function": "NONE"}
    ops = [
        Op("CONCATENATION", (0, 1, 2), (3,), join),
        Op("SPLIT", (4, 3), tuple(range(5, 11)), {"num_splits": 6}),
        Op("CONCATENATION", (8, 10), (11,), join),
    ]
    return _graph("split_concat", tensors, ops, (0, 1, 2), (5, 6, 7, 9, 11)), 3, 192


def _with_class() -> tuple[Graph, int, int]:
    """A layer that maps, and two operators that stay on the CPU."""
    weights = np.random.default_rng(1).integers(-127, 128, (10, 64), np.int8)
    axis = Tensor(4, "axis", (), DType.INT32, None, np.array(1, np.int32))
    tensors = [
        Tensor(0, "pixels", (1, 64), DType.INT8, _ENDS["int8"]),
        Tensor(1, "weights", (10, 64), DType.INT8, Quantization((0.01,), (0,)), weights),
        Tensor(2, "logits", (1, 10), DType.INT8, Quantization((0.05,), (0,))),
        Tensor(3, "absolute", (1, 10), DType.INT8, Quantization((0.05,), (0,))),
        axis,
        Tensor(5, "class", (1,), DType.INT32),
    ]
    ops = [
        Op("FULLY_CONNECTED", (0, 1), (2,), {"fused_activation_function": "NONE"}),
        Op("ABS", (2,), (3,)),
        Op("ARG_MAX", (3, 4), (5,), {"output_type": "INT32"}),
    ]
    return _graph("with_class", tensors, ops, (0,), (5,)), 1, 640


def _compiled(graph: Graph, mapped: int, cached_bytes: int) -> Graph:
    """Return the graph with its first operators in one package."""
    made = {i for op in graph.ops[:mapped] for i in op.outputs}
    read = {i for op in graph.ops[mapped:] for i in op.inputs}
    outputs = tuple(sorted(made & {*read, *graph.outputs}))
    sides = [[graph.tensors[i] for i in indices] for indices in (graph.inputs, outputs)]
    options = {"custom_options": package(*sides, cached_bytes)}
    ops = (Op(CUSTOM_OP, graph.inputs, outputs, options), *graph.ops[mapped:])
    kept = {*graph.inputs, *outputs, *(i for op in ops for i in (*op.inputs, *op.outputs))}
    tensors = {i: graph.tensors[i] for i in sorted(kept)}
    return graph.replace(ops=ops, tensors=tensors)


def package(inputs: Sequence[Tensor], outputs: Sequence[Tensor], cached_bytes: int) -> bytes:
    """Return the custom options of a compiled operator with these ends."""
    programs = [
        _executable("model", 2, inputs, outputs, instructions=4_224, parameters=0),
        _executable("Unknown", 1, (), (), instructions=1_072, parameters=cached_bytes),
    ]
    several = flatbuffers.Builder(1024)
    several.Finish(_table(several, {0: _vector(several, [_bytes(several, p) for p in programs])}))
    builder = flatbuffers.Builder(1024)
    content = _bytes(builder, bytes(several.Output()))
    fields = {0: RUNTIME, 1: content, 4: _text(builder, "cl/made")}
    builder.Finish(_table(builder, fields), file_identifier=b"DWN1")
    return bytes(flexbuffers.Dumps({"4": bytes(builder.Output())}))


def _executable(
    name: str,
    kind: int,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    instructions: int,
    parameters: int,
) -> bytes:
    rng = np.random.default_rng(kind)
    b = flatbuffers.Builder(1024)
    stream = _table(b, {0: _bytes(b, rng.bytes(instructions))})
    fields = {
        1: _text(b, name),
        3: 1,
        5: _vector(b, [stream]),
        8: _vector(b, [_layer(b, t) for t in inputs]),
        9: _vector(b, [_layer(b, t) for t in outputs]),
        10: _text(b, "beagle"),
        12: 832,
    }
    if parameters:
        fields[6] = _bytes(b, rng.bytes(parameters))
    b.Finish(_table(b, fields, kind=(13, kind), token=(14, _TOKEN)))
    return bytes(b.Output())


def _layer(b: flatbuffers.Builder, tensor: Tensor) -> int:
    assert tensor.quantization is not None
    zero, scale = tensor.quantization.zero_points[0], tensor.quantization.scales[0]
    numerics = _table(b, {0: zero}, scale=(1, scale))
    y, x, z = (1, 1, 1, *tensor.shape)[-3:]
    code = {name: number for number, name in DATA_TYPES.items()}[tensor.dtype.value]
    fields = {0: _text(b, tensor.name), 1: tensor.nbytes, 2: y, 3: x, 4: z, 5: numerics}
    return _table(b, fields, kind=(6, code))


class _Offset(int):
    """Where something was written, to be told from a number."""


def _table(
    b: flatbuffers.Builder,
    fields: dict[int, int],
    *,
    kind: tuple[int, int] | None = None,
    token: tuple[int, int] | None = None,
    scale: tuple[int, float] | None = None,
) -> int:
    b.StartObject(20)
    for slot, value in fields.items():
        if isinstance(value, _Offset):
            b.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            b.PrependInt32Slot(slot, value, 0)
    if kind is not None:
        b.PrependInt16Slot(*kind, 0)
    if token is not None:
        b.PrependUint64Slot(*token, 0)
    if scale is not None:
        b.PrependFloat32Slot(*scale, 0.0)
    return _Offset(b.EndObject())


def _bytes(b: flatbuffers.Builder, content: bytes) -> int:
    return _Offset(b.CreateByteVector(content))


def _vector(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return _Offset(b.EndVector())


def _text(b: flatbuffers.Builder, text: str) -> int:
    return _Offset(b.CreateString(text))
