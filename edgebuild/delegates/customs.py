"""Custom operators that no runtime at hand has: neither the delegate nor LiteRT on the CPU."""

from __future__ import annotations

import dataclasses

from edgebuild.delegates import xnnpack
from edgebuild.delegates.base import Compatibility, OpVerdict
from edgebuild.delegates.npu import COMPILED_OP
from edgebuild.delegates.table import load_table
from edgebuild.errors import UnsupportedOperatorError
from edgebuild.graph import Graph
from edgebuild.ops.refusal import FormGroups, Unsupported
from edgebuild.units import shortened

LITERT_CUSTOMS = (
    "AudioSpectrogram",
    "Mfcc",
    "NumericVerify",
    "TFLite_Detection_PostProcess",
    "aeq.hadamard_rotation",
)
"""What LiteRT 2.3.0 registers itself (``BuiltinOpResolver`` in tflite/kernels/register.cc)."""

_SHOWN = 40


def with_unknown_customs(graph: Graph, found: Compatibility) -> Compatibility:
    """Return ``found``; the reason of each custom operator that nothing runs says so too."""
    unknown = {verdict.position for verdict in _unknown(graph, found)}
    verdicts = tuple(
        dataclasses.replace(v, reason=f"{v.reason}: LiteRT's CPU has no kernel for it")
        if v.position in unknown
        else v
        for v in found.verdicts
    )
    return dataclasses.replace(found, verdicts=verdicts)


def refuse_unknown_customs(graph: Graph, found: Compatibility, *, where: str) -> None:
    """Raise UnsupportedOperatorError where the model has custom operators that nothing runs."""
    unknown = _unknown(graph, found)
    if not unknown:
        return
    groups = FormGroups()
    for verdict in unknown:
        groups.add(graph.node(verdict.position), verdict.reason)
    refused = Unsupported(len(graph.ops), groups.forms())
    raise UnsupportedOperatorError(
        f"{where}: no runtime at hand has {len(unknown)} of the model's custom operators",
        details=shortened(refused.lines(), _SHOWN, " lines; --json lists all"),
        hint="convert it with TFLITE_BUILTINS alone, or replace the layer; `edgebuild inspect` "
        "shows every operator",
        facts={"unsupported": refused.to_json()},
    )


def _unknown(graph: Graph, found: Compatibility) -> list[OpVerdict]:
    """Return the verdicts on custom operators that neither the delegate nor LiteRT's CPU runs."""
    known = {f"CUSTOM {name}" for name in LITERT_CUSTOMS}
    if not found.known:
        known.add(COMPILED_OP)
    left = [v for v in found.fallbacks if v.kind.startswith("CUSTOM") and v.kind not in known]
    if not left:
        return []
    reasons = xnnpack.reasons(graph, load_table("xnnpack"))  # what LiteRT's CPU adds by default
    return [verdict for verdict in left if reasons[verdict.position]]
