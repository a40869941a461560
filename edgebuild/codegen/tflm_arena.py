"""How large an arena TFLite Micro needs for a model, worked out without running it there.

``MicroAllocator`` fills the arena from both ends. The tail holds what lives as long as the
interpreter. The head holds, one after the other, what preparing each kernel needs, what planning
needs, and in the end the plan itself: activations and scratch buffers placed by
``GreedyMemoryPlanner``. The need is the tail plus the largest of the three.

Facts from ``tensorflow/lite/micro``: ``micro_allocator.cc``, ``micro_allocation_info.cc``,
``memory_planner/greedy_memory_planner.cc``, ``arena_allocator/single_arena_buffer_allocator.cc``.
Structures are sized for the device's 32-bit pointers; enumerations count as 4 bytes although
Arm's ABI may store them in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgebuild.codegen.tflm_kernels import (
    ALIGN,
    Struct,
    align_up,
    cmsis_scratch,
    data_blocks,
    kernel_sums_bytes,
    params_bytes,
    reference_scratch,
)
from edgebuild.errors import InputError, nearest
from edgebuild.figures import Figure, How
from edgebuild.graph import Graph, Node, Tensor
from edgebuild.targets import CORES

MARGIN_BYTES = 256
MARGIN_SHARE = 32
"""Safety margin: ``MARGIN_BYTES`` and one ``MARGIN_SHARE``-th of the need, for other versions of
TFLite Micro, other compilers' structure layouts, and an arena that is not aligned to 16."""

_EVAL_TENSOR = Struct(4, 2)
_NODE_AND_REGISTRATION = Struct(4, 7)
_TENSOR = Struct(28, 4)
_AFFINE_QUANTIZATION = Struct(4, 2)
_POINTER = Struct(0, 1)
_ALLOCATION_INFO = Struct(16, 2)
_SCRATCH_REQUEST = Struct(8, 1)
_MANAGERS = (Struct(4, 9), Struct(20, 6), Struct(4, 8), Struct(0, 2), Struct(0, 2))
"""SingleArenaBufferAllocator, GreedyMemoryPlanner, MicroAllocator, MicroBuiltinDataAllocator,
SubgraphAllocations."""

_SCRATCH_PER_OP = 12
"""``kMaxScratchBuffersPerOp``: requests for which the head keeps room while kernels prepare."""


@dataclass(frozen=True)
class TflmArena:
    """The arena size and its parts, in bytes.

    ``activations`` is the plan of the activations alone, ``scratch`` what scratch buffers add to
    it, ``planning`` what preparing and planning need beyond the plan, ``persistent`` the tail.
    ``kernel_sums`` comes on top when CMSIS-NN is compiled with ``KERNELS_OPTIMIZED_FOR_SPEED``.
    """

    core: str
    activations: int
    scratch: int
    planning: int
    persistent: int
    margin: int
    kernel_sums: int

    @property
    def head_bytes(self) -> int:
        """The head at its largest."""
        return self.activations + self.scratch + self.planning

    @property
    def need_bytes(self) -> int:
        """The need as modelled, without the margin."""
        return self.head_bytes + self.persistent

    @property
    def arena_bytes(self) -> int:
        """The arena to give to the interpreter: a multiple of 16."""
        return self.need_bytes + self.margin

    @property
    def arena_bytes_for_speed(self) -> int:
        """The arena where CMSIS-NN is compiled with ``KERNELS_OPTIMIZED_FOR_SPEED``."""
        return self.arena_bytes + self.kernel_sums

    def figure(self) -> Figure:
        """Return the arena size as a figure that says how it was got."""
        source = (
            f"model of TFLite Micro's allocator, reference and CMSIS-NN kernels on {self.core}: "
            f"activations {self.activations} + scratch {self.scratch} + planning {self.planning} "
            f"+ persistent {self.persistent} + margin {self.margin}"
        )
        return Figure(self.arena_bytes, "B", How.ESTIMATED, source)


@dataclass(frozen=True)
class Buffer:
    """A planned buffer: ``size`` bytes, alive from step ``first`` to ``last``, both included."""

    size: int
    first: int
    last: int


def tflm_arena(graph: Graph, core: str) -> TflmArena:
    """Return the arena that ``graph`` needs on ``core``, whichever kernels TFLite Micro runs.

    ``graph`` is the model as read (``read_tflite``), before any pass: TFLite Micro runs the file.
    ``core`` is a key of ``CORES``, or ``host`` for a 64-bit build with the reference kernels.

    Raises:
        InputError: the core is not known.
    """
    if core != "host" and core not in CORES:
        raise InputError(
            f"core '{core}' is not known{nearest(core, CORES)}", hint=f"one of {', '.join(CORES)}"
        )
    if core == "host":
        return _arena(graph, core, 8, (reference_scratch,))
    cpu = CORES[core]
    kernels: tuple[Callable[[Node], tuple[int, ...]], ...] = (
        reference_scratch,
        lambda node: cmsis_scratch(node, cpu),
    )
    sums = sum(align_up(kernel_sums_bytes(node, cpu)) for node in graph.nodes())
    return _arena(graph, core, 4, kernels, sums)


def _arena(
    graph: Graph,
    core: str,
    word: int,
    kernels: Sequence[Callable[[Node], tuple[int, ...]]],
    sums: int = 0,
) -> TflmArena:
    """Take the largest of each part over the sets of ``kernels``."""
    activations = planned_bytes(activation_buffers(graph))
    plans, heads, counts = [activations], [activations], [0]
    for scratch in kernels:
        requests = scratch_buffers(graph, scratch)
        plans.append(planned_bytes([*activation_buffers(graph), *requests]))
        heads.append(_working_bytes(graph, len(requests), word))
        counts.append(len(requests))
    plan = max(plans)
    persistent = align_up(persistent_bytes(graph, max(counts), word))
    planning = align_up(max(0, max(heads) - plan))
    margin = align_up(MARGIN_BYTES + (plan + planning + persistent) // MARGIN_SHARE)
    return TflmArena(core, activations, plan - activations, planning, persistent, margin, sums)


def activation_buffers(graph: Graph) -> list[Buffer]:
    """Return the planned buffers of tensors, in tensor order (``AllocationInfoBuilder``).

    A tensor lives from the operator that writes it, or the start, to the last that reads it, or
    the end. Operator ``i`` is step ``i + 1``. A tensor that nothing uses gets a place too.
    """
    first = dict.fromkeys(graph.inputs, 0) | dict.fromkeys(graph.outputs, 0)
    last = dict(first)
    for step, op in enumerate(graph.ops, 1):
        for i in op.outputs:
            first[i] = last[i] = step
        for i in op.inputs:
            last[i] = step
    end = len(graph.ops)
    last.update(dict.fromkeys(graph.outputs, end))
    return [
        Buffer(align_up(tensor.nbytes), first.get(i, -1), last.get(i, -1))
        for i, tensor in sorted(graph.tensors.items())
        if _is_planned(tensor)
    ]


def _is_planned(tensor: Tensor) -> bool:
    return not tensor.is_constant and not tensor.is_variable and tensor.nbytes > 0


def scratch_buffers(graph: Graph, scratch: Callable[[Node], tuple[int, ...]]) -> list[Buffer]:
    """Return the scratch buffers of all operators; each lives while its operator runs."""
    return [
        Buffer(align_up(size), node.position + 1, node.position + 1)
        for node in graph.nodes()
        for size in scratch(node)
    ]


def planned_bytes(buffers: Sequence[Buffer]) -> int:
    """Return the bytes that ``GreedyMemoryPlanner`` needs to place ``buffers``.

    Largest first, of equal ones the last added first; each goes to the first gap, from the start,
    between placed buffers that are alive at the same time.
    """
    return _planned_bytes(tuple(buffers))


@lru_cache(maxsize=8)  # several sets of kernels often ask for the same
def _planned_bytes(buffers: tuple[Buffer, ...]) -> int:
    order = sorted(range(len(buffers)), key=lambda i: (-buffers[i].size, -i))
    # Columns start, end, first, last of what is placed, by rising start.
    placed = np.empty((4, len(buffers)), np.int64)
    for count, wanted in enumerate(buffers[i] for i in order):
        start, end, first, last = placed[:, :count]
        beside = (first <= wanted.last) & (last >= wanted.first)
        begins, reached = start[beside], np.maximum.accumulate(end[beside])
        # Where the buffers so far end before each, and behind the last.
        free = np.concatenate(([0], reached))
        fits = np.flatnonzero(begins - free[:-1] >= wanted.size)
        offset = int(free[fits[0]] if len(fits) else free[-1])
        # At an equal offset it goes behind the ones that are there.
        at = int(np.searchsorted(start, offset, side="right"))
        placed[:, at + 1 : count + 1] = placed[:, at:count].copy()
        placed[:, at] = (offset, offset + wanted.size, wanted.first, wanted.last)
    return int(placed[1].max(initial=0))


def persistent_bytes(graph: Graph, scratch_count: int, word: int) -> int:
    """Return the bytes of the tail, where a pointer has ``word`` bytes.

    The allocator's own objects; TfLiteEvalTensor of every tensor; NodeAndRegistration, options and
    kernel data of every operator; scratch buffer handles; variable tensors; TfLiteTensor of the
    model's inputs and outputs with their quantization. Blocks of kernels are aligned to 16.
    """
    total = sum(align_up(struct.size(word), 8) for struct in _MANAGERS)
    total += len(graph.tensors) * _EVAL_TENSOR.size(word)
    total += len(graph.ops) * _NODE_AND_REGISTRATION.size(word)
    for node in graph.nodes():
        total += align_up(params_bytes(node, word), word)
        total += sum(align_up(size) for size in data_blocks(node, word))
    total += scratch_count * word
    total += sum(align_up(t.nbytes) for t in graph.tensors.values() if t.is_variable)
    for ends in (graph.input_tensors, graph.output_tensors):
        total += align_up(len(ends) * word)
        total += sum(tensor_bytes(tensor, word) for tensor in ends)
    # Going from smaller blocks to blocks aligned to 16 leaves a gap: kernel data, variables, the
    # lists of inputs and of outputs.
    return total + 4 * ALIGN


def tensor_bytes(tensor: Tensor, word: int) -> int:
    """Return the bytes of a TfLiteTensor with its quantization (a zero point for each scale)."""
    total = _TENSOR.size(word)
    if tensor.quantization is not None:
        zero_points = 4 + 4 * len(tensor.quantization.scales)
        total += _AFFINE_QUANTIZATION.size(word) + align_up(zero_points, word)
    return total


def _working_bytes(graph: Graph, scratch_count: int, word: int) -> int:
    """Return the most bytes of the head before the plan is in force.

    Requests for scratch buffers stay there throughout. Preparing a kernel adds a temporary
    TfLiteTensor for each of its tensors; planning adds an AllocationInfo for each tensor and
    scratch buffer, and the planner's 40 bytes for each planned buffer.
    """
    requests = (scratch_count + _SCRATCH_PER_OP) * _SCRATCH_REQUEST.size(word)
    preparing = max(
        (
            sum(tensor_bytes(t, word) for t in (*node.inputs, *node.outputs) if t is not None)
            for node in graph.nodes()
        ),
        default=0,
    )
    planned = scratch_count + sum(_is_planned(t) for t in graph.tensors.values())
    infos = (len(graph.tensors) + scratch_count) * _ALLOCATION_INFO.size(word)
    planning = word + infos + 40 * planned + 2 * ALIGN
    return requests + max(preparing, planning)
