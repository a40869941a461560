"""What every delegate's table answers: a verdict for each operator, and the partitions they make.

A delegate is one module with a ``check(graph, delegate) -> Compatibility`` and one line in
``edgebuild.delegates.check``; its operator table is a JSON file with its source in ``data/``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgebuild.figures import Figure
from edgebuild.graph import ABSENT, Graph


@dataclass(frozen=True)
class OpVerdict:
    """Whether the delegate takes one operator; ``reason`` is the constraint that it breaks, in
    words, and empty where the delegate takes it."""

    position: int
    kind: str
    name: str
    reason: str = ""

    @property
    def delegated(self) -> bool:
        """True where the delegate takes the operator."""
        return not self.reason


@dataclass(frozen=True)
class Partition:
    """Operators that run in one place without leaving it.

    ``bytes_in`` are those of activations that other partitions or the caller make, ``bytes_out``
    those that others read, model outputs among them; each tensor counts once.
    """

    delegated: bool
    positions: tuple[int, ...]
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True)
class Compatibility:
    """What a delegate makes of a model.

    ``crossing_bytes`` are copied between delegate and CPU in one inference, the model's own inputs
    and outputs not counted. ``sources`` say where the table is from, ``accepted`` what the
    delegate's own tools say of an operator that it takes. Where only a vendor's compiler can tell,
    ``known`` is False and every operator counts as left to the CPU.
    """

    delegate: str
    verdicts: tuple[OpVerdict, ...]
    partitions: tuple[Partition, ...]
    crossing_bytes: int
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    accepted: str = ""
    known: bool = True

    @property
    def fallbacks(self) -> tuple[OpVerdict, ...]:
        """The operators that are left to the CPU."""
        return tuple(verdict for verdict in self.verdicts if not verdict.delegated)

    @property
    def delegated_partitions(self) -> int:
        """How many partitions the delegate runs."""
        return sum(partition.delegated for partition in self.partitions)

    def table(self) -> list[tuple[str, int, str]]:
        """Return (operator, count, status) rows as the Edge TPU compiler prints them, in order of
        first appearance; the status of a delegated operator is empty."""
        counts = Counter((verdict.kind, verdict.reason) for verdict in self.verdicts)
        return [(kind, count, reason) for (kind, reason), count in counts.items()]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "delegated": len(self.verdicts) - len(self.fallbacks),
            "fallbacks": len(self.fallbacks),
            "delegated_partitions": self.delegated_partitions,
        }

    def figures(self) -> Mapping[str, Figure]:
        """Return what the delegate's table tells in numbers besides; nothing for most."""
        return {}

    def plain(self) -> Compatibility:
        """Return the same without what a single delegate adds."""
        names = [field.name for field in dataclasses.fields(Compatibility)]
        return Compatibility(**{name: getattr(self, name) for name in names})

    def summary(self) -> str:
        """Return one sentence: how much the delegate takes, in how many partitions."""
        count = len(self.verdicts)
        taken = count - len(self.fallbacks)
        if not self.known:
            return f"it is not known yet which of {count} operators the {self.delegate} runs"
        if not taken:
            return f"{self.delegate} runs none of {count} operators: everything stays on the CPU"
        parts = self.delegated_partitions
        sentence = (
            f"{self.delegate} runs {taken} of {count} operators in {parts} "
            f"partition{'s' if parts != 1 else ''}"
        )
        if taken == count:
            return sentence
        return f"{sentence}; {self.crossing_bytes:,} B cross between it and the CPU"


def compatibility_from_json(value: Mapping[str, Any]) -> Compatibility:
    """Return the Compatibility that ``to_json`` made."""
    return Compatibility(
        delegate=value["delegate"],
        verdicts=tuple(OpVerdict(**row) for row in value["verdicts"]),
        partitions=tuple(
            Partition(**{**row, "positions": tuple(row["positions"])})
            for row in value["partitions"]
        ),
        crossing_bytes=value["crossing_bytes"],
        sources=tuple(value["sources"]),
        notes=tuple(value["notes"]),
        accepted=value["accepted"],
        known=value["known"],
    )


def compatibility(
    graph: Graph,
    delegate: str,
    reasons: Sequence[str],
    *,
    max_partitions: int | None = None,
    sources: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Compatibility:
    """Return the compatibility that follows from each operator's reason to be refused ("": taken).

    Args:
        graph: the model.
        delegate: its name, for people.
        reasons: one for each operator, in execution order.
        max_partitions: the delegate keeps so many partitions, those with the most operators.
        sources: where the table is from.
        notes: what the user should know besides.
    """
    taken = [not reason for reason in reasons]
    parts = partition_nodes(graph, taken)
    if max_partitions is not None:
        ranked = sorted((p for kind, p in parts if kind), key=len, reverse=True)
        for part in ranked[max_partitions:]:
            for position in part:
                taken[position] = False
        parts = partition_nodes(graph, taken)
    parted = "1 partition is" if max_partitions == 1 else f"{max_partitions} partitions are"
    verdicts = tuple(
        OpVerdict(
            node.position,
            node.kind,
            node.name,
            reason
            or ("" if taken[node.position] else f"only {parted} delegated, the largest first"),
        )
        for node, reason in zip(graph.nodes(), reasons, strict=True)
    )
    partitions, crossing = _with_bytes(graph, parts)
    return Compatibility(delegate, verdicts, partitions, crossing, tuple(sources), tuple(notes))


def partition_nodes(graph: Graph, taken: Sequence[bool]) -> list[tuple[bool, tuple[int, ...]]]:
    """Return (delegated, positions) of each partition in execution order, as TFLite makes them.

    A partition takes every operator of its kind whose inputs are ready, also behind operators of
    the other kind that it does not depend on (``PartitionGraphIntoIndependentNodeSubsets`` in
    TFLite's graph_info.cc).
    """
    made = {i for op in graph.ops for i in op.outputs}
    ready = {i for i in graph.tensors if i not in made}
    waiting = list(range(len(graph.ops)))
    parts: list[tuple[bool, tuple[int, ...]]] = []
    while waiting:
        kind: bool | None = None
        part: list[int] = []
        grew = True
        while grew:
            grew, rest = False, []
            for position in waiting:
                op = graph.ops[position]
                same = kind is None or taken[position] == kind
                if same and all(i == ABSENT or i in ready for i in op.inputs):
                    kind = taken[position]
                    part.append(position)
                    ready.update(op.outputs)
                    grew = True
                else:
                    rest.append(position)
            waiting = rest
        if kind is None:  # a cycle, which verify() has excluded
            break
        parts.append((kind, tuple(part)))
    return parts


def _with_bytes(
    graph: Graph, parts: Sequence[tuple[bool, tuple[int, ...]]]
) -> tuple[tuple[Partition, ...], int]:
    """Return the partitions with what they read and write, and the bytes that change sides."""
    maker = {i: n for n, (_, part) in enumerate(parts) for p in part for i in graph.ops[p].outputs}
    readers: dict[int, set[int]] = {}
    for n, (_, part) in enumerate(parts):
        for position in part:
            for i in graph.ops[position].inputs:
                if i != ABSENT and not graph.tensors[i].is_constant:
                    readers.setdefault(i, set()).add(n)
    size = {i: tensor.nbytes for i, tensor in graph.tensors.items()}
    outputs = set(graph.outputs)
    partitions = tuple(
        Partition(
            kind,
            part,
            sum(size[i] for i, who in readers.items() if n in who and maker.get(i) != n),
            sum(
                size[i]
                for i, by in maker.items()
                if by == n and (i in outputs or readers.get(i, set()) - {n})
            ),
        )
        for n, (kind, part) in enumerate(parts)
    )
    crossing = sum(
        size[i]
        for i, by in maker.items()
        if any(parts[n][0] != parts[by][0] for n in readers.get(i, ()))
    )
    return partitions, crossing
