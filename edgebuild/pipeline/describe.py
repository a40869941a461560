"""The TFLite metadata that a build writes: what the model says of its inputs and outputs, what the
data show of them, and what the user says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from edgebuild import __version__
from edgebuild.errors import InputError, nearest
from edgebuild.graph import DType, Graph, Tensor
from edgebuild.models.data import DataSet
from edgebuild.models.preprocessing import NONE, Preprocessing, Step, affine
from edgebuild.project import Normalization
from edgebuild.tflite.metadata import TensorMetadata, describe, read_metadata, write_metadata


def with_metadata(
    model: bytes,
    graph: Graph,
    name: str,
    *,
    labels: tuple[str, ...] = (),
    sets: Sequence[DataSet] = (),
    normalization: Mapping[str, Normalization] | None = None,
    preprocessing: Preprocessing = NONE,
) -> bytes:
    """Return ``model`` with TFLite metadata; one that has metadata of its own keeps it.

    Args:
        model: a ``.tflite`` file.
        graph: what it says.
        name: the model's name.
        labels: of the first output.
        sets: the data that the user gave; noise among them says nothing.
        normalization: of inputs by name, over what the data show.
        preprocessing: what comes after that, before the model reads them.

    Raises:
        InputError: the normalization is of no input, does not fit it, or cannot be added.
    """
    given = normalization or {}
    _check(graph, given)
    if read_metadata(model) is not None:
        if given:
            raise InputError(
                "the model has metadata of its own, which is kept: no normalization can be added",
                hint="leave [normalization] out, or pass the model without metadata",
            )
        return model
    said = describe(graph, name=name, description=f"made by edgebuild {__version__}")
    real = [data for data in sets if not data.is_random and len(data.x) == len(graph.inputs)]
    inputs = [
        _prepared(
            _with_range(
                _with_normalization(own, tensor, position, real, given.get(tensor.name)),
                [data.x[position] for data in real],
            ),
            preprocessing.steps.get(position, ()),
            tensor,
        )
        for position, (own, tensor) in enumerate(zip(said.inputs, graph.input_tensors, strict=True))
    ]
    first = dataclasses.replace(said.outputs[0], labels=labels)
    return write_metadata(
        model,
        dataclasses.replace(said, inputs=tuple(inputs), outputs=(first, *said.outputs[1:])),
    )


def _check(graph: Graph, given: Mapping[str, Normalization]) -> None:
    tensors = {tensor.name: tensor for tensor in graph.input_tensors}
    for name, normalization in given.items():
        if name not in tensors:
            raise InputError(
                f"normalization: '{name[:80]}' is not an input{nearest(name[:60], tensors)}",
                details=[f"inputs: {', '.join(tensors)}"],
            )
        channels = tensors[name].shape[-1] if tensors[name].shape else 1
        if len(normalization.mean) not in (1, channels):
            raise InputError(
                f"normalization of '{name[:80]}' has {len(normalization.mean)} means",
                hint=f"one, or one for each of its {channels} channels",
            )


def _with_normalization(
    own: TensorMetadata,
    tensor: Tensor,
    position: int,
    sets: Sequence[DataSet],
    given: Normalization | None,
) -> TensorMetadata:
    """Add the user's normalization, else the one by which all data became real values."""
    if given is not None:
        return dataclasses.replace(own, mean=given.mean, std=given.std)
    if tensor.quantization is not None:
        takes_reals = all(data.x[position].dtype != tensor.dtype.numpy for data in sets)
    else:
        takes_reals = tensor.dtype == DType.FLOAT32
    found = {data.normalization(position) for data in sets}
    pair = found.pop() if takes_reals and len(found) == 1 else None
    return own if pair is None else dataclasses.replace(own, mean=pair[:1], std=pair[1:])


def _prepared(own: TensorMetadata, steps: Sequence[Step], tensor: Tensor) -> TensorMetadata:
    """Add ``steps`` behind the normalization that is there: both are one, ``(value - mean) / std``.
    Where they differ within a channel metadata cannot say it, and says nothing."""
    channels = tensor.shape[-1] if tensor.shape else 1
    pair = affine(steps, channels) if steps else None
    if not steps:
        return own
    if pair is None or not pair[0].all():
        return dataclasses.replace(own, mean=(), std=(), minimum=(), maximum=())
    scale, offset = pair
    before = np.asarray(own.mean or (0.0,)), np.asarray(own.std or (1.0,))
    mean, std = before[0] - offset * before[1] / scale, before[1] / scale
    return dataclasses.replace(
        own, mean=tuple(mean.tolist()), std=tuple(std.tolist()), minimum=(), maximum=()
    )


def _with_range(own: TensorMetadata, arrays: Sequence[np.ndarray]) -> TensorMetadata:
    """Add the range of the values in the data, where the tensor's type gives none."""
    if own.minimum or not arrays:
        return own
    low = float(np.float32(min(array.min() for array in arrays)))
    high = float(np.float32(max(array.max() for array in arrays)))
    return dataclasses.replace(own, minimum=(low,), maximum=(high,))
