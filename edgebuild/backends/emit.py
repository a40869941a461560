"""Code generation that every C target shares."""

from __future__ import annotations

from edgebuild.backends.base import Emitted
from edgebuild.codegen.c_library import generate_library, kernel_calls
from edgebuild.graph import Graph
from edgebuild.memory import plan_memory
from edgebuild.targets import CpuFeatures

LIBRARY = "lib"
"""Folder of the generated library in a build."""


def emit_library(graph: Graph, name: str, cpu: CpuFeatures) -> Emitted:
    """Bind kernels, plan memory and generate the C library below ``lib/``."""
    calls = kernel_calls(graph, cpu)
    plan = plan_memory(graph, calls)
    library = generate_library(graph, calls, plan, name)
    files = {f"{LIBRARY}/{path}": text for path, text in library.items()}
    return Emitted(graph, calls, plan, name, files)
