"""Whether the target's kernels can run the number format that compression has chosen."""

from __future__ import annotations

import json
from dataclasses import asdict

from edgebuild.compress.ptq.artifact import operator_formats
from edgebuild.compress.run import Compressed
from edgebuild.errors import CannotRunError, InputError, ModelError, UnsupportedOperatorError
from edgebuild.graph import Graph
from edgebuild.ops.support import check_supported
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.tflite.reader import read_tflite

MODEL_NAME = "model.tflite"
_SHOWN = 12


def runnable_graph(plan: BuildPlan, model: bytes, compressed: Compressed | None) -> Graph:
    """Return the graph of ``model``.

    Raises:
        ModelError: it cannot be read.
        UnsupportedOperatorError: an operator has no kernel.
        CannotRunError: compression gave it numbers that no kernel computes with. The model is
            among the error's files.
    """
    where = str(plan.request.model)
    try:
        graph = read_tflite(model, name=plan.name, where=where)
        check_supported(graph, where=where)
    except (ModelError, UnsupportedOperatorError) as error:
        if compressed is None or compressed.tflite is None:
            raise
        raise _refusal(plan, error, compressed, compressed.tflite) from error
    return graph


def _refusal(
    plan: BuildPlan, error: InputError, compressed: Compressed, model: bytes
) -> CannotRunError:
    step = next(step for step in reversed(compressed.steps) if step.name == "quantize")
    chosen = "mixed" if step.options.get("mixed") else str(step.options.get("format", ""))
    foreign = [f"{place}: {types}" for place, types in operator_formats(model) if _odd(types)]
    reasons = foreign or list(error.details)
    more = [f"... and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
    quality = step.quality[1]
    files = {MODEL_NAME: model, "compression.json": _report(compressed)}
    if compressed.packed is not None:
        files["weights.huff"] = compressed.packed
    return CannotRunError(
        f"{plan.request.model}: {plan.target.name} cannot run the number format {chosen}: "
        "edgebuild has no kernel for",
        details=[
            *reasons[:_SHOWN],
            *more,
            f"written all the same: {plan.out / MODEL_NAME} "
            f"({step.cost[1].bytes:,} B of constants, {quality.measure} {quality.value:.2%})",
        ],
        hint="quantize:format=int8 builds for this target; LiteRT runs the file as it is",
        files=files,
    )


def _odd(types: str) -> bool:
    """Return whether an operator's number formats are not all those of int8 arithmetic."""
    read, _, written = types.partition(" to ")
    return not {written, *read.split(", ")} <= {"int8", "int32", "bool"}


def _report(compressed: Compressed) -> bytes:
    rows = [asdict(step) for step in compressed.steps]
    return (json.dumps({"compression": rows}, indent=1, default=str) + "\n").encode()
