"""Several operators in one step, by bands of rows: what lies between them never exists whole.

A band is some rows of the last operator's output. For each band, every operator runs in turn, with
a kernel of its own, for the rows that are still missing (``band_rows``): those that read the step's
input take it from there, and each but the last writes to a buffer in scratch memory. Rows of NHWC
are contiguous, so that a kernel takes some of them for an image: only heights, and what is padded
above and below, differ.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from edgebuild.graph import Graph, Node, Op, Tensor
from edgebuild.ops import OPS
from edgebuild.ops.band_rows import Band, Joined, Layout, Rows, alive, lay_out, row_bytes, sums_rows
from edgebuild.ops.base import KernelCall, Overlap, Part, Place, Round
from edgebuild.ops.convolution import BAND
from edgebuild.ops.input_rows import INPUT_ROWS
from edgebuild.ops.movement import view_call
from edgebuild.ops.overlap import by_bands
from edgebuild.targets import CpuFeatures

PARTS = "parts"
"""The attribute of a node of several operators: their nodes."""


def parts(node: Node) -> tuple[Node, ...]:
    """Return the operators that a node of ``in_bands`` runs: several, or itself."""
    found: tuple[Node, ...] = node.attrs.get(PARTS, (node,))
    return found


def takes_rows(node: Node) -> bool:
    """Return whether a node of ``in_bands`` begins with the rows that the caller gives."""
    return parts(node)[0].kind == INPUT_ROWS


def macs(node: Node) -> int:
    """Return the multiply-accumulates of a node of one or several operators."""
    return sum(OPS[one.kind].macs(one) for one in parts(node))


def by_rows(node: Node) -> bool:
    """Return whether an operator computes each row of its output from some rows of its inputs."""
    one_image = node.input(0).shape[:1] == (1,) and node.output.elements > 0
    return one_image and OPS[node.kind].window(node) is not None


def joined(graph: Graph, nodes: Sequence[Node]) -> Joined | None:
    """Return ``nodes``, which follow each other in ``graph``, as one step; None where they may not
    run in bands.

    They read one image from outside, row by row or through windows, and all that they write but
    the last output is read by them alone.
    """
    writers = {node.op.outputs[0]: at for at, node in enumerate(nodes)}
    readers: list[list[int]] = [[] for _ in nodes]
    sources: dict[int, Tensor] = {}
    for at, node in enumerate(nodes):
        images = {t.index: t for t in node.inputs if t is not None and not t.is_constant}
        if not images or not (by_rows(node) or (node is nodes[-1] and sums_rows(node))):
            return None
        for index, tensor in images.items():
            if index in writers:
                readers[writers[index]].append(at)
            else:
                sources[index] = tensor
    between = {node.op.outputs[0] for node in nodes[:-1]}
    last = nodes[-1].position
    elsewhere = any(at > last for tensor in between for at in graph.readers.get(tensor, ()))
    if len(sources) != 1 or not all(readers[:-1]) or elsewhere or between & set(graph.outputs):
        return None
    (source,) = sources.values()
    return Joined(tuple(nodes), source, tuple(map(tuple, readers[:-1])))


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


BandShape = tuple[int, int, int, int]
"""What an operator's kernel depends on in a band: which operator, the rows that it reads, those
padded above, and the rows that it writes; of one that sums rows, whether these are the first, and
the last."""


class BandPlan:
    """How ``step`` runs in bands of ``height`` rows of its output, with as few early bands as make
    its buffers smallest: to ``size`` bytes. Without ``bands``, it cannot."""

    def __init__(self, step: Joined, height: int) -> None:
        self.step, self.height = step, height
        least, most = 0, step.early(height)
        self.size, self.bands = self._with_early(most)
        while least < most:  # with more of them, buffers are no larger
            middle = (least + most) // 2
            size, bands = self._with_early(middle)
            if bands and size <= self.size:
                self.size, self.bands, most = size, bands, middle
            else:
                least = middle + 1

    def _with_early(self, early: int) -> tuple[int, list[Band]]:
        bands = self.step.bands(self.height, early)
        size = lay_out(self.step, bands, [0] * len(self.step.nodes)).size if bands else 0
        return size, bands or []

    @cached_property
    def images(self) -> dict[BandShape, Node]:
        """The operators on those rows alone that their kernels are called for."""
        return {shape: self._image(shape) for shape in self.times}

    def _image(self, shape: BandShape) -> Node:
        at, height, pad, rows = shape
        node = self.step.nodes[at]
        inputs = (t if t is None or t.is_constant else _rows_of(t, height) for t in node.inputs)
        if self._sums(at):
            return Node(at, node.op, tuple(inputs), node.outputs)
        op = dataclasses.replace(node.op, attrs={**node.attrs, BAND: (pad, rows)})
        return Node(at, op, tuple(inputs), (_rows_of(node.output, rows),))

    def candidates(self, shape: BandShape, cpu: CpuFeatures) -> tuple[KernelCall, ...]:
        """Return the kernels that may run one of ``images``."""
        at, rows, *ends = shape
        node = self.images[shape]
        if not self._sums(at):
            return OPS[node.kind].candidates(node, cpu)
        call = OPS[node.kind].row_sums(self.step.nodes[at], rows, *map(bool, ends))
        return () if call is None else (call,)

    def shape(self, one: Rows) -> BandShape:
        """Return what the kernel for some rows depends on."""
        height = one.read[1] - one.read[0]
        if self._sums(one.at):
            last = one.read[1] == self.step.nodes[one.at].input(0).shape[1]
            return one.at, height, int(one.read[0] == 0), int(last)
        return one.at, height, one.pad, one.written[1] - one.written[0]

    def _sums(self, at: int) -> bool:
        return at == len(self.step.nodes) - 1 and self.step.sums_rows

    @cached_property
    def alive(self) -> tuple[int, ...]:
        """The bytes of the buffers that are needed while each operator runs."""
        return alive(self.step, self.bands)

    @cached_property
    def times(self) -> Mapping[BandShape, int]:
        """How often the kernels of each of ``images`` run."""
        return Counter(self.shape(one) for band in self.bands for one in band.rows)

    @cached_property
    def _overlap(self) -> Overlap:
        """How far each band has written the output, and from where on it reads the input."""
        source, last = self.step.source, len(self.step.nodes) - 1
        reading = [n for n, node in enumerate(self.step.nodes) if source.index in node.op.inputs]
        ends, reads = [0], []
        for band in self.bands:
            written = [self._end(one) for one in band.rows if one.at == last]
            ends.append(written[0] if written else ends[-1])
            rows = [one.read[0] for one in band.rows if one.at in reading]
            reads.append(min(rows, default=source.shape[1]) * row_bytes(source))
        return by_bands(ends[1:], reads, in_step=last in reading)

    def _end(self, one: Rows) -> int:
        """Return the bytes of the output up to those that the last operator writes here."""
        output = self.step.nodes[-1].output
        if self._sums(one.at):
            return output.nbytes * self.shape(one)[3]
        return one.written[1] * row_bytes(output)

    def outline(self, scratch: Sequence[int]) -> KernelCall:
        """Return a call with all that memory depends on, where the operators' kernels need so much
        ``scratch`` memory of their own."""
        key = tuple(scratch)
        if key not in self._sizes:
            self._sizes[key] = lay_out(self.step, self.bands, scratch).size
        return self._call(self._sizes[key])

    @cached_property
    def _sizes(self) -> dict[tuple[int, ...], int]:
        return {}

    def _call(self, size: int) -> KernelCall:
        operators = len(self.step.nodes)
        return KernelCall(
            "", "", (), scratch_bytes=size, overlap=self._overlap, operators=operators
        )

    def call(self, kernels: Mapping[BandShape, KernelCall]) -> KernelCall:
        """Return the call that runs the step with these kernels, one for each of ``images``."""
        scratch = [0] * len(self.step.nodes)
        for (at, *_), kernel in kernels.items():
            scratch[at] = max(scratch[at], kernel.scratch_bytes)
        layout = lay_out(self.step, self.bands, scratch)
        writer = _Writer(self, kernels, layout)
        following = (*self.bands[1:], None)
        bands = [list(writer.parts(*pair)) for pair in zip(self.bands, following, strict=True)]
        if self.step.by_rows:
            bands = _by_rows(bands)
        every = [part.call for band in bands for part in band]
        sources = tuple(dict.fromkeys(source for call in every for source in call.sources))
        return dataclasses.replace(self._call(layout.size), sources=sources, rounds=_rounds(bands))


class _Writer:
    """Makes the parts of a step band by band."""

    def __init__(
        self, plan: BandPlan, kernels: Mapping[BandShape, KernelCall], layout: Layout
    ) -> None:
        self._plan, self._kernels, self._layout = plan, kernels, layout
        self._nodes = plan.step.nodes
        self._copies: dict[int, tuple[Node, KernelCall]] = {}
        self._writers = {node.op.outputs[0]: at for at, node in enumerate(self._nodes)}

    def parts(self, band: Band, following: Band | None) -> Iterator[Part]:
        """Yield the parts of a band, and, around them, the copies of rows that are kept."""
        used = [self._buffers(one) for one in band.rows]
        for n, one in enumerate(band.rows):
            for at in sorted(used[n] - set().union(*used[:n])):
                yield from self._fetched(at, band)
            shape = self._plan.shape(one)
            node, call = self._plan.images[shape], self._kernels[shape]
            inputs = tuple(self._source(node.input(i), one, band) for i in call.inputs)
            target, scratch = self._target(one, band), self._layout.scratch[one.at]
            yield Part(node, call, inputs, target, scratch, one.at)
            for at in sorted(used[n] - set().union(*used[n + 1 :])):
                if following is not None:
                    yield from self._kept(at, band, following)

    def _buffers(self, one: Rows) -> set[int]:
        """Return the buffers that an operator reads or writes, by their writers."""
        tensors = (*self._nodes[one.at].op.inputs, *self._nodes[one.at].op.outputs)
        found = {self._writers[i] for i in tensors if i in self._writers}
        return found - {len(self._nodes) - 1}

    def _fetched(self, at: int, band: Band) -> Iterator[Part]:
        store, rows = self._layout.stores[at], band.before[at] - band.first[at]
        if store is not None and rows:
            yield self._copy(at, rows, store, self._layout.buffers[at])

    def _kept(self, at: int, band: Band, following: Band) -> Iterator[Part]:
        rows, way = band.end[at] - following.first[at], following.first[at] - band.first[at]
        store, begin, size = self._layout.stores[at], self._layout.buffers[at], self._row(at)
        if store is not None and rows:
            yield self._copy(at, rows, begin + way * size, store)
        elif way:
            for done in range(0, rows, way):  # so many at a time do not overlap
                target = begin + done * size
                yield self._copy(at, min(way, rows - done), target + way * size, target)

    def _copy(self, at: int, rows: int, source: int, target: int) -> Part:
        image = _rows_of(self._nodes[at].output, rows)
        node = Node(at, Op("RESHAPE", (image.index,), (image.index,)), (image,), (image,))
        call = dataclasses.replace(view_call(image.nbytes), in_place=(), view=False)
        node, call = self._copies.setdefault(image.nbytes, (node, call))
        return Part(node, call, (Place("scratch", source),), Place("scratch", target))

    def _source(self, tensor: Tensor, one: Rows, band: Band) -> Place:
        at = self._writers.get(tensor.index)
        if at is None:
            return Place("input", one.read[0] * row_bytes(self._plan.step.source))
        return self._place(at, one.read[0], band)

    def _target(self, one: Rows, band: Band) -> Place:
        if one.at == len(self._nodes) - 1:
            whole = self._plan.step.sums_rows
            return Place(
                "output", 0 if whole else one.written[0] * row_bytes(self._nodes[-1].output)
            )
        return self._place(one.at, one.written[0], band)

    def _place(self, at: int, row: int, band: Band) -> Place:
        offset = (row - band.first[at]) * self._row(at)
        return Place("scratch", self._layout.buffers[at] + offset)

    def _row(self, at: int) -> int:
        return self._plan.step.row_bytes[at]


def _rows_of(tensor: Tensor, rows: int) -> Tensor:
    return dataclasses.replace(tensor, shape=(1, rows, *tensor.shape[2:]))


def _by_rows(bands: Sequence[list[Part]]) -> list[list[Part]]:
    """Return bands each of which takes rows from the caller, with those behind it that take none;
    all behind the last one that does stay as they are."""
    takes = [any(part.operator == 0 for part in band) for band in bands]
    last = max(at for at, some in enumerate(takes) if some)
    found: list[list[Part]] = []
    for band, some in zip(bands[: last + 1], takes, strict=False):
        if some:
            found.append(list(band))
        else:
            found[-1] += band
    return [*found, *bands[last + 1 :]]


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
