"""The parts that a model was cut into, and which tensor of which part feeds which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.graph import Graph


@dataclass(frozen=True)
class Feed:
    """Where a tensor comes from: output ``position`` of part ``part``, counted from 1; of part 0,
    the caller, it is the model's input ``position``."""

    tensor: str
    part: int
    position: int


@dataclass(frozen=True)
class ModelPart:
    """One part: its file below the build folder, where it runs, its operators' positions in
    ``model.tflite``, what feeds each of its inputs, and its outputs' names."""

    file: str
    runs_on: str
    operators: tuple[int, ...]
    inputs: tuple[Feed, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class ModelParts:
    """All parts in the order in which they run, and what makes each of the model's outputs.

    On ``samples`` inferences they gave the whole model's outputs, byte for byte.
    """

    parts: tuple[ModelPart, ...]
    outputs: tuple[Feed, ...]
    samples: int

    def summary(self) -> str:
        """Return in a line how many parts there are, and how many operators run where."""
        counts = Counter(part.runs_on for part in self.parts for _ in part.operators)
        places = sorted(counts, key=lambda place: (place == "CPU", place))
        operators = ", ".join(f"{counts[place]} on the {place}" for place in places)
        return f"{len(self.parts)} (operators: {operators}), checked on {self.samples} samples"


def join_parts(
    graph: Graph, graphs: Sequence[Graph], names: Sequence[tuple[str, str]], samples: int
) -> ModelParts:
    """Return how ``graphs``, the parts of ``graph``, join; ``names`` are (file, where it runs)."""
    feeds = {i: Feed(graph.tensors[i].name, 0, n) for n, i in enumerate(graph.inputs)}
    place = {op: position for position, op in enumerate(graph.ops)}
    parts = []
    for number, (part, (file, runs_on)) in enumerate(zip(graphs, names, strict=True), 1):
        inputs = tuple(feeds[i] for i in part.inputs)
        outputs = tuple(tensor.name for tensor in part.output_tensors)
        parts.append(ModelPart(file, runs_on, tuple(place[op] for op in part.ops), inputs, outputs))
        made = zip(part.outputs, outputs, strict=True)
        feeds |= {i: Feed(name, number, n) for n, (i, name) in enumerate(made)}
    return ModelParts(tuple(parts), tuple(feeds[i] for i in graph.outputs), samples)


def parts_from_json(value: Mapping[str, Any]) -> ModelParts:
    """Return the ModelParts that a report's JSON holds."""
    parts = tuple(
        ModelPart(
            **{**row, "operators": tuple(row["operators"]), "outputs": tuple(row["outputs"])}
            | {"inputs": _feeds(row["inputs"])}
        )
        for row in value["parts"]
    )
    return ModelParts(parts, _feeds(value["outputs"]), value["samples"])


def _feeds(rows: Sequence[Mapping[str, Any]]) -> tuple[Feed, ...]:
    return tuple(Feed(**row) for row in rows)
