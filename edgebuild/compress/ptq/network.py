"""A float ``.tflite`` as operators whose weights can be read and replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.ptq.artifact import short_name
from edgebuild.models.float_tflite import normalised, pack, tensor_name, unpack
from edgebuild.tflite import schema

_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""Operators with weights that are understood, and the dimension of their output channels."""


@dataclass(frozen=True)
class Operator:
    """One operator. Tensors are numbers, -1 where an optional one is absent."""

    number: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any

    @property
    def output(self) -> int:
        """The first output."""
        return self.outputs[0]

    @property
    def activation(self) -> str:
        """The fused activation: NONE, RELU, RELU6, ..."""
        value = getattr(self.options, "fusedActivationFunction", 0)
        return schema.enum_names("ActivationFunctionType")[value]

    @property
    def axis(self) -> int:
        """The dimension of the weights that counts output channels."""
        return _AXIS[self.kind]


class Network:
    """One subgraph of float32 tensors. Weights are replaced in copies, never in place.

    Raises ValueError for a model of several subgraphs.
    """

    def __init__(self, content: bytes) -> None:
        self.original_names = [
            (t.name or b"").decode(errors="replace") for t in unpack(content).subgraphs[0].tensors
        ]
        self._model = unpack(normalised(content))
        if len(self._model.subgraphs) != 1:
            raise ValueError("the model has several subgraphs")
        self._graph = self._model.subgraphs[0]
        self.operators = tuple(self._operator(i) for i in range(len(self._graph.operators)))
        self.changes: dict[int, np.ndarray] = {}

    def _operator(self, number: int) -> Operator:
        op = self._graph.operators[number]
        code = self._model.operatorCodes[op.opcodeIndex]
        kind = schema.enum_names("BuiltinOperator")[code.builtinCode]
        inputs = () if op.inputs is None else op.inputs
        return Operator(
            number,
            kind,
            tuple(int(i) for i in inputs),
            tuple(int(i) for i in op.outputs),
            op.builtinOptions,
        )

    def replaced(self, changes: Mapping[int, np.ndarray]) -> Network:
        """Return a copy with other float32 constants: {tensor: values of the same shape}."""
        copy = Network.__new__(Network)
        copy.__dict__.update(self.__dict__)
        copy.changes = {
            **self.changes,
            **{i: np.ascontiguousarray(v, np.float32) for i, v in changes.items()},
        }
        return copy

    @property
    def inputs(self) -> tuple[int, ...]:
        """The network's inputs."""
        return tuple(int(i) for i in self._graph.inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The network's outputs."""
        return tuple(int(i) for i in self._graph.outputs)

    def name(self, tensor: int) -> str:
        """Return the name that a tensor has while it is being quantized."""
        return tensor_name(tensor)

    def label(self, op: Operator) -> str:
        """Return an operator's place for people: its number, kind and output's name."""
        return f"#{op.number} {op.kind} '{short_name(self.original_names[op.output])}'"

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return a tensor's shape."""
        shape = self._graph.tensors[tensor].shape
        return () if shape is None else tuple(int(d) for d in shape)

    def is_float(self, tensor: int) -> bool:
        """Return whether a tensor holds float32."""
        return bool(self._graph.tensors[tensor].type == schema.module().TensorType.FLOAT32)

    def constant(self, tensor: int) -> np.ndarray | None:
        """Return a float32 constant's values, None for a tensor that is computed."""
        if tensor < 0 or not self.is_float(tensor):
            return None
        if tensor in self.changes:
            return self.changes[tensor]
        raw = self._model.buffers[self._graph.tensors[tensor].buffer].data
        if raw is None or len(raw) == 0:
            return None
        return np.frombuffer(bytes(raw), "<f4").reshape(self.shape(tensor))

    def computed(self) -> tuple[int, ...]:
        """Return the float32 tensors that are inputs or computed."""
        known = {*self.inputs, *(i for op in self.operators for i in op.outputs)}
        return tuple(sorted(i for i in known if i >= 0 and self.is_float(i)))

    def weighted(self) -> tuple[Operator, ...]:
        """Return the operators with constant float32 weights, in order."""
        return tuple(
            op
            for op in self.operators
            if op.kind in _AXIS and len(op.inputs) > 1 and self.constant(op.inputs[1]) is not None
        )

    def readers(self, tensor: int) -> tuple[Operator, ...]:
        """Return the operators that read a tensor."""
        return tuple(op for op in self.operators if tensor in op.inputs)

    def bias(self, op: Operator) -> np.ndarray | None:
        """Return a weighted operator's bias, None when it has none that is constant."""
        return self.constant(op.inputs[2]) if len(op.inputs) > 2 else None

    def content(self, ranges: Mapping[int, tuple[float, float]] | None = None) -> bytes:
        """Return the flatbuffer; ``ranges`` of tensors are written into it."""
        s = schema.module()
        model = self.model()
        for tensor, (low, high) in (ranges or {}).items():
            quantization = s.QuantizationParametersT()
            quantization.min, quantization.max = [low], [high]
            model.subgraphs[0].tensors[tensor].quantization = quantization
        return pack(model)

    def model(self) -> Any:
        """Return the flatbuffer as objects, which may be changed."""
        import copy

        s = schema.module()
        model = copy.copy(self._model)
        graph = copy.copy(self._graph)
        model.subgraphs, model.buffers = [graph], list(self._model.buffers)
        graph.tensors = [copy.copy(tensor) for tensor in self._graph.tensors]
        for tensor, values in self.changes.items():
            buffer = s.BufferT()
            buffer.data = np.frombuffer(values.astype("<f4").tobytes(), np.uint8)
            graph.tensors[tensor].buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.operators = [copy.copy(op) for op in self._graph.operators]
        return model
