"""What a graph computes on: integers or floats."""

from __future__ import annotations

from edgebuild.graph.ir import DType, Graph


def is_quantized(graph: Graph) -> bool:
    """Return whether the graph computes on integers; QUANTIZE and DEQUANTIZE may be at its edges.

    A model whose weights alone are quantized (dynamic range) computes on floats.
    """
    computes_float = False
    for node in graph.nodes():
        active = [t for t in (*node.inputs, *node.outputs) if t is not None and not t.is_constant]
        if any(t.quantization is not None and t.dtype != DType.FLOAT32 for t in active):
            return True
        computes_float |= any(t.dtype == DType.FLOAT32 for t in active)
    return not computes_float
