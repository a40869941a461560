"""What an Android module is made from: a model's inputs and outputs, and the target's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Tensor

MAX_BYTES = (1 << 31) - 1
"""A Java buffer's size is an int."""

MAX_LABELS = 1 << 14
"""More would not fit into the constants of one Java class."""

_TYPES = frozenset(
    {DType.FLOAT32, DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.INT64, DType.BOOL}
)
"""What LiteRT's Java buffers hold."""

_QUANTIZED = frozenset({DType.INT8, DType.UINT8, DType.INT16, DType.INT32})


@dataclass(frozen=True)
class TensorInterface:
    """One input or output of the ``.tflite``.

    ``scale`` 0 means not quantized. ``labels``: one for each element of the last dimension.
    ``signature_name``: its name in the model's signature, where that is known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    scale: float = 0.0
    zero_point: int = 0
    labels: tuple[str, ...] = ()
    signature_name: str = ""

    def __post_init__(self) -> None:
        if self.dtype not in _TYPES:
            raise InputError(
                f"tensor '{self.name[:80]}' is {self.dtype}, which an app cannot fill or read",
                hint="export the model with float32 or int8 inputs and outputs",
            )
        nbytes = math.prod(self.shape) * self.dtype.itemsize
        if any(d < 1 for d in self.shape) or nbytes > MAX_BYTES:
            raise InputError(
                f"tensor '{self.name[:80]}' has shape {list(self.shape)}: {nbytes:,} bytes",
                hint="export the model with fixed dimensions",
            )
        if not (math.isfinite(self.scale) and 0 <= self.scale <= 3.4e38):
            raise InputError(f"tensor '{self.name[:80]}' has scale {self.scale}")
        if self.scale and self.dtype not in _QUANTIZED:
            raise InputError(f"tensor '{self.name[:80]}' is {self.dtype} and has a scale")
        if self.scale and not self._lowest <= self.zero_point <= self._highest:
            raise InputError(f"tensor '{self.name[:80]}' has zero point {self.zero_point}")
        if self.labels and (len(self.labels) > MAX_LABELS or self.labels_wrong):
            raise InputError(
                f"{len(self.labels):,} labels for '{self.name[:80]}' of shape {list(self.shape)}",
                hint=f"one for each class, at most {MAX_LABELS:,}",
            )

    @property
    def labels_wrong(self) -> bool:
        """True when there is not one label for each element of the last dimension."""
        return not self.shape or len(self.labels) != self.shape[-1]

    @property
    def _lowest(self) -> int:
        return int(np.iinfo(self.dtype.numpy).min)

    @property
    def _highest(self) -> int:
        return int(np.iinfo(self.dtype.numpy).max)


@dataclass(frozen=True)
class ModelInterface:
    """A model by its inputs and outputs, in the order of its subgraph."""

    name: str
    inputs: tuple[TensorInterface, ...]
    outputs: tuple[TensorInterface, ...]

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise InputError(f"model '{self.name[:80]}' has no inputs or no outputs")


@dataclass(frozen=True)
class NpuAsset:
    """The same model compiled for the NPU of the chip ``soc``, which runs ``npu_operators`` of its
    ``operators``."""

    soc: str
    npu_operators: int
    operators: int

    @property
    def share(self) -> str:
        """What the NPU runs, in words."""
        if self.npu_operators == self.operators:
            return f"all {self.operators} operators"
        return f"{self.npu_operators} of {self.operators} operators, the CPU the others"


@dataclass(frozen=True)
class AndroidSettings:
    """Where and how the model runs.

    ``delegate``: xnnpack, gpu, nnapi or npu; native for ``native_module``. ``vendor``: of the NPU,
    qualcomm, mediatek or google. ``api``: "" for the delegate's own, or for gpu "compiled_model".
    ``package``: of the wrapper, "" for ``dev.edgebuild.<model>``, native's
    ``dev.edgebuild.<model>.jni``. ``threads``: of the CPU, what ``Options`` of the wrapper start
    with. ``android_gradle_plugin``: its major version; 9 compiles Kotlin by itself, 8 needs a
    plugin.
    """

    delegate: str
    min_sdk: int
    compile_sdk: int = 36
    package: str = ""
    threads: int = 4
    api: str = ""
    vendor: str = ""
    android_gradle_plugin: int = 9

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise InputError(f"threads is {self.threads}", hint="1 to 64")


def interface_of(
    graph: Graph,
    name: str,
    *,
    labels: Sequence[str] = (),
    signature: tuple[Mapping[int, str], Mapping[int, str]] = ({}, {}),
) -> ModelInterface:
    """Return the interface of ``graph``.

    Args:
        graph: what ``read_tflite`` gives for the file that is shipped.
        name: the model's name.
        labels: of the first output.
        signature: names in the signature by place among the inputs and among the outputs, from
            ``edgebuild.tflite.signatures.signature_names``.
    """
    outputs = [
        _tensor(graph.tensors[index], signature[1].get(place, ""), labels if place == 0 else ())
        for place, index in enumerate(graph.outputs)
    ]
    inputs = [
        _tensor(graph.tensors[index], signature[0].get(place, ""), ())
        for place, index in enumerate(graph.inputs)
    ]
    return ModelInterface(name, tuple(inputs), tuple(outputs))


def _tensor(tensor: Tensor, signature_name: str, labels: Sequence[str]) -> TensorInterface:
    quantized = tensor.quantization is not None and tensor.dtype in _QUANTIZED
    return TensorInterface(
        tensor.name,
        tensor.shape,
        tensor.dtype,
        tensor.scale if quantized else 0.0,
        tensor.zero_point if quantized else 0,
        tuple(labels),
        signature_name,
    )
