"""The shapes at which the open dimensions of a model's inputs are built.

A batch that is left open becomes 1, and a note says so. No other dimension is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebuild.errors import InputError, nearest
from edgebuild.graph import Graph
from edgebuild.units import quoted

Shape = tuple[int, ...]
BATCH_NOTE = "built for a batch of 1 (the model's batch dimension is dynamic)"


@dataclass(frozen=True)
class Declared:
    """An input as the model declares it: None for an open dimension, or for an unknown rank."""

    name: str
    shape: tuple[int | None, ...] | None

    def words(self) -> str:
        """Return the shape as ``--input-shape`` takes it, with ``?`` for what is open."""
        if self.shape is None:
            return "?"
        return ",".join("?" if d is None else str(d) for d in self.shape) or "(scalar)"

    def example(self) -> str:
        """Return the same with a batch of 1."""
        return "1" + self.words()[1:] if self.shape and self.shape[0] is None else self.words()


def declared_inputs(graph: Graph) -> list[Declared]:
    """Return the inputs of a ``.tflite``."""
    return [
        Declared(t.name, tuple(None if d < 0 else d for d in t.signature or t.shape))
        for t in graph.input_tensors
    ]


def settle(
    where: str, inputs: Sequence[Declared], given: Mapping[str, Shape]
) -> tuple[tuple[Shape, ...], tuple[str, ...]]:
    """Return the shape of each input, and notes on what the model left open.

    Args:
        where: what messages call the model.
        inputs: in the model's order.
        given: the user's shapes, by the input's name; "" is the only input.

    Raises:
        InputError: a name or shape does not fit the model, or a dimension beside the batch is open
            and not given.
    """
    names = {one.name for one in inputs}
    known = {(inputs[0].name if not n and len(inputs) == 1 else n): s for n, s in given.items()}
    for name in known.keys() - names:
        raise InputError(
            f"{where}: --input-shape {quoted(name)} is not an input{nearest(name, names)}",
            details=[f"inputs: {', '.join(f'{one.name}={one.words()}' for one in inputs)}"],
            hint=f"--input-shape {inputs[0].name}=1,96,96,1, with the name of an input above",
        )
    shapes, missing = [], []
    for one in inputs:
        if one.name in known:
            shapes.append(_checked(where, one, known[one.name]))
        elif one.shape is None or None in one.shape[1:]:
            missing.append(one)
        else:
            shapes.append(tuple(1 if d is None else d for d in one.shape))
    if missing:
        raise InputError(
            f"{where}: input '{missing[0].name}' has dynamic dimensions: {missing[0].words()}",
            details=[f"input '{one.name}' too: {one.words()}" for one in missing[1:]],
            hint=" ".join(f"--input-shape {one.name}={one.example()}" for one in missing)
            + ", with numbers for the question marks",
        )
    is_open = any(one.shape and one.shape[0] is None for one in inputs)
    return tuple(shapes), (BATCH_NOTE,) if is_open else ()


def _checked(where: str, one: Declared, shape: Shape) -> Shape:
    if one.shape is None:
        return shape
    fits = len(shape) == len(one.shape) and all(
        own is None or own == d for own, d in zip(one.shape, shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"{where}: --input-shape {one.name}={','.join(map(str, shape))} does not fit "
            f"the model's {one.words()}",
            hint="only the model's dynamic dimensions can be set",
        )
    if one.shape[:1] == (None,) and shape[0] != 1:
        raise InputError(
            f"{where}: --input-shape {one.name}={','.join(map(str, shape))} has a batch of "
            f"{shape[0]}",
            hint="a build runs one inference at a time: a batch of 1",
        )
    return shape
