"""What TFLite metadata says, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorMetadata:
    """One input or output.

    ``mean`` and ``std``: the normalization that real inputs went through, ``(x - mean) / std``, one
    value or one for each channel. ``minimum`` and ``maximum``: the range of the real values after
    it. ``labels``: the classes along the last axis.
    """

    name: str
    description: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelMetadata:
    """A model with its inputs and outputs in the order of its subgraph."""

    name: str
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
