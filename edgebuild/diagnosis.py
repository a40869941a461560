"""Which tensor loses what a build lost, and why: for the accuracy gate and budgets of quality."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgebuild.compress.base import CompressionStep
from edgebuild.errors import EdgebuildError
from edgebuild.graph import Graph, Node
from edgebuild.models.causes import (
    COMPRESSION,
    JOINED,
    OF_RANGES,
    Reason,
    calibration_reasons,
    called,
    joined_reason,
    tensor_reasons,
)
from edgebuild.models.convert import calibration_draw, to_tflite
from edgebuild.models.data import DataSet, match_inputs, quantize_input
from edgebuild.models.departures import TensorStats, measure_departures, paired_tensors
from edgebuild.models.output_parts import part_tensors
from edgebuild.models.preprocessing import NONE, Preprocessing
from edgebuild.models.source import Kind, SourceModel
from edgebuild.report.gate import AccuracyGate, Cause, Departure, Loss
from edgebuild.tflite.reader import read_tflite

_SAMPLES = 48
_MUCH = 0.4
"""The first tensor that departs by this share of the largest departure is the culprit."""

_LEAST = 0.01
"""Tensors that depart by less are none."""


def diagnose(
    gate: AccuracyGate,
    source: SourceModel,
    shipped: bytes,
    data: DataSet,
    calibration: DataSet | None,
    steps: Sequence[CompressionStep] = (),
    *,
    preprocessing: Preprocessing = NONE,
    samples: int = 200,
    seed: int = 0,
    suspects: Sequence[Cause] = (),
    missed: Sequence[Loss] = (),
) -> AccuracyGate:
    """Return the gate's findings with the tensor that departs first and the causes.

    Args:
        gate: what was lost.
        source: the float model.
        shipped: the ``.tflite`` that lost it.
        data: what it was judged on.
        calibration: what its ranges were calibrated with: ``samples`` of it, drawn by ``seed``.
        steps: passes of compression before it. Where one trained or cut the network, tensors have
            no float partners, and the pass that lost most is named.
        preprocessing: what is done to inputs before the shipped model reads them.
        missed: where a budget of the user's was missed.
        suspects: samples of ``data`` that alone may have lost it.
    """
    changed = [step for step in steps if step.name != "quantize"]
    reasons: list[Reason] = []
    departure, lost = None, (*gate.losses, *missed)
    try:
        if calibration is not None and not calibration.is_random:
            drawn = calibration_draw(len(calibration), samples, seed)
            reasons += _of_inputs(source, data, calibration, drawn)
        if changed:
            reasons += _of_steps(steps)
        else:
            departure, found = _of_tensors(source, shipped, data, preprocessing, lost)
            # What is wrong with the calibration data says it better than the range that came of it.
            reasons += [r for r in found if not (reasons and r.kind in OF_RANGES)]
    except EdgebuildError as error:
        warning = f"the tensor that loses it is not known: {error.message}"
        gate = dataclasses.replace(gate, warnings=(*gate.warnings, warning))
    causes = tuple(Cause(r.kind, r.sentence, r.remedy) for r in reasons)
    if suspects:  # what was calibrated without them clips them, whichever tensor shows it
        causes = (*suspects, *(c for c in causes if c.kind not in OF_RANGES))
    return dataclasses.replace(gate, departure=departure, causes=causes)


def _of_inputs(
    source: SourceModel, data: DataSet, calibration: DataSet, drawn: np.ndarray
) -> list[Reason]:
    names = [spec.name for spec in source.inputs]
    given, judged = (match_inputs(one, source.inputs) for one in (calibration, data))
    return calibration_reasons(
        [a.reshape(len(a), *a.shape[2:])[drawn] for a in given],
        [a.reshape(len(a), *a.shape[2:]) for a in judged],
        names,
        drawn,
    )


def _of_steps(steps: Sequence[CompressionStep]) -> list[Reason]:
    worst = max(steps, key=lambda step: step.quality[0].value - step.quality[1].value)
    before, after = worst.quality
    if after.value >= before.value:
        return []
    return [
        Reason(
            COMPRESSION,
            f"the pass {worst.name} takes {before.measure} on the validation samples from "
            f"{before.value:.2%} to {after.value:.2%}",
            f"a weaker {worst.name}, or more epochs",
        )
    ]


def _of_tensors(
    source: SourceModel,
    shipped: bytes,
    data: DataSet,
    preprocessing: Preprocessing,
    losses: Sequence[Loss],
) -> tuple[Departure | None, list[Reason]]:
    float_model = (
        source.content if source.kind == Kind.TFLITE else to_tflite(source, None, "float32").model
    )
    float_graph, graph = read_tflite(float_model), read_tflite(shipped)
    chosen = np.unique(np.linspace(0, len(data) - 1, _SAMPLES).astype(int))
    some = dataclasses.replace(data, x=tuple(array[chosen] for array in data.x))
    real = match_inputs(some, float_graph.input_tensors)
    fed = dataclasses.replace(some, x=preprocessing.apply(match_inputs(some, source.inputs)))
    quantized = [
        quantize_input(a, t)
        for a, t in zip(match_inputs(fed, graph.input_tensors), graph.input_tensors, strict=True)
    ]
    stats = measure_departures(
        float_model, shipped, (float_graph, graph), real, quantized, preprocessing.steps
    )
    lost = _lost_tensors(graph, losses)
    worst = _first_departure(graph, stats, _ancestors(graph, lost))
    if worst is None:
        return None, []
    index, before, node = worst
    pairs = paired_tensors(float_graph, graph)
    # Of what a converter calls by a number the float model knows the name.
    names = {mine: float_graph.tensors[its].name for mine, its in pairs.items()}
    tensor = graph.tensors[index]
    layer = "" if node is None else node.where
    departure = Departure(called(names[index]), layer, stats[index].fidelity, before)
    weights = 1.0 if node is None else _weight_similarity(float_graph, graph, node)
    tensor = dataclasses.replace(tensor, name=names[index])
    reasons = tensor_reasons(graph, node, tensor, stats, weights)
    if not any(reason.kind == JOINED for reason in reasons):
        reasons += _joined_outputs(graph, lost, stats)
    return departure, reasons


def _lost_tensors(graph: Graph, losses: Sequence[Loss]) -> set[int]:
    """Return the tensors that hold what was lost, each before it was joined with other channels;
    all outputs where it is not known which one lost it."""
    makers = {tensor.index: node for node in graph.nodes() for tensor in node.outputs}
    where: dict[str, set[int]] = {}
    for loss in losses:
        where.setdefault(loss.output, set()).update(loss.channels or (-1,))
    found: set[int] = set()
    for tensor in graph.output_tensors:
        channels = where.get(tensor.name, set())
        if -1 in channels:
            found.add(tensor.index)
            continue
        for channel in channels:
            found.update(part_tensors(graph, makers, tensor.index, channel))
    return found or set(graph.outputs)


def _ancestors(graph: Graph, tensors: set[int]) -> set[int]:
    """Return the tensors with all that they are computed from."""
    found = set(tensors)
    for node in reversed(list(graph.nodes())):
        if any(tensor.index in found for tensor in node.outputs):
            found |= {tensor.index for tensor in node.inputs if tensor is not None}
    return found


def _joined_outputs(graph: Graph, lost: set[int], stats: dict[int, TensorStats]) -> list[Reason]:
    """Return that what was lost has the scale of a join, where that costs it more than a little."""
    makers = {tensor.index: node for node in graph.nodes() for tensor in node.outputs}
    for index in sorted(lost):
        maker = makers.get(index)
        if index not in stats or maker is None:
            continue
        given = [
            stats[t.index].fidelity for t in maker.inputs if t is not None and t.index in stats
        ]
        if min(given, default=1.0) - stats[index].fidelity < _LEAST:
            continue
        if (reason := joined_reason(graph, graph.tensors[index], stats)) is not None:
            return [reason]
    return []


def _first_departure(
    graph: Graph, stats: dict[int, TensorStats], within: set[int]
) -> tuple[int, float, Node | None] | None:
    """Return the tensor of those ``within`` that is first much less like its partner than what it
    is computed from, with the fidelity of that and its operator."""
    reached: dict[int, float] = {}
    found: list[tuple[float, int, float, Node | None]] = []
    for index in graph.inputs:
        reached[index] = stats[index].fidelity if index in stats else 1.0
        if index in within:
            found.append((1.0 - reached[index], index, 1.0, None))
    for node in graph.nodes():
        given = [reached[t.index] for t in node.inputs if t is not None and t.index in reached]
        before = min(given, default=1.0)
        for tensor in node.outputs:
            reached[tensor.index] = before
            if tensor.index in stats:
                own = stats[tensor.index].fidelity
                reached[tensor.index] = own
                if tensor.index in within:
                    found.append((before - own, tensor.index, before, node))
    most = max((drop for drop, *_ in found), default=0.0)
    if most < _LEAST:
        return None
    _, index, before, maker = next(row for row in found if row[0] >= _MUCH * most)
    return index, before, maker


def _weight_similarity(float_graph: Graph, graph: Graph, node: Node) -> float:
    """Return the similarity to the float model's of the worst channel of an operator's weights."""
    pairs = paired_tensors(float_graph, graph)
    partner = pairs.get(node.outputs[0].index)
    makers = {t.index: n for n in float_graph.nodes() for t in n.outputs}
    other = makers.get(partner) if partner is not None else None
    if other is None or len(node.inputs) < 2 or len(other.inputs) < 2:
        return 1.0
    mine, its = node.inputs[1], other.inputs[1]
    if mine is None or its is None or mine.data is None or its.data is None:
        return 1.0
    if mine.quantization is None or mine.data.shape != its.data.shape or mine.data.ndim < 2:
        return 1.0
    q, axis = mine.quantization, mine.quantization.axis
    along = [1] * mine.data.ndim
    along[axis] = -1
    scales, zeros = (np.reshape(v, along) for v in (q.scales, q.zero_points))
    values = (mine.data.astype(np.float64) - zeros) * scales
    wanted = np.asarray(its.data, np.float64)
    channels = -1 if node.kind == "DEPTHWISE_CONV_2D" else 0
    rows, truth = (
        np.moveaxis(a, channels, 0).reshape(a.shape[channels], -1) for a in (values, wanted)
    )
    # The largest weight says nothing of how the many small ones fare.
    small = np.abs(truth) <= np.quantile(np.abs(truth), 0.9, axis=1, keepdims=True)
    noise = np.sum(np.where(small, (rows - truth) ** 2, 0.0), axis=1)
    signal = np.sum(np.where(small, truth**2, 0.0), axis=1)
    live = signal > 0
    return float((1.0 - noise[live] / signal[live]).min(initial=1.0))
