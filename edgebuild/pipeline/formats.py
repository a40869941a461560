"""Whether the target's kernels can run the number format that compression has chosen."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from edgebuild.compress.ptq.artifact import operator_formats
from edgebuild.compress.run import Compressed
from edgebuild.errors import CannotRunError, InputError, ModelError, UnsupportedOperatorError
from edgebuild.graph import Graph
from edgebuild.graph.demand import check_demand
from edgebuild.passes import supported_graph
from edgebuild.pipeline.effort import check_run
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.tflite.edited import edited
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite

MODEL_NAME = "model.tflite"
_SHOWN = 12


@dataclass(frozen=True)
class Runnable:
    """A ``.tflite`` that TFLite Micro and the target's kernels run.

    ``source`` is what ``model`` says, ``graph`` the same after all passes.
    """

    model: bytes
    source: Graph
    graph: Graph
    notes: tuple[str, ...]


def runnable(plan: BuildPlan, model: bytes, compressed: Compressed | None) -> Runnable:
    """Return ``model`` as it is built.

    Raises:
        ModelError: it cannot be read.
        UnsupportedOperatorError: an operator has no kernel.
        CannotRunError: compression gave it numbers that no kernel computes with. The model is
            among the error's files.
    """
    where = str(plan.request.model)
    try:
        graph = read_tflite(model, name=plan.name, where=where)
        if not graph.ops:
            raise ModelError(f"{where}: the model has no operators")
        found = supported_graph(graph, where=where)
    except (ModelError, UnsupportedOperatorError) as error:
        if compressed is None or compressed.tflite is None:
            raise
        raise _refusal(plan, error, compressed, compressed.tflite) from error
    check_demand(graph, where=where, samples=plan.request.samples)
    check_run(plan, found.graph)
    notes = found.notes
    if found.read is not graph and not _runs_in_tflite_micro(model, graph):
        model = edited(model, graph, found.read)
        graph = read_tflite(model, name=plan.name, where=where)
        notes = (*notes, "model.tflite was rewritten: TFLite Micro does not run the original")
    return Runnable(model, graph, found.graph, notes)


def _runs_in_tflite_micro(model: bytes, graph: Graph) -> bool:
    zeros = [bytes(tensor.nbytes) for tensor in graph.input_tensors]
    try:
        run_oracle(model, [zeros])
    except ModelError:
        return False
    return True


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
        f"{plan.request.model}: {plan.target.name} runs int8 only, so it cannot run {chosen}: "
        "edgebuild has no kernel for",
        details=[
            *reasons[:_SHOWN],
            *more,
            f"the file was written anyway: {plan.out / MODEL_NAME} "
            f"({step.cost[1].bytes:,} B of constants, {quality.measure} {quality.value:.2%})",
        ],
        hint="--compress quantize:format=int8 for this target; the file as it is runs with LiteRT",
        files=files,
    )


def _odd(types: str) -> bool:
    """Return whether an operator's number formats are not all those of int8 arithmetic."""
    read, _, written = types.partition(" to ")
    return not {written, *read.split(", ")} <= {"int8", "int32", "bool"}


def _report(compressed: Compressed) -> bytes:
    rows = [asdict(step) for step in compressed.steps]
    return (json.dumps({"compression": rows}, indent=1, default=str) + "\n").encode()
