"""Leave out channels that no input can change, and channels that nothing reads."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgebuild.graph import DType, Graph, Node, Op, Quantization, Tensor
from edgebuild.ops import convolution as conv
from edgebuild.passes.base import PassResult
from edgebuild.passes.value_ranges import (
    BINARY,
    LOOKUPS,
    SPATIAL,
    VIEWS,
    Ranges,
    channel_ranges,
    is_plain_layer,
    range_of,
    reads_padding,
    weight_matrix,
)


@dataclass(frozen=True)
class FoldConstantChannels:
    """Fold channels that are the same for every input into the bias of what reads them: exact.

    Training leaves such channels behind: a ReLU that never opens, or always saturates. A
    convolution or fully connected layer adds the same number for them each time.
    """

    name = "fold_constant_channels"

    def apply(self, graph: Graph) -> PassResult:
        """Narrow the layers that make such channels, those that read them, and all between."""
        source, gone = graph, 0
        # What goes may leave channels unread that were decided on before.
        while (groups := _Groups(graph)).narrowable():
            ranges = channel_ranges(graph)
            kept = _Choice(groups, ranges).kept()
            if not kept:
                break
            gone += sum(groups.width(group) - len(channels) for group, channels in kept.items())
            graph = _Narrowing(graph, groups, ranges, kept).narrowed()
        if graph is source:
            return PassResult(source, changed=False)
        first = _Groups(source)
        all_of_them = sum(map(first.width, first.narrowable()))
        which = "channels that no input changes or that nothing reads"
        note = f"left out {gone:,} of {all_of_them:,} {which}"
        return PassResult(graph, changed=True, notes=(note,))


_MULTIPLE = 4
"""As many channels stay as make a multiple of it, which kernels like."""

_NEW = 1 << 24
"""The first index of a narrowed tensor: above those of all tensors in a file."""


def _mixes_channels(node: Node) -> bool:
    """Return whether a node mixes its input's channels, so that a constant goes into its bias."""
    return node.kind in ("CONV_2D", "FULLY_CONNECTED") and is_plain_layer(node)


def _makes_channels(node: Node) -> bool:
    """Return whether a node makes channels that do not depend on each other."""
    if node.kind == "DEPTHWISE_CONV_2D":
        return is_plain_layer(node) and node.input(0).shape[-1] == 1
    return _mixes_channels(node)


def _channelwise(node: Node) -> tuple[Tensor, ...] | None:
    """Return the activations of a node that treats each channel by itself; None for any other."""
    if node.kind not in ("DEPTHWISE_CONV_2D", *VIEWS, *LOOKUPS, *SPATIAL, *BINARY):
        return None
    x, y = node.input(0), node.output
    operands = node.inputs if node.kind in BINARY else (x,)
    varying = tuple(t for t in operands if t is not None and t.data is None)
    if not varying or any(t.dtype != DType.INT8 or not t.shape for t in (*varying, y)):
        return None
    if node.kind == "DEPTHWISE_CONV_2D":
        same = is_plain_layer(node) and x.shape[-1] == y.shape[-1]
    elif node.kind in VIEWS:
        same = y.shape[-1] % x.shape[-1] == 0
    elif node.kind in BINARY:
        same = all(t is not None and (t.shape == y.shape or _scalar_or_row(t, y)) for t in operands)
    else:
        same = _spares_last_axis(node)
    return (*varying, y) if same else None


def _scalar_or_row(tensor: Tensor, output: Tensor) -> bool:
    constant = tensor.data is not None
    return constant and (tensor.elements == 1 or tensor.shape[-1:] == output.shape[-1:])


def _spares_last_axis(node: Node) -> bool:
    x, y = node.input(0), node.output
    if node.kind == "MEAN":
        data = node.input(1).data
        assert data is not None
        reduced = {int(axis) % len(x.shape) for axis in data.reshape(-1)}
        return len(x.shape) - 1 not in reduced and len(y.shape) > 0
    if node.kind in ("PAD", "PADV2"):
        data = node.input(1).data
        return data is not None and not data.reshape(-1, 2)[-1].any()
    return True


class _Groups:
    """Activations whose channels live and die together.

    A tensor has its group's channels once in its last dimension or, behind a view that puts pixels
    in a row, several times.
    """

    def __init__(self, graph: Graph) -> None:
        self._parent: dict[int, int] = {}
        self._width: dict[int, int] = {}
        self._readers: dict[int, list[Node]] = {}
        self._made: set[int] = set()
        self._fixed: set[int] = set()
        layers = (node for node in graph.nodes() if is_plain_layer(node))
        uses = Counter(node.op.inputs[1] for node in layers)
        self._shared = {index for index, count in uses.items() if count > 1}
        for tensor in graph.input_tensors:
            self._new(tensor)
            self._fixed.add(tensor.index)
        for node in graph.nodes():
            self._add(node)
        self._fixed.update(graph.outputs)
        self._close()

    def of(self, index: int) -> int | None:
        """Return the group of a tensor that can be narrowed, None for any other."""
        group = self._find(index) if index in self._parent else None
        return group if group in self._narrowable else None

    def width(self, group: int) -> int:
        """Return the number of channels."""
        return self._width[group]

    def readers(self, group: int) -> list[Node]:
        """Return the layers that mix a group's channels."""
        return self._readers[group]

    def narrowable(self) -> frozenset[int]:
        """Return the groups that only layers with weights make and mix."""
        return self._narrowable

    def _add(self, node: Node) -> None:
        if is_plain_layer(node) and node.op.inputs[1] in self._shared:
            # Cut for one layer, weights of several would be stored again.
            self._fixed.update((node.op.inputs[0], node.op.outputs[0]))
        shared = _channelwise(node)
        if shared is not None:
            *inputs, output = shared
            first = self._find(inputs[0].index)
            self._parent[output.index] = first
            for tensor in inputs[1:]:
                self._join(first, self._find(tensor.index))
            return
        if _mixes_channels(node):
            self._readers.setdefault(node.input(0).index, []).append(node)
        else:
            self._fixed.update(node.op.inputs)
        for tensor in node.outputs:
            self._new(tensor)
        (self._made if _makes_channels(node) else self._fixed).update(node.op.outputs)

    def _new(self, tensor: Tensor) -> None:
        self._parent[tensor.index] = tensor.index
        self._width[tensor.index] = tensor.shape[-1] if tensor.shape else 1

    def _find(self, index: int) -> int:
        while self._parent[index] != index:
            # Each step halves the way for the next time.
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def _join(self, first: int, other: int) -> None:
        if self._width[first] == self._width[other]:
            self._parent[other] = first
        else:
            self._fixed |= {first, other}

    def _close(self) -> None:
        """Hand what was noted of tensors to their groups."""
        made, fixed = (
            {self._find(index) for index in marked if index in self._parent}
            for marked in (self._made, self._fixed)
        )
        readers: dict[int, list[Node]] = {}
        for index, nodes in self._readers.items():
            if index in self._parent:
                readers.setdefault(self._find(index), []).extend(nodes)
        self._readers = readers
        self._narrowable = frozenset((made - fixed) & readers.keys())


@dataclass
class _Choice:
    """Which channels of each group stay."""

    groups: _Groups
    ranges: Ranges
    _kept: dict[int, np.ndarray] = field(default_factory=dict)

    def kept(self) -> Mapping[int, np.ndarray]:
        """Return the channels that stay of each group that loses some, in their order."""
        # From the last group on, as what nothing reads any more depends on what its readers make.
        for group in sorted(self.groups.narrowable(), key=self._last_reader, reverse=True):
            width = self.groups.width(group)
            gone = np.ones(width, bool)
            for node in self.groups.readers(group):
                gone &= self._dispensable(node, width)
            alive = np.flatnonzero(~gone)
            least = min(width, max(1, -(-len(alive) // _MULTIPLE)) * _MULTIPLE)
            filling = np.flatnonzero(gone)[: max(0, least - len(alive))]
            if len(alive) + len(filling) < width:
                self._kept[group] = np.sort(np.concatenate([alive, filling]))
        return self._kept

    def _last_reader(self, group: int) -> int:
        return max(node.position for node in self.groups.readers(group))

    def _dispensable(self, node: Node, width: int) -> np.ndarray:
        """Return which of ``width`` channels ``node`` can do without."""
        x = node.input(0)
        matrix = weight_matrix(node).reshape(node.output.shape[-1], -1, width)
        made = self.groups.of(node.output.index)
        outputs = None if made is None else self._kept.get(made)
        read = matrix if outputs is None else matrix[outputs]
        low, high = range_of(x, self.ranges).reshape(2, -1, width)
        foldable = (low == high).all(axis=0)
        if reads_padding(node):
            foldable &= (low == x.zero_point).all(axis=0)
        return ~read.any(axis=(0, 1)) | foldable


@dataclass
class _Narrowing:
    """The graph without the channels that go."""

    source: Graph
    groups: _Groups
    ranges: Ranges
    kept: Mapping[int, np.ndarray]
    _tensors: dict[int, Tensor] = field(init=False)
    _moved: dict[int, int] = field(init=False, default_factory=dict)
    _next: int = field(init=False, default=_NEW)

    def __post_init__(self) -> None:
        self._tensors = dict(self.source.tensors)

    def narrowed(self) -> Graph:
        """Return the smaller graph. Narrowed tensors are new ones, which no model file has."""
        self._next = max(_NEW, max(self._tensors) + 1)
        for index, tensor in sorted(self.source.tensors.items()):
            keep = self._keep(index)
            if keep is not None:
                shape = (*tensor.shape[:-1], len(keep))
                self._moved[index] = self._add(
                    dataclasses.replace(tensor, shape=shape, signature=())
                )
        ops = tuple(self._op(node) for node in self.source.nodes())
        return self.source.replace(ops=ops, tensors=self._tensors)

    def _op(self, node: Node) -> Op:
        inputs = [self._moved.get(index, index) for index in node.op.inputs]
        outputs = tuple(self._moved.get(index, index) for index in node.op.outputs)
        attrs = dict(node.op.attrs)
        made = self._keep(node.op.outputs[0]) if node.op.outputs else None
        if inputs == list(node.op.inputs) and made is None:
            return node.op
        if _makes_channels(node) or node.kind == "DEPTHWISE_CONV_2D":
            inputs = [inputs[0], *self._weights(node, made)]
            if attrs.get("depth_multiplier", 1) > 1:
                attrs["depth_multiplier"] = self._tensors[outputs[0]].shape[-1]
        elif node.kind == "RESHAPE":
            shape = self._tensors[outputs[0]].shape
            attrs["new_shape"] = shape
            inputs[1:] = [self._add(_valued(tensor, shape)) for tensor in node.inputs[1:] if tensor]
        elif node.kind in BINARY:
            inputs[: len(node.inputs)] = [
                self._constant(tensor, made, index)
                for tensor, index in zip(node.inputs, inputs, strict=True)
            ]
        return dataclasses.replace(node.op, inputs=tuple(inputs), outputs=outputs, attrs=attrs)

    def _constant(self, tensor: Tensor | None, keep: np.ndarray | None, index: int) -> int:
        """Return an elementwise operand, cut where it has a value for each channel."""
        if tensor is None or tensor.data is None or keep is None or tensor.dtype != DType.INT8:
            return index
        return index if tensor.elements == 1 else self._add(_cut(tensor, keep, -1))

    def _weights(self, node: Node, made: np.ndarray | None) -> Iterator[int]:
        """Yield weights and, where there is any, bias, with what channels that go have added."""
        read = self._keep(node.op.inputs[0])
        weights, bias = node.input(1), node.optional_input(2)
        matrix = weight_matrix(node)
        total = conv.own_bias(node, matrix.reshape(len(matrix), -1))
        if node.kind == "DEPTHWISE_CONV_2D":
            weights = weights if made is None else _cut(weights, made, -1)
        else:
            weights = weights if made is None else _cut(weights, made, 0)
            if read is not None:
                total = total + self._folded(node, matrix, read)
                columns = node.input(1).shape[-1]
                repeats = columns // node.input(0).shape[-1]
                weights = _cut(weights, _repeated(read, node.input(0).shape[-1], repeats), -1)
        yield self._add(weights)
        if bias is None and not total.any():
            return
        if bias is None:
            bias = Tensor(0, f"{node.output.name}_bias", (), DType.INT32, _bias_scales(node))
        bias = _valued(bias, total)
        yield self._add(bias if made is None else _cut(bias, made, 0))

    def _folded(self, node: Node, matrix: np.ndarray, read: np.ndarray) -> np.ndarray:
        """Return int64 [outputs], what the channels that are not ``read`` add: their one value, or
        nothing where all weights are zero."""
        x = node.input(0)
        value = range_of(x, self.ranges)[0] - x.zero_point
        gone = np.setdiff1d(np.arange(x.shape[-1]), read)
        return np.asarray(matrix[:, :, gone].sum(axis=1, dtype=np.int64) @ value[gone])

    def _keep(self, index: int) -> np.ndarray | None:
        """Return which entries of a tensor's last dimension stay; None where all do."""
        group = self.groups.of(index)
        if group is None or group not in self.kept:
            return None
        width = self.groups.width(group)
        return _repeated(self.kept[group], width, self.source.tensors[index].shape[-1] // width)

    def _add(self, tensor: Tensor) -> int:
        self._tensors[self._next] = dataclasses.replace(tensor, index=self._next)
        self._next += 1
        return self._next - 1


def _repeated(kept: np.ndarray, width: int, times: int) -> np.ndarray:
    """Return ``kept`` channels of ``width``, as they stand in ``times`` rows of channels."""
    return (np.arange(times)[:, None] * width + kept).reshape(-1)


def _valued(tensor: Tensor, values: Sequence[int] | np.ndarray) -> Tensor:
    """Return an integer constant with other values."""
    data = np.asarray(values).astype(tensor.dtype.numpy)
    data.setflags(write=False)
    return dataclasses.replace(tensor, data=data, shape=data.shape)


def _cut(tensor: Tensor, keep: np.ndarray, axis: int) -> Tensor:
    """Return a constant with the entries ``keep`` of an axis."""
    assert tensor.data is not None
    data = np.ascontiguousarray(np.take(tensor.data, keep, axis))
    data.setflags(write=False)
    quantization = tensor.quantization
    if quantization is not None and quantization.per_channel:
        along = quantization.axis % tensor.data.ndim == axis % tensor.data.ndim
        along &= len(quantization.scales) == tensor.data.shape[axis]
        quantization = _chosen(quantization, keep) if along else quantization
    return dataclasses.replace(tensor, data=data, shape=data.shape, quantization=quantization)


def _bias_scales(node: Node) -> Quantization:
    """Return the quantization of a layer's bias: input scale times weight scales."""
    weights = node.input(1).quantization
    scales = weights.scales if weights is not None else (1.0,)
    products = np.float32(node.input(0).scale) * np.array(scales, np.float32)
    return Quantization(tuple(products.astype(float).tolist()), (0,) * len(scales))


def _chosen(quantization: Quantization, keep: np.ndarray) -> Quantization:
    zero_points = np.resize(quantization.zero_points, len(quantization.scales))
    return dataclasses.replace(
        quantization,
        scales=tuple(quantization.scales[i] for i in keep),
        zero_points=tuple(int(zero_points[i]) for i in keep),
    )
