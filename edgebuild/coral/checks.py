"""Whether a compiled model is its source with operators moved into packages, and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from edgebuild.coral.compiler_log import MAPPED, ModelLog
from edgebuild.coral.package import CUSTOM_OP, CompiledModel
from edgebuild.graph import Graph, Node, Tensor

_ROUNDING = 0.006
"""Sizes in the log have two decimals of KiB or MiB."""


def compiled_differences(
    source: Graph, compiled: Graph, model: CompiledModel, log: ModelLog
) -> list[str]:
    """Return what does not fit, in words; empty where the compiled model is the source's."""
    return [*model_differences(source, compiled), *_log(source, compiled, model, log)]


def model_differences(source: Graph, compiled: Graph) -> list[str]:
    """Return the same without a log, which a model that was compiled elsewhere does not have."""
    return [*_interface(source, compiled), *_cpu_part(source, compiled)]


def _interface(source: Graph, compiled: Graph) -> list[str]:
    found = []
    for role in ("input", "output"):
        ours, theirs = (getattr(graph, f"{role}_tensors") for graph in (source, compiled))
        if [_as_seen(t) for t in ours] != [_as_seen(t) for t in theirs]:
            found.append(f"{role}s: {_described(theirs)}; the source has {_described(ours)}")
    return found


def _as_seen(tensor: Tensor) -> tuple[object, ...]:
    return tensor.name, *_signature(tensor), tensor.quantization


def _described(tensors: Sequence[Tensor]) -> str:
    words = []
    for tensor in tensors:
        told = f"'{tensor.name}' {tensor.dtype} {'x'.join(map(str, tensor.shape))}"
        if tensor.quantization is not None:
            told += f", scale {tensor.quantization.scale:.6g}"
            told += f", zero point {tensor.quantization.zero_point}"
        words.append(told)
    return " and ".join(words) or "none"


def _signature(tensor: Tensor) -> tuple[tuple[int, ...], str]:
    return tensor.shape, tensor.dtype.value


def _cpu_part(source: Graph, compiled: Graph) -> list[str]:
    """Each operator outside the packages is one of the source, with its constants."""
    known: dict[tuple[str, str], list[Node]] = defaultdict(list)
    for node in source.nodes():
        known[node.kind, node.output.name].append(node)
    found = []
    for node in compiled.nodes():
        if node.kind == CUSTOM_OP:
            continue
        twins = known[node.kind, node.output.name]
        twin = next((t for t in twins if _same(t, node)), None)
        if twin is None:
            why = "has other constants or shapes" if twins else "is not in the source"
            found.append(f"{node.kind} '{node.output.name}' {why}")
        else:
            twins.remove(twin)
    return found


def _same(a: Node, b: Node) -> bool:
    pairs = list(zip(a.inputs, b.inputs, strict=False))
    return (
        len(a.inputs) == len(b.inputs)
        and [_signature(t) for t in a.outputs] == [_signature(t) for t in b.outputs]
        and all(_same_tensor(x, y) for x, y in pairs)
    )


def _same_tensor(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    if _signature(a) != _signature(b) or a.is_constant != b.is_constant:
        return False
    return a.data is None or b.data is None or np.array_equal(a.data, b.data)


def _log(source: Graph, compiled: Graph, model: CompiledModel, log: ModelLog) -> list[str]:
    left = Counter(op.kind for op in compiled.ops if op.kind != CUSTOM_OP)
    found = []
    if log.operators is not None and log.operators != len(source.ops):
        found.append(f"the log has {log.operators} operators, the source {len(source.ops)}")
    if log.on_cpu is not None and log.on_cpu != left.total():
        found.append(f"the log leaves {log.on_cpu} to the CPU, the file {left.total()}")
    if log.table:
        told: Counter[str] = Counter()
        for kind, count, status in log.table:
            told[kind] += count * (status != MAPPED)
        if +told != left:
            found.append(f"the log leaves {dict(+told)} to the CPU, the file {dict(left)}")
    for what in ("cached_bytes", "streamed_bytes"):
        said, read = getattr(log, what), sum(getattr(p, what) for p in model.packages)
        if said is not None and not _about(said, read):
            found.append(f"{what.replace('_', ' ')}: {said:,} in the log, {read:,} in the file")
    return found


def _about(said: int, read: int) -> bool:
    unit = 1 << 20 if read >= 1 << 20 else 1 << 10
    return abs(said - read) <= 1 + _ROUNDING * unit
