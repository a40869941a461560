"""The names of a model's inputs and outputs in its signature, which is untrusted."""

from __future__ import annotations

from typing import Any

from edgebuild.errors import ModelError
from edgebuild.tflite import schema
from edgebuild.tflite.reader import _DAMAGE, MAX_COUNT, clean_name


def signature_names(model: bytes, *, where: str = "model") -> tuple[dict[int, str], dict[int, str]]:
    """Return the first signature's names, by place among the inputs and among the outputs.

    Both are empty when the model has no signature, or one that does not name every input and
    output of the first subgraph exactly once.
    """
    try:
        root = schema.module().Model.GetRootAs(model, 0)
        if root.SignatureDefsLength() < 1 or root.SubgraphsLength() < 1:
            return {}, {}
        signature, subgraph = root.SignatureDefs(0), root.Subgraphs(0)
        inputs = _names(signature.Inputs, signature.InputsLength(), _list(subgraph.InputsAsNumpy()))
        outputs = _names(
            signature.Outputs, signature.OutputsLength(), _list(subgraph.OutputsAsNumpy())
        )
    except _DAMAGE as error:
        raise ModelError(
            f"{where}: its signature is damaged: {error}", hint="export or copy the model again"
        ) from error
    return (inputs, outputs) if inputs and outputs else ({}, {})


def _list(vector: Any) -> list[int]:
    # An accessor returns 0 for a vector that is not there.
    return [] if isinstance(vector, int) else [int(i) for i in vector[:MAX_COUNT]]


def _names(entry: Any, count: int, tensors: list[int]) -> dict[int, str]:
    if count != len(tensors) or len(set(tensors)) != count:
        return {}
    found = {}
    for i in range(count):
        if entry(i).TensorIndex() not in tensors:
            return {}
        raw = entry(i).Name() or b""
        name = clean_name(raw)
        if name.encode() != raw:
            return {}  # a name that cannot be written exactly cannot be asked for
        found[tensors.index(entry(i).TensorIndex())] = name
    return found if len(set(found.values())) == count and all(found.values()) else {}
