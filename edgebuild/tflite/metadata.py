"""TFLite model metadata: who made a model, what its inputs and outputs mean, and its labels.

The format is that of the TFLite metadata tools: a flatbuffer with identifier ``M001`` in the
buffer that the model's metadata entry ``TFLITE_METADATA`` names, and label files in a zip archive
behind the model. ``write_metadata`` never packs the model anew: it puts a new root in front of the
old bytes, which stay as they are (so do alignments and fields that no schema here knows).
"""

from __future__ import annotations

from dataclasses import replace

from edgebuild.errors import InputError, ModelError
from edgebuild.graph import DType, Graph, Tensor
from edgebuild.tflite.associated_files import append_files, split_files
from edgebuild.tflite.metadata_flatbuffer import decode_metadata, encode_metadata
from edgebuild.tflite.metadata_root import find_metadata_buffer, prepend_root
from edgebuild.tflite.metadata_types import ModelMetadata, TensorMetadata

__all__ = [
    "ModelMetadata",
    "TensorMetadata",
    "describe",
    "read_metadata",
    "write_metadata",
]

MAX_LABELS = 1 << 16

_INTEGERS = frozenset({DType.INT8, DType.UINT8, DType.INT16, DType.INT32})

_BOUNDED: dict[str, tuple[float, ...]] = {
    "SOFTMAX": (0.0, 1.0),
    "LOGISTIC": (0.0, 1.0),
    "TANH": (-1.0, 1.0),
}
"""Operators whose outputs have a range whatever goes in."""


def describe(
    graph: Graph, *, name: str, description: str = "", version: str = "", author: str = ""
) -> ModelMetadata:
    """Return the metadata that can be said of ``graph`` itself: names, types, ranges of integers,
    and of floats that an operator bounds.

    Labels, normalization and descriptions are the caller's to add with ``dataclasses.replace``.
    """
    makers = {i: op.kind for op in graph.ops for i in op.outputs}
    inputs, outputs = (
        tuple(_describe_tensor(graph.tensors[i], makers.get(i, "")) for i in end)
        for end in (graph.inputs, graph.outputs)
    )
    return ModelMetadata(
        name=name,
        description=description,
        version=version,
        author=author,
        inputs=inputs,
        outputs=outputs,
    )


def write_metadata(model: bytes, metadata: ModelMetadata, *, where: str = "model") -> bytes:
    """Return ``model`` with ``metadata``, replacing what metadata it had; same input, same bytes.

    Args:
        model: a ``.tflite`` file; label files behind it that ``metadata`` does not name stay.
        metadata: as many inputs and outputs as the model has.
        where: what messages call the file.

    Raises:
        ModelError: the model is damaged, or keeps its weights outside the flatbuffer.
        InputError: the metadata does not fit the model, or has text that cannot be written.
    """
    _check_labels(metadata)
    flatbuffer, files = split_files(model, where)
    labels = {}
    for kind, tensors in (("input", metadata.inputs), ("output", metadata.outputs)):
        for position, tensor in enumerate(tensors):
            if tensor.labels:
                labels[_label_file(kind, position)] = _label_text(tensor.labels)
    encoded = encode_metadata(metadata, _label_file)
    stamped = prepend_root(
        flatbuffer, encoded, len(metadata.inputs), len(metadata.outputs), where=where
    )
    return append_files(stamped, {**files, **labels})


def read_metadata(model: bytes, *, where: str = "model") -> ModelMetadata | None:
    """Return the metadata of a ``.tflite`` file, or None when it has none.

    Raises:
        ModelError: the model or its metadata is damaged.
    """
    flatbuffer, files = split_files(model, where)
    encoded = find_metadata_buffer(flatbuffer, where=where)
    if encoded is None:
        return None
    metadata, label_files = decode_metadata(encoded, where=where)
    return replace(
        metadata,
        inputs=_with_labels(metadata.inputs, label_files[0], files, where),
        outputs=_with_labels(metadata.outputs, label_files[1], files, where),
    )


def _describe_tensor(tensor: Tensor, maker: str) -> TensorMetadata:
    shape = " x ".join(str(d) for d in tensor.shape) or "scalar"
    text = f"{tensor.dtype} {shape}"
    if tensor.quantization is None or tensor.dtype not in _INTEGERS:
        bounds = _BOUNDED.get(maker, ())
        return TensorMetadata(tensor.name, text, minimum=bounds[:1], maximum=bounds[1:])
    import numpy as np

    info = np.iinfo(tensor.dtype.numpy)
    # The file holds float32; so does this, that what is read compares equal.
    low, high = (np.float32(tensor.scale * (q - tensor.zero_point)) for q in (info.min, info.max))
    text += f", real value = {tensor.scale:.9g} * (q - {tensor.zero_point})"
    return TensorMetadata(tensor.name, text, minimum=(float(low),), maximum=(float(high),))


def _check_labels(metadata: ModelMetadata) -> None:
    for tensor in (*metadata.inputs, *metadata.outputs):
        if len(tensor.labels) > MAX_LABELS:
            raise InputError(f"'{tensor.name}' has {len(tensor.labels):,} labels, at most 65,536")
        for label in tensor.labels:
            if not label or len(label.splitlines()) != 1:
                raise InputError(
                    f"label {label[:40]!r} of '{tensor.name}' cannot be a line of a label file",
                    hint="store one name for each class, without line breaks",
                )


def _label_file(kind: str, position: int) -> str:
    """Return the name of a tensor's label file; the first output's is what the tools expect."""
    return "labels.txt" if (kind, position) == ("output", 0) else f"labels_{kind}{position}.txt"


def _label_text(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def _with_labels(
    tensors: tuple[TensorMetadata, ...],
    label_files: tuple[str, ...],
    files: dict[str, bytes],
    where: str,
) -> tuple[TensorMetadata, ...]:
    found = []
    for tensor, name in zip(tensors, label_files, strict=True):
        labels: tuple[str, ...] = ()
        if name:
            if name not in files:
                raise ModelError(f"{where}: its metadata names the file '{name}', not packed in it")
            text = files[name].decode("utf-8", "replace")
            labels = tuple(line for line in text.splitlines() if line)[:MAX_LABELS]
        found.append(replace(tensor, labels=labels))
    return tuple(found)
