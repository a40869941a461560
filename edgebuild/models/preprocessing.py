"""What is done to the values of an input before the quantized model reads them.

An input whose channels differ by more than 8 bits can hold is scaled in float32, by the user's
firmware, before it becomes integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = ("add", "sub", "mul", "div")
"""What a step does with its numbers."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation in float32 on every value of an input.

    ``values`` are (1,), or (channels,) of the input's last axis, or as many as the input has.
    """

    kind: str
    values: np.ndarray

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Return the values of ``x`` (samples, \\*shape) after the step, float32."""
        values = self.values
        if len(values) not in (1, x.shape[-1]):
            values = values.reshape(x.shape[1:])
        operation = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
        with np.errstate(over="ignore"):
            return np.asarray(operation[self.kind](x.astype(np.float32), values), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return the step as plain JSON values."""
        return {"kind": self.kind, "values": [float(value) for value in self.values]}


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The steps of each input that has some, by the input's position.

    ``made_from`` says where they come from: ``layers`` of the model, or ``data`` to calibrate with.
    """

    steps: Mapping[int, tuple[Step, ...]] = field(default_factory=dict)
    made_from: str = "layers"

    def __bool__(self) -> bool:
        return bool(self.steps)

    def apply(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return what the quantized model reads, in real values, of an array (samples, ...) for
        each input of the original."""
        found = list(arrays)
        for position, steps in self.steps.items():
            for step in steps:
                found[position] = step.apply(found[position])
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "made_from": self.made_from,
            "steps": {str(k): [step.to_json() for step in v] for k, v in self.steps.items()},
        }


NONE = Preprocessing()
"""The quantized model reads what the original does."""


def preprocessing_from_json(value: Mapping[str, Any]) -> Preprocessing:
    """Return the Preprocessing that ``to_json`` gave."""
    return Preprocessing(
        {
            int(position): tuple(
                Step(row["kind"], np.asarray(row["values"], np.float32)) for row in rows
            )
            for position, rows in value["steps"].items()
        },
        value["made_from"],
    )


def affine(steps: Sequence[Step], channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the factor and the offset (channels,), float64, that ``steps`` are together for each
    channel of the last axis; None where they differ within a channel."""
    scale, offset = np.ones(channels), np.zeros(channels)
    for step in steps:
        if len(step.values) not in (1, channels):
            return None
        values = step.values.astype(np.float64)
        if step.kind == "add":
            offset = offset + values
        elif step.kind == "sub":
            offset = offset - values
        elif step.kind == "mul":
            scale, offset = scale * values, offset * values
        else:
            scale, offset = scale / values, offset / values
    return scale, offset
