"""The parts of a model that only partly runs on its target's accelerator, beside the whole one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgebuild.backends.base import Cut, Progress, Shipment
from edgebuild.errors import InputError, InternalError, ModelError
from edgebuild.files import atomic_write
from edgebuild.graph import KERNEL_DTYPES, Graph
from edgebuild.graph.ir import OPAQUE_DTYPES
from edgebuild.graph.split import split_graph
from edgebuild.models.convert import litert_outputs
from edgebuild.models.data import DataSet
from edgebuild.pipeline.plan import BuildPlan
from edgebuild.pipeline.steps import quantized_samples
from edgebuild.report.parts import ModelParts, join_parts
from edgebuild.tflite.schema import has_second_options
from edgebuild.tflite.writer import write_tflite
from edgebuild.verification import make_samples, stack_samples

FOLDER = "parts"
_RANDOM = frozenset(("MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM"))


def leave_parts(
    plan: BuildPlan,
    shipment: Shipment,
    cuts: Sequence[Cut],
    data: DataSet | None,
    folder: Path,
    progress: Progress,
) -> tuple[ModelParts | None, tuple[str, ...]]:
    """Write each part as ``parts/<number>_<place>.tflite`` below ``folder``, checked on samples.

    Returns how they join, and notes. Without cuts nothing is written; nor of a model that cannot
    be cut, or that LiteRT does not run on the samples: a note says why.

    Raises:
        InternalError: the parts do not give the whole model's outputs.
        InputError: the data does not fit the model.
    """
    if not cuts:
        return None, ()
    progress("cutting the model into parts")
    graph = shipment.graph
    parts = split_graph(graph, [cut.positions for cut in cuts])
    if (problem := next(_problems(graph, parts), None)) is not None:
        return None, (f"not cut into parts: {problem}",)
    names = [
        (f"{FOLDER}/{number}_{cut.place.lower().replace(' ', '')}.tflite", cut.place)
        for number, cut in enumerate(cuts, 1)
    ]
    real = quantized_samples(graph, data, plan.request.samples)
    samples = make_samples(graph, plan.request.samples, plan.request.seed, real)
    arrays = stack_samples(graph, samples)
    try:
        whole = litert_outputs(shipment.model, arrays, xnnpack=False)
        files = {file: write_tflite(part) for part, (file, _) in zip(parts, names, strict=True)}
        joined = _run(graph, parts, files, arrays)
    except InputError as error:
        return None, (f"not cut into parts: {error.message}",)
    if wrong := list(_differences(graph, whole, joined)):
        raise InternalError(
            f"{plan.name}: the parts do not give the whole model's outputs", details=wrong
        )
    for file, content in files.items():
        atomic_write(folder / file, content)
    return join_parts(graph, parts, names, len(samples)), ()


def _problems(graph: Graph, parts: Sequence[Graph]) -> Iterator[str]:
    """Yield why the parts cannot be written, or would not compute what the model does."""
    if graph.others:
        yield f"the model has {len(graph.others) + 1} subgraphs"
    for tensor in graph.tensors.values():
        if tensor.stored or tensor.dtype in OPAQUE_DTYPES:
            yield f"the values of tensor '{tensor.name}' ({tensor.dtype}) are not read"
    for node in graph.nodes():
        if has_second_options(node.kind):
            yield f"the options of {node.where} are not read"
        if node.kind in _RANDOM:
            yield f"{node.where} draws random numbers"
    for number, part in enumerate(parts, 1):
        if not (part.inputs and part.outputs):
            yield f"part {number} has no {'outputs' if part.inputs else 'inputs'}"
    for tensor in graph.tensors.values():
        if tensor.is_variable and sum(tensor.index in part.tensors for part in parts) > 1:
            yield f"several parts would share the variable '{tensor.name}'"
    made = {i for part in parts for i in part.outputs}
    ends, outputs = {*graph.inputs, *made}, set(graph.outputs)
    for tensor in graph.tensors.values():
        if tensor.index in ends and tensor.dtype not in KERNEL_DTYPES:
            yield f"'{tensor.name}', which goes into or out of a part, is {tensor.dtype}"
        if tensor.index in outputs and tensor.index not in made:
            yield f"no operator makes the model's output '{tensor.name}'"


def _run(
    graph: Graph,
    parts: Sequence[Graph],
    files: Mapping[str, bytes],
    arrays: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Run the parts one after the other; return each of the model's outputs.

    Raises:
        ModelError: a tensor between them has a shape that is not known before.
        InternalError: LiteRT does not run a part.
    """
    values = dict(zip(graph.inputs, arrays, strict=True))
    for part, (file, content) in zip(parts, files.items(), strict=True):
        for tensor in part.input_tensors:
            if (shape := values[tensor.index].shape[1:]) != tensor.shape:
                raise ModelError(
                    f"tensor '{tensor.name}' has the shape {list(shape)} when the model runs, "
                    f"{list(tensor.shape)} in the file"
                )
        try:
            outputs = litert_outputs(content, [values[i] for i in part.inputs], xnnpack=False)
        except ModelError as error:
            raise InternalError(
                f"{graph.name}: LiteRT runs the whole model but not {file}: {error.message}",
                details=error.details,
            ) from error
        values.update(zip(part.outputs, outputs, strict=True))
    return [values[i] for i in graph.outputs]


def _differences(
    graph: Graph, whole: Sequence[np.ndarray], joined: Sequence[np.ndarray]
) -> Iterator[str]:
    """Yield a sentence for each output that differs in a byte, its shape or its type."""
    for tensor, a, b in zip(graph.output_tensors, whole, joined, strict=True):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            found, wanted = (f"{array.dtype} {list(array.shape)}" for array in (b, a))
            yield f"output '{tensor.name}': {found}, not {wanted}"
        elif a.tobytes() != b.tobytes():
            raw = [np.frombuffer(array.tobytes(), np.uint8) for array in (a, b)]
            count = int(np.count_nonzero(raw[0] != raw[1]))
            yield f"output '{tensor.name}': {count:,} of {a.nbytes:,} bytes differ"
