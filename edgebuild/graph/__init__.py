"""The intermediate representation: an immutable graph of integer tensors, and its verifier."""

from edgebuild.graph.ir import ABSENT, KERNEL_DTYPES, DType, Graph, Node, Op, Quantization, Tensor

__all__ = ["ABSENT", "KERNEL_DTYPES", "DType", "Graph", "Node", "Op", "Quantization", "Tensor"]
