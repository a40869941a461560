"""Several models as one, for what runs a model: the benchmark firmware, and the host's library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgebuild.codegen.c_library import tensor_values
from edgebuild.codegen.templates import render
from edgebuild.graph import Graph
from edgebuild.memory import MemoryPlan

NAME = "eb_models"
"""What the C code calls it; no model is called so (``c_identifier``)."""

_ALIGN = 16

ARENA_GUARD_BYTES = 16
"""Between the arenas, for the guards that ``EB_CHECK_ARENA`` adds to them."""


@dataclass(frozen=True)
class Member:
    """One of the models: its name in C, its graph, and the plan of its arena, which is whole."""

    name: str
    graph: Graph
    plan: MemoryPlan


@dataclass(frozen=True)
class CombinedFiles:
    """The files of the model that runs all others, ``<name>.h`` and ``<name>.c``; ``arena_bytes``
    is the memory for the others' arenas, without what only a benchmark needs beside them."""

    files: Mapping[str, str]
    name: str
    arena_bytes: int


def combined_files(members: Sequence[Member], *, shared: bool) -> CombinedFiles:
    """Return a model that runs ``members`` one after the other; its inputs and outputs are theirs.

    Arenas lie one behind the other, or, where they are ``shared``, at one place. A run then
    overwrites the inputs of those behind it, so that inputs and outputs wait behind the arena.
    """
    sizes = [_aligned(max(member.plan.bank_bytes[0], 1)) for member in members]
    guarded = [size + ARENA_GUARD_BYTES for size in sizes]
    starts = [0 if shared else sum(guarded[:n]) for n in range(len(sizes))]
    end = max(guarded) if shared else sum(guarded)
    models, inputs, outputs = [], [], []
    for member, start in zip(members, starts, strict=True):
        rows: dict[str, list[dict[str, object]]] = {"inputs": [], "outputs": []}
        for role, indices in (("inputs", member.graph.inputs), ("outputs", member.graph.outputs)):
            for index in indices:
                place = start + member.plan.offsets[index]
                if shared:
                    place, end = end, end + _aligned(member.graph.tensors[index].nbytes)
                values = tensor_values(member.graph, member.plan, index)
                rows[role].append({**values, "place": place})
        models.append({"name": member.name, "macro": member.name.upper(), "start": start, **rows})
        inputs += rows["inputs"]
        outputs += rows["outputs"]
    values = {
        "name": NAME,
        "macro": NAME.upper(),
        "models": models,
        "inputs": inputs,
        "outputs": outputs,
        "shared": shared,
        "arena_bytes": end,
        # Of the layer hook's counters each model uses the first ones, over those before it.
        "layer_count": max(len(member.graph.ops) for member in members),
    }
    files = {
        f"{NAME}.h": render("models.h.j2", **values),
        f"{NAME}.c": render("models.c.j2", **values),
    }
    return CombinedFiles(files, NAME, max(sizes) if shared else sum(sizes))


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
