"""What is inside any ``.tflite``, whether edgebuild can build it or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edgebuild.graph import Graph, Node, Tensor
from edgebuild.graph.formats import is_quantized
from edgebuild.ops.refusal import Unsupported, formats
from edgebuild.ops.support import unsupported
from edgebuild.passes import READ_PASSES, run_passes
from edgebuild.report.layers import parameter_bytes

_COMPILED = {"CUSTOM edgetpu-custom-op": "the Edge TPU", "CUSTOM ethos-u": "an Arm Ethos-U (Vela)"}


@dataclass(frozen=True)
class OperatorRow:
    """One operator as the file has it; ``reason`` says why generated C does not run it."""

    subgraph: int
    position: int
    kind: str
    version: int
    formats: str
    output_shape: tuple[int, ...]
    parameter_bytes: int
    reason: str = ""


@dataclass(frozen=True)
class Contents:
    """A ``.tflite`` as it is.

    ``compiled_for`` names the accelerator whose compiler wrote the file, empty for none.
    ``number_format`` is "int" or "float": what the model computes on.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[OperatorRow, ...]
    subgraphs: int
    parameter_bytes: int
    number_format: str
    compiled_for: str
    unsupported: Unsupported
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return asdict(self)


def contents(graph: Graph, notes: tuple[str, ...] = ()) -> Contents:
    """Return what is in ``graph``, a model as it was read."""
    read = run_passes(graph, READ_PASSES).graph
    found = unsupported(read)
    reasons = {place.operator: form.reason for form in found.forms for place in form.places}
    kept = {op.source_index for op in read.ops}
    rows = [
        _row(node, 0, reasons.get(node.op.source_index, _absence(node, kept)))
        for node in graph.nodes()
    ]
    for number, other in enumerate(graph.others, 1):
        rows += [_row(node, number, "in a further subgraph") for node in other.nodes()]
    tensors = [t for part in (graph, *graph.others) for t in part.tensors.values()]
    kinds = {row.kind for row in rows}
    return Contents(
        inputs=tuple(describe_tensor(t) for t in graph.input_tensors),
        outputs=tuple(describe_tensor(t) for t in graph.output_tensors),
        operators=tuple(rows),
        subgraphs=1 + len(graph.others),
        parameter_bytes=sum(t.nbytes for t in tensors if t.is_constant),
        number_format="int" if is_quantized(graph) else "float",
        compiled_for=next((_COMPILED[kind] for kind in sorted(kinds & _COMPILED.keys())), ""),
        unsupported=found,
        notes=(*notes, *_ethos_u(graph)),
    )


def describe_tensor(tensor: Tensor) -> str:
    """Return an input or output in words: type, shape, quantization, name."""
    lengths = tensor.signature or tensor.shape
    shape = "x".join("?" if d < 0 else str(d) for d in lengths) or "scalar"
    if tensor.quantization is None:
        return f"{tensor.dtype} {shape} ({tensor.name})"
    return (
        f"{tensor.dtype} {shape}, scale {tensor.scale:.6g}, zero point {tensor.zero_point} "
        f"({tensor.name})"
    )


def _row(node: Node, subgraph: int, reason: str) -> OperatorRow:
    shape = node.outputs[0].shape if node.outputs else ()
    return OperatorRow(
        *(subgraph, node.op.source_index, node.kind, node.op.version, formats(node), shape),
        parameter_bytes(node),
        reason,
    )


def _absence(node: Node, kept: set[int]) -> str:
    return "" if node.op.source_index in kept else "computed at build time, or without effect"


def _ethos_u(graph: Graph) -> Iterator[str]:
    """Yield what Vela's operators hold: a command stream, weights, and scratch memory."""
    for node in graph.nodes():
        if node.kind == "CUSTOM ethos-u" and len(node.inputs) >= 3:
            stream, weights, scratch = (t.nbytes if t is not None else 0 for t in node.inputs[:3])
            yield (
                f"operator {node.op.source_index}: command stream {stream:,} B, "
                f"weights {weights:,} B, scratch {scratch:,} B"
            )
