"""What a finished ``.tflite`` takes, holds and computes. For the process that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebuild.tflite import schema

_DTYPES = {
    "INT8": "<i1", "UINT8": "<u1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FLOAT16": "<f2", "FLOAT32": "<f4", "BOOL": "<u1",
}  # fmt: skip


def constant_bytes(content: bytes) -> int:
    """Return the bytes of all constants of a ``.tflite``, as they are stored."""
    return sum(array.nbytes for array in constants(content).values())


def constants(content: bytes) -> dict[str, np.ndarray]:
    """Return the stored numbers of each constant tensor, by the tensor's number: ``t3``.

    What has no type of its own in NumPy (int4, two to a byte) comes as bytes. Tensors that share a
    buffer are named once, by the first.
    """
    model = schema.module().Model.GetRootAs(content, 0)
    types = schema.enum_names("TensorType")
    found: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    for position in range(model.SubgraphsLength()):
        graph = model.Subgraphs(position)
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            data = _buffer(content, model.Buffers(tensor.Buffer()))
            if tensor.Buffer() in seen or not data:
                continue
            seen.add(tensor.Buffer())
            array = np.frombuffer(data, _DTYPES.get(types[tensor.Type()], "<u1"))
            shape = [tensor.Shape(d) for d in range(tensor.ShapeLength())]
            if array.size == int(np.prod(shape, dtype=np.int64)):
                array = array.reshape(shape)
            found[f"t{index}" if position == 0 else f"g{position}/t{index}"] = array
    return found


def _buffer(content: bytes, buffer: Any) -> bytes:
    if buffer.Offset() > 1:
        return content[buffer.Offset() : buffer.Offset() + buffer.Size()]
    return b"" if buffer.DataIsNone() else bytes(buffer.DataAsNumpy().tobytes())


def short_name(name: str) -> str:
    """Return what tells most of a converter's name: the first one's last two parts."""
    return "/".join(name.split(";")[0].rsplit("/", 2)[-2:])[-40:]


def first_inputs(content: bytes) -> dict[str, int]:
    """Return the first input of the operator that computes each tensor: {name: number}."""
    graph = schema.module().Model.GetRootAs(content, 0).Subgraphs(0)
    found = {}
    for number in range(graph.OperatorsLength()):
        op = graph.Operators(number)
        if op.InputsLength() and op.OutputsLength():
            name = (graph.Tensors(op.Outputs(0)).Name() or b"").decode(errors="replace")
            found[name] = op.Inputs(0)
    return found


class Runner:
    """Runs a ``.tflite`` with LiteRT; reals go in and come out, whatever its number format.

    ``keep_all`` keeps every tensor, to be read with ``tensor`` after ``run``.
    """

    def __init__(self, content: bytes, *, keep_all: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        # XNNPACK hides tensors, refuses some mixed formats, and its sums depend on the machine.
        self._interpreter = Interpreter(
            model_content=content,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=keep_all,
        )
        self._interpreter.allocate_tensors()
        self.inputs = self._interpreter.get_input_details()
        self.outputs = self._interpreter.get_output_details()

    def run(self, sample: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return real outputs (1, ...) of one sample, an array (\\*shape) for each input."""
        for detail, array in zip(self.inputs, sample, strict=True):
            given = quantized(array, detail).reshape(detail["shape"])
            self._interpreter.set_tensor(detail["index"], given)
        self._interpreter.invoke()
        return [real(self.tensor(d["index"]), d) for d in self.outputs]

    def details(self) -> list[dict[str, Any]]:
        """Return what LiteRT says of each tensor: ``index``, ``name``, ``quantization``."""
        found: list[dict[str, Any]] = self._interpreter.get_tensor_details()
        return found

    def tensor(self, index: int) -> np.ndarray:
        """Return a copy of a tensor's value."""
        value: np.ndarray = self._interpreter.get_tensor(index)
        return value


def run_reals(content: bytes, x: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return each real output (samples, ...) of a ``.tflite`` for a whole data set.

    ``x`` holds an array (samples, ...) for each input, in the model's order.
    """
    runner = Runner(content)
    parts = [runner.run(sample) for sample in zip(*x, strict=True)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def quantized(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return reals in the number format of LiteRT's ``detail`` of a tensor."""
    scale, zero_point = detail["quantization"]
    dtype = detail["dtype"]
    if not scale or not np.issubdtype(dtype, np.integer):
        return np.asarray(array, dtype)
    limits = np.iinfo(dtype)
    ratio = (np.asarray(array, np.float32) / np.float32(scale)).astype(np.float64)
    q = np.trunc(ratio + np.copysign(0.5, ratio)) + zero_point
    return np.clip(q, limits.min, limits.max).astype(dtype)


def real(array: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Return the real values, float32, of a tensor in the number format of its ``detail``."""
    scale, zero_point = detail["quantization"]
    if not scale or not np.issubdtype(array.dtype, np.integer):
        return np.asarray(array, np.float32)
    return (array.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)


def operator_formats(content: bytes) -> list[tuple[str, str]]:
    """Return for each operator its place, kind and output's name, and the number formats of its
    inputs and output: ``("#3 CONV_2D 'relu'", "int16 x int8 + int64 = int16")``."""
    graph = schema.module().Model.GetRootAs(content, 0)
    kinds, types = schema.enum_names("BuiltinOperator"), schema.enum_names("TensorType")
    found = []
    subgraph = graph.Subgraphs(0)

    def type_of(index: int) -> str:
        return types[subgraph.Tensors(index).Type()].lower()

    for number in range(subgraph.OperatorsLength()):
        op = subgraph.Operators(number)
        code = graph.OperatorCodes(op.OpcodeIndex())
        kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = [op.Inputs(i) for i in range(op.InputsLength()) if op.Inputs(i) >= 0]
        read = ", ".join(type_of(i) for i in inputs)
        output = op.Outputs(0)
        name = (subgraph.Tensors(output).Name() or b"").decode(errors="replace")
        found.append((f"#{number} {kind} '{short_name(name)}'", f"{read} to {type_of(output)}"))
    return found
