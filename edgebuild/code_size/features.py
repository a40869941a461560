"""What of a model decides how large its own code is: calls, their arguments, inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgebuild.codegen.names import c_string
from edgebuild.graph import Graph, Node
from edgebuild.memory import MemoryPlan, is_view
from edgebuild.ops import KernelCall
from edgebuild.ops.base import Part

_NEAR, _FAR = 256, 4096
"""Offsets that fit the instructions of the smallest cores, and of the larger ones."""

_TENSOR_INFO_BYTES = 24
_WORD_BYTES = 4


def called(
    graph: Graph, calls: Sequence[KernelCall], plan: MemoryPlan
) -> list[tuple[Node, KernelCall]]:
    """Return the operators that call a kernel: all but the views that share their input's place."""
    return [
        (node, call)
        for node, call in zip(graph.nodes(), calls, strict=True)
        if not is_view(node, call, plan)
    ]


def table_bytes(graph: Graph) -> int:
    """Return the bytes of the tables that describe inputs and outputs."""
    tensors = (*graph.input_tensors, *graph.output_tensors)
    ranks = (max(1, len(tensor.shape)) for tensor in tensors)
    return sum(_TENSOR_INFO_BYTES + _WORD_BYTES * rank for rank in ranks)


def parameter_types(graph: Graph, calls: Sequence[KernelCall], plan: MemoryPlan) -> Iterator[str]:
    """Yield the type of each structure of parameters; equal parts of a step share one."""
    for _, call in called(graph, calls, plan):
        for one in {id(kernel): kernel for kernel in call.kernels}.values():
            if one.params_type is not None:
                yield one.params_type


def features(
    graph: Graph, calls: Sequence[KernelCall], plan: MemoryPlan, name: str
) -> Mapping[str, float]:
    """Return how often each thing occurs that the size of ``<name>.c`` depends on, besides its
    parameters and ``table_bytes``."""
    found = dict.fromkeys(FEATURES, 0.0)
    found["model"] = 1
    found["input or output"] = len(graph.inputs) + len(graph.outputs)
    found["split arena"] = float(len(plan.bank_bytes) > 1)
    found[TEXT] = _text_bytes(name, *(t.name for t in graph.input_tensors + graph.output_tensors))
    for node, call in called(graph, calls, plan):
        found["call"] += len(call.kernels)
        found["pointer in a list"] += len(call.inputs) * call.inputs_as_array
        found["pointer in a list"] += len(node.outputs) * call.outputs_as_array
        for kind in _arguments(node, call, plan):
            found[kind] += 1
    return found


def _arguments(node: Node, call: KernelCall, plan: MemoryPlan) -> Iterator[str]:
    """Yield for each pointer that a call, or its parts, pass, how it is made."""
    for one in call.rounds:
        for part in one.parts:
            yield from _part_arguments(node, part, plan)
    if call.rounds:
        return
    if call.params_type is not None:
        yield "constant"
    for tensor in (*(node.input(i) for i in call.inputs), *node.outputs):
        place = plan.place(tensor.index)
        yield "constant" if tensor.is_constant or place is None else _reach(*place)
    if call.scratch_bytes:
        bank = plan.scratch_banks.get(node.position, 0)
        yield _reach(bank, plan.scratch_offsets[node.position])


def _part_arguments(node: Node, part: Part, plan: MemoryPlan) -> Iterator[str]:
    position = node.position
    scratch = plan.scratch_banks.get(position, 0), plan.scratch_offsets.get(position, 0)
    memories = {
        "input": plan.place(node.input(0).index) or (0, 0),
        "output": plan.place(node.output.index) or (0, 0),
        "scratch": scratch,
    }
    if part.call.params_type is not None:
        yield "constant"
    for place in (*part.inputs, part.output):
        bank, offset = memories[place.memory]
        yield _reach(bank, offset + place.offset)
    if part.call.scratch_bytes:
        yield _reach(scratch[0], scratch[1] + part.scratch)


def _reach(bank: int, offset: int) -> str:
    if bank == 0 and offset == 0:
        return "start of the arena"
    return "near" if offset < _NEAR else "far" if offset < _FAR else "very far"


TEXT = "text"
"""The feature that counts bytes of names."""

FEATURES = (
    "model",
    "call",
    "constant",
    "start of the arena",
    "near",
    "far",
    "very far",
    "pointer in a list",
    "input or output",
    "split arena",
    TEXT,
)


def _text_bytes(*texts: str) -> int:
    """Return the bytes of strings, each stored once, with its end, aligned as words."""
    sizes = (len(c_string(text)) - 1 for text in set(texts))  # two quotes less, the end more
    return sum(-(-size // _WORD_BYTES) * _WORD_BYTES for size in sizes)
