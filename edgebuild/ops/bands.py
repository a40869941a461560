"""Several operators in one step, by bands of rows: what lies between them never exists whole.

A band is some rows of the last operator's output. For each band, every operator of the chain runs
in turn, with a kernel of its own, for the rows that are still missing: the first reads the step's
input, and each but the last writes to a buffer in scratch memory. The rows of a buffer that the
next band needs again move to its start. Rows of NHWC are contiguous, so that a kernel takes some of
them for an image: only heights, and what is padded above and below, differ.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgebuild.graph import Graph, Node, Op, Tensor
from edgebuild.ops import OPS
from edgebuild.ops.base import KernelCall, Part, Place, Round
from edgebuild.ops.convolution import BAND
from edgebuild.ops.movement import view_call
from edgebuild.ops.overlap import by_bands

PARTS = "parts"
"""The attribute of a node of several operators: their nodes."""

_ALIGN = 16

Bind = Callable[[Node, int], "KernelCall | None"]
"""Returns the call of a node for some rows of the operator at a position in the chain; None where
its kernel does not take them."""


def parts(node: Node) -> tuple[Node, ...]:
    """Return the operators that a node of ``in_bands`` runs: several, or itself."""
    found: tuple[Node, ...] = node.attrs.get(PARTS, (node,))
    return found


def macs(node: Node) -> int:
    """Return the multiply-accumulates of a node of one or several operators."""
    return sum(OPS[one.kind].macs(one) for one in parts(node))


def is_chain(graph: Graph, nodes: Sequence[Node]) -> bool:
    """Return whether ``nodes``, which follow each other in ``graph``, may run in bands.

    Each reads what the one before it writes, which nothing else reads, and besides, at most, what
    the first one reads, row by row.
    """
    start, between = nodes[0].op.inputs[0], [node.op.outputs[0] for node in nodes[:-1]]
    for node, before in zip(nodes, (start, *between), strict=True):
        window = OPS[node.kind].window(node)
        images = {t.index for t in node.inputs if t is not None and not t.is_constant}
        if window is None or before not in images or node.input(0).shape[0] != 1:
            return False
        by_row = (window.kernel_h, window.stride_h) == (1, 1)
        if not images <= ({before, start} if by_row else {before}) or not node.output.elements:
            return False
    readers = [i for op in graph.ops for i in set(op.inputs)]
    return all(readers.count(i) == 1 and i not in graph.outputs for i in between)


def in_bands(graph: Graph, calls: Sequence[KernelCall]) -> Graph:
    """Return ``graph`` with one node for each of ``calls``, of as many operators as it runs."""
    if len(calls) == len(graph.ops):
        return graph
    ops: list[Op] = []
    gone: set[int] = set()
    ends = itertools.accumulate(call.operators for call in calls)
    for call, end in zip(calls, ends, strict=True):
        nodes = [graph.node(at) for at in range(end - call.operators, end)]
        ops.append(nodes[0].op if len(nodes) == 1 else _joined(nodes))
        gone.update(node.op.outputs[0] for node in nodes[:-1])
    tensors = {i: tensor for i, tensor in graph.tensors.items() if i not in gone}
    return graph.replace(ops=tuple(ops), tensors=tensors)


def _joined(nodes: Sequence[Node]) -> Op:
    first, last = nodes[0].op, nodes[-1].op
    constants = (t.index for node in nodes for t in node.inputs if t is not None and t.is_constant)
    return Op(
        " + ".join(node.kind for node in nodes),
        (first.inputs[0], *constants),
        last.outputs,
        {PARTS: tuple(nodes)},
        first.source_index,
    )


@dataclass(frozen=True)
class _Rows:
    """The rows, from the first to behind the last, that operator ``at`` reads and writes; ``pad``
    rows are padded above the first one that it reads."""

    at: int
    read: tuple[int, int]
    written: tuple[int, int]
    pad: int

    @property
    def room(self) -> int:
        """Rows of its buffer: with those padded above, so that what is kept can move there."""
        return self.pad + self.read[1] - self.read[0]


def _plan(nodes: Sequence[Node], height: int) -> list[list[_Rows]]:
    """Return for each band of ``height`` rows what each operator has to do that runs in it."""
    end = [0] * len(nodes)
    bands = []
    rows = nodes[-1].output.shape[1]
    for first in range(0, rows, height):
        written = first, min(first + height, rows)
        band: list[_Rows] = []
        for at in reversed(range(len(nodes))):
            if written[0] >= written[1]:
                break  # all that is needed is there
            one = _rows(nodes[at], at, written)
            band.insert(0, one)
            written = max(one.read[0], end[at]), one.read[1]
            end[at] = max(end[at], one.read[1])
        bands.append(band)
    return bands


def _rows(node: Node, at: int, written: tuple[int, int]) -> _Rows:
    """Return what rows of the output of ``node`` need of its input."""
    w, height = OPS[node.kind].window(node), node.input(0).shape[1]
    assert w is not None
    low, last = (row * w.stride_h - w.pad_top for row in (written[0], written[1] - 1))
    end = last + (w.kernel_h - 1) * w.dilation_h + 1
    read = min(max(low, 0), height), min(max(end, 0), height)
    return _Rows(at, read, written, max(0, -low))


def band_call(nodes: Sequence[Node], height: int, bind: Bind) -> KernelCall | None:
    """Return the call that runs a chain of ``nodes`` in bands of ``height`` rows; None where a
    kernel does not take its rows, or rows would move onto themselves."""
    plan = _plan(nodes, height)
    if any(one.read[0] >= one.read[1] for band in plan for one in band):
        return None
    chain = _Chain(nodes, bind, plan)
    bands = [chain.parts(band) for band in plan]
    calls = [part.call for band in bands for part in band or ()]
    if None in bands or not calls:
        return None
    scratch = chain.scratch + max(call.scratch_bytes for call in calls)
    return KernelCall(
        "",
        "",
        tuple(dict.fromkeys(source for call in calls for source in call.sources)),
        scratch_bytes=scratch,
        overlap=by_bands(*_progress(nodes, plan), in_step=len(chain.readers) > 1),
        rounds=_rounds([band for band in bands if band is not None]),
        operators=len(nodes),
    )


def _progress(
    nodes: Sequence[Node], plan: Sequence[Sequence[_Rows]]
) -> tuple[list[int], list[int]]:
    """Return for each band the bytes of the output up to its end, and of the input before what it
    reads."""
    source, target = nodes[0].input(0), nodes[-1].output
    reads = [
        min((one.read[0] for one in band if _reads(nodes[one.at], source)), default=source.shape[1])
        for band in plan
    ]
    return [band[-1].written[1] * _row(target) for band in plan], [n * _row(source) for n in reads]


def _reads(node: Node, tensor: Tensor) -> bool:
    return tensor.index in node.op.inputs


class _Chain:
    """Makes the parts of a chain band by band.

    Buffer ``n``, which operator ``n`` reads, is at ``_buffer[n]`` of the scratch memory and holds
    rows ``_first[n]`` to ``_end[n]``; the kernels' own scratch memory follows behind all buffers,
    at ``scratch``.
    """

    def __init__(self, nodes: Sequence[Node], bind: Bind, plan: Sequence[Sequence[_Rows]]) -> None:
        self._nodes, self._bind = nodes, bind
        self._first, self._end = [0] * len(nodes), [0] * len(nodes)
        self._known: dict[object, tuple[Node, KernelCall | None]] = {}
        self.readers = [node for node in nodes if _reads(node, nodes[0].input(0))]
        self._buffer = [0, 0]
        for at, node in enumerate(nodes[:-1]):
            rooms = (one.room for band in plan for one in band if one.at == at + 1)
            size = max(rooms) * _row(node.output)
            self._buffer.append(self._buffer[-1] + -(-size // _ALIGN) * _ALIGN)
        self.scratch = self._buffer.pop()

    def parts(self, band: Sequence[_Rows]) -> list[Part] | None:
        """Return the parts of the next band; None where there is no kernel for one."""
        found: list[Part] = []
        for one, later in itertools.zip_longest(band, band[1:]):
            if later is not None:
                moved = self._advance(later)
                if moved is None:
                    return None
                found += moved
            node, call = self._bound(one)
            if call is None:
                return None
            inputs = tuple(self._source(node.input(i), one) for i in call.inputs)
            found.append(Part(node, call, inputs, self._target(one), self.scratch))
        return found

    def _advance(self, one: _Rows) -> list[Part] | None:
        """Let the buffer of an operator begin with what it reads, after those rows of it that are
        there have moved; None where they would move onto themselves."""
        at, begin = one.at, self._buffer[one.at]
        before, kept = self._first[at], max(0, self._end[at] - one.read[0])
        self._first[at], self._end[at] = one.read[0] - one.pad, one.read[1]
        way = self._first[at] - before
        if kept == 0 or way == 0:
            return []
        if way < kept:
            return None
        tensor = self._nodes[at - 1].output
        image = _rows_of(tensor, kept)
        op = Op("RESHAPE", (tensor.index,), (tensor.index,))
        node = Node(0, op, (image,), (image,))
        _, call = self._known.setdefault(
            kept * _row(tensor),
            (node, dataclasses.replace(view_call(image.nbytes), in_place=(), view=False)),
        )
        assert call is not None
        target = Place("scratch", begin + one.pad * _row(tensor))
        source = Place("scratch", target.offset + way * _row(tensor))
        return [Part(node, call, (source,), target, self.scratch)]

    def _bound(self, one: _Rows) -> tuple[Node, KernelCall | None]:
        """Return the operator and its kernel on these rows; equal ones are bound once."""
        node = self._nodes[one.at]
        height, rows = one.read[1] - one.read[0], one.written[1] - one.written[0]
        key = one.at, height, one.pad, rows
        if key not in self._known:
            image = Node(
                0,
                dataclasses.replace(node.op, attrs={**node.attrs, BAND: (one.pad, rows)}),
                tuple(
                    t if t is None or t.is_constant else _rows_of(t, height) for t in node.inputs
                ),
                (_rows_of(node.output, rows),),
            )
            self._known[key] = image, self._bind(image, one.at)
        return self._known[key]

    def _source(self, tensor: Tensor, one: _Rows) -> Place:
        if tensor.index == self._nodes[0].input(0).index:
            return Place("input", one.read[0] * _row(tensor))
        rows = one.read[0] - self._first[one.at]
        return Place("scratch", self._buffer[one.at] + rows * _row(tensor))

    def _target(self, one: _Rows) -> Place:
        tensor, reader = self._nodes[one.at].output, one.at + 1
        if reader == len(self._nodes):
            return Place("output", one.written[0] * _row(tensor))
        rows = one.written[0] - self._first[reader]
        return Place("scratch", self._buffer[reader] + rows * _row(tensor))


def _row(tensor: Tensor) -> int:
    """Return the bytes of a row of an image."""
    return tensor.nbytes // tensor.shape[1]


def _rows_of(tensor: Tensor, rows: int) -> Tensor:
    return dataclasses.replace(tensor, shape=(1, rows, *tensor.shape[2:]))


def _rounds(bands: Sequence[Sequence[Part]]) -> tuple[Round, ...]:
    """Return bands that differ only in where they read and write, each time as far on, as one."""
    rounds: list[Round] = []
    for band in bands:
        joined = _with(rounds[-1], band) if rounds else None
        if joined is not None:
            rounds[-1] = joined
        else:
            rounds.append(Round(1, tuple(band)))
    return tuple(rounds)


def _with(one: Round, band: Sequence[Part]) -> Round | None:
    """Return ``one`` with another round that runs ``band``; None where it does something else."""
    if [id(part.call) for part in one.parts] != [id(part.call) for part in band]:
        return None
    found = []
    for part, other in zip(one.parts, band, strict=True):
        pairs = zip((*part.inputs, part.output), (*other.inputs, other.output), strict=True)
        places = [_further(own, new, one.times) for own, new in pairs]
        *inputs, output = [place for place in places if place is not None]
        if None in places:
            return None
        found.append(dataclasses.replace(part, inputs=tuple(inputs), output=output))
    return Round(one.times + 1, tuple(found))


def _further(one: Place, other: Place, rounds: int) -> Place | None:
    """Return ``one`` with the step that leads to ``other`` after so many rounds."""
    way = other.offset - one.offset
    step = way if rounds == 1 else one.step
    if one.memory != other.memory or way != rounds * step:
        return None
    if step and one.memory == "scratch":
        return None
    return dataclasses.replace(one, step=step)
