"""Quantization-aware training: weights and ranges learn what int8 does to them.

What is trained is the converter's own network, batch normalization folded and operators fused, as
a Keras model: each weight is rounded to its channel's grid and each activation to its range in the
forward pass, and gradients pass through (Jacob et al. 2018). The ends of the ranges are learned
with the weights. What comes out goes through the TFLite converter's quantizer, which finds the
integers that were trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.ptq.calibration import Range, histograms, ranges
from edgebuild.compress.ptq.equalize import equalize
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.ptq.writer import write
from edgebuild.compress.qat_graph import FIXED, SAME_SCALE, spec_of
from edgebuild.compress.qat_model import LAYER, quantized_model, trained_constants, trained_ranges
from edgebuild.compress.quality import state_quality
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError

RATE = 0.1
"""Of the set-up's learning rate: the weights are good already, and only to settle."""


def train_quantized(state: State, context: Context, options: Any) -> tuple[bytes, tuple[str, ...]]:
    """Return the trained int8 ``.tflite``, and notes; where the one without training is better on
    the validation split, that.

    ``options`` is a ``Quantize``: its calibration is where the ranges start. Zeros of a masked
    model stay, shared weights stay shared. InputError for a model with operators that cannot be
    trained with, and for another format than int8.
    """
    from edgebuild.compress.quantize import calibration_samples, quantize_network
    from edgebuild.models.tf_model import of_keras

    if options.format != "int8":
        raise InputError(
            f"quantize: training with {options.format} is not supported", hint="format=int8"
        )
    context.progress("converting")
    try:
        network = Network(of_keras(state.model).to_tflite())
    except ValueError as error:
        raise InputError(
            "quantize: a model with a loop cannot be trained quantized", hint="leave out epochs"
        ) from error
    samples = calibration_samples(state.model, context, options.samples)
    spec_of(network)  # refuse before work is done
    calibrated, told = quantize_network(options, network, samples, context)
    notes: tuple[str, ...] = ()
    if options.equalize:
        network, notes = equalize(network)
    found = ranges(histograms(network, samples), options.calibration, percentile=options.percentile)
    content, model = train_network(network, found, state, context, options.epochs)
    before, after = (
        state_quality(state.replace(flatbuffer=made), context.validation, context.teacher)
        for made in (calibrated, content)
    )
    scores = f"{after.measure} {before.value:.2%} calibrated, {after.value:.2%} trained"
    if after.value < before.value:
        kept = f"{options.epochs} epochs in int8 did not help, so the calibrated model is kept"
        return calibrated, (*told, f"{kept} ({scores})")
    moved = _moved(found, trained_ranges(model))
    done = f"trained with int8 for {options.epochs} epochs; ranges moved by {moved:.1%} on average"
    return content, (*notes, f"{done} ({scores})")


def train_network(
    network: Network, found: Mapping[int, Range], state: State, context: Context, epochs: int
) -> tuple[bytes, Any]:
    """Return the ``.tflite`` of the trained network, and the Keras model that was trained."""
    groups = range_groups(network, found)
    model = quantized_model(network, spec_of(network), groups, found)
    masks, clusters = _promises(state, model.get_layer(LAYER).kernels)
    trained = fine_tune(
        State(model, masks, clusters),
        context,
        epochs=epochs,
        learning_rate=context.setup.learning_rate * RATE,
    ).model
    ends = trained_ranges(trained)
    final = network.replaced(trained_constants(trained))
    ranged = {tensor: ends[group] for tensor, group in groups.items()}
    return write(final, {**found, **ranged}, _int8(network)), trained


def _int8(network: Network) -> dict[int, str]:
    return {op.number: "int8" for op in network.operators}


def _promises(
    state: State, kernels: Sequence[Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return masks and clusters of the folded kernels, by path.

    Zeros stay zero. Batch normalization has multiplied each output's weights by a factor of its
    own: weights that are equal after that are what is left of a cluster.
    """
    masks, clusters = {}, {}
    for variable in kernels:
        values = np.asarray(variable)
        if state.masks or state.clusters:
            masks[variable.path] = values != 0.0
        if state.clusters:
            numbers = np.unique(values, return_inverse=True)[1].reshape(values.shape)
            clusters[variable.path] = np.where(values != 0.0, numbers, -1)
    return masks, clusters


def range_groups(network: Network, found: Mapping[int, Range]) -> dict[int, int]:
    """Return for each computed tensor whose range is learned its group: the lowest number of the
    tensors that share one range, as operators that only move values ask for.

    Tensors that int8 operators write with a scale of their own (softmax) are left out.
    """
    parents = {tensor: tensor for tensor in found}

    def root(tensor: int) -> int:
        while parents[tensor] != tensor:
            tensor = parents[tensor]
        return tensor

    fixed = {op.output for op in network.operators if op.kind in FIXED}
    for op in network.operators:
        if op.kind not in SAME_SCALE:
            continue
        tied = [t for t in (*op.inputs, *op.outputs) if t in parents]
        for tensor in tied[1:]:
            a, b = sorted((root(tied[0]), root(tensor)))
            parents[b] = a
    held = {root(tensor) for tensor in fixed if tensor in parents}
    return {tensor: root(tensor) for tensor in parents if root(tensor) not in held}


def _moved(before: Mapping[int, Range], after: Mapping[int, Range]) -> float:
    """Return by how much of their width the ranges' ends have moved."""
    moves = [
        (abs(high - before[t][1]) + abs(low - before[t][0]))
        / max(before[t][1] - before[t][0], 1e-12)
        for t, (low, high) in after.items()
    ]
    return float(np.mean(moves)) if moves else 0.0


def compare_integers(model: Any, content: bytes, arrays: Sequence[np.ndarray]) -> tuple[float, int]:
    """Return the share of equal integer outputs of the trained Keras model and the ``.tflite``,
    and the largest difference in steps."""
    from edgebuild.compress.ptq.artifact import Runner
    from edgebuild.compress.quality import predict

    runner = Runner(content)
    ours = predict(model, arrays)
    equal, worst = 0, 0
    for i in range(len(ours)):
        theirs = runner.run([array[i] for array in arrays])[0].reshape(-1)
        scale = runner.outputs[0]["quantization"][0]
        steps = np.abs(np.rint((ours[i].reshape(-1) - theirs) / scale)).astype(int)
        equal += int(np.count_nonzero(steps == 0))
        worst = max(worst, int(steps.max(initial=0)))
    return equal / ours.size, worst
