"""The TFLite Micro form of a build: the model as a C array, its operators and its arena size.

The files need TFLite Micro's own headers and library to compile; ``docs/tflm.md`` shows how.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.codegen.names import c_identifier
from edgebuild.codegen.templates import render
from edgebuild.codegen.tflm_arena import TflmArena, tflm_arena
from edgebuild.codegen.tflm_ops import resolver_methods
from edgebuild.errors import InputError
from edgebuild.graph import Graph

__all__ = ["OFFLINE_PLAN", "TflmArena", "has_own_plan", "tflm_arena", "tflm_files"]

_BYTES_PER_ROW = 20
_HEX = tuple(f"0x{byte:02x}" for byte in range(256))
OFFLINE_PLAN = "OfflineMemoryAllocation"
"""The name of the metadata that holds a memory plan."""


def tflm_files(graph: Graph, model: bytes, name: str, core: str) -> dict[str, str]:
    """Return ``model_data.h`` and ``model_data.cc`` for TFLite Micro; same model, same text.

    Args:
        graph: the graph of ``model`` as read, before any pass.
        model: the ``.tflite`` file.
        name: a C identifier (``c_identifier``): ``kws`` gives ``g_kws_data``, ``kKwsArenaBytes``.
        core: the core whose arena is stated, see ``tflm_arena``.

    Of a model with a memory plan of its own the arena's size is left out: see ``has_own_plan``.

    Raises:
        UnsupportedOperatorError: TFLite Micro does not have an operator.
        InputError: the name is not an identifier, the core is not known, or the model has no
            operator.
    """
    if name != c_identifier(name):
        raise InputError(f"'{name[:80]}' is not a lower-case C identifier", hint=c_identifier(name))
    if not graph.ops:
        raise InputError(f"model '{name}' has no operators")
    methods = resolver_methods(graph)
    values = {
        "name": name,
        "macro": name.upper(),
        "camel": "".join(part.capitalize() for part in name.split("_")),
        "core": core,
        "methods": methods,
        "op_count": len(methods),
        "arena": None if has_own_plan(model) else tflm_arena(graph, core),
        "length": len(model),
        "rows": tuple(_rows(model)),
    }
    return {
        "model_data.h": render("model_data.h.j2", **values),
        "model_data.cc": render("model_data.cc.j2", **values),
    }


def has_own_plan(model: bytes) -> bool:
    """Return whether ``model`` carries a memory plan in its metadata. TFLite Micro follows it, so
    that the size of its arena cannot be worked out here."""
    return OFFLINE_PLAN.encode() in model


def _rows(data: bytes) -> Iterator[str]:
    for start in range(0, len(data), _BYTES_PER_ROW):
        yield ",".join(_HEX[byte] for byte in data[start : start + _BYTES_PER_ROW]) + ","
