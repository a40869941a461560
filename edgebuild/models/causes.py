"""Why a quantized tensor departs from the float model's: rules over measured numbers.

Each rule looks at the first tensor that departs, at the data that calibrated its range, or at the
weights of the operator that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgebuild.graph import Graph, Node, Tensor
from edgebuild.models.departures import TensorStats
from edgebuild.units import quoted

CONSTANT = "constant calibration data"
OUTLIER = "outlier in the calibration data"
WIDE = "calibration data of another scale"
NARROW = "values beyond the calibrated range"
CHANNELS = "channels of unequal size"
JOINED = "values of unequal size joined"
OFFSET = "values far from zero"
WEIGHTS = "weights of unequal size"
COMPRESSION = "compression"
OF_RANGES = (OUTLIER, WIDE, NARROW)
"""The causes that follow from calibration data."""

_UNLIKE = 8.0
"""Ranges that differ by so much do not share eight bits well."""

_BEYOND = 0.002
"""This share of values may lie outside a range."""

_FEW_STEPS = 12.0
"""A channel that varies by fewer steps is lost in them."""

_SHARING = {"CONCATENATION", "PACK"}
"""Operators whose inputs have the scale of their output."""

_JOINS = {*_SHARING, "ADD", "SUB", "MAXIMUM", "MINIMUM"}
_STEPS = 256


@dataclass(frozen=True)
class Reason:
    """One cause: its kind, a sentence, and what to try against it."""

    kind: str
    sentence: str
    remedy: str


def called(name: str) -> str:
    """Return what tells most of a converter's name: of the first one the last two parts."""
    return "/".join(name.split(";")[0].rsplit("/", 2)[-2:])


def calibration_reasons(
    calibration: Sequence[np.ndarray],
    judged: Sequence[np.ndarray],
    names: Sequence[str],
    positions: np.ndarray,
) -> list[Reason]:
    """Return what the inputs' calibration data, (samples, ...) each, have that ``judged`` data,
    which the float model gets right, have not. ``positions`` (samples,) are those of the given
    samples in their set."""
    found = []
    for name, given, seen in zip(names, calibration, judged, strict=True):
        if given.dtype.kind not in "f":
            continue
        reason = _of_calibration(
            *(name, np.asarray(given, np.float64), np.asarray(seen, np.float64), positions)
        )
        if reason is not None:
            found.append(reason)
    return found


def _of_calibration(
    name: str, given: np.ndarray, seen: np.ndarray, positions: np.ndarray
) -> Reason | None:
    where = f"input {quoted(name)}"
    if np.all(given == given.flat[0]) or (len(given) > 1 and np.all(given == given[0])):
        what = f"{given.flat[0]:g} everywhere" if np.all(given == given.flat[0]) else "all the same"
        return Reason(
            CONSTANT,
            f"the calibration data of {where} are {what}",
            "calibrate with typical data (--train, --data)",
        )
    if (outlier := _outlier(given)) is not None:
        position, value, rest = outlier
        return Reason(
            OUTLIER,
            f"sample {positions[position[0]]} of the calibration data has {value:g} at "
            f"{list(position[1:])} of {where}; all but a few values lie within {rest:g}",
            "correct or remove that sample, or --compress quantize:calibration=percentile",
        )
    mine, wanted = (float(np.quantile(np.abs(a), 0.999)) for a in (given, seen))
    if mine > _UNLIKE / 2 * max(wanted, 1e-30):
        return Reason(
            WIDE,
            f"the calibration data of {where} reach {mine:g}, the evaluation data {wanted:g}: they "
            "are scaled differently",
            "prepare both in the same way",
        )
    return None


def _outlier(given: np.ndarray) -> tuple[tuple[int, ...], float, float] | None:
    """Return position and value of what stretches the range beyond nearly all others, and the
    range of these."""
    size = np.abs(given - np.median(given)) if given.min() < 0 else np.abs(given)
    worst = tuple(int(i) for i in np.unravel_index(int(size.argmax()), size.shape))
    rest = float(np.quantile(np.delete(size, worst[0], axis=0), 0.999)) if len(given) > 1 else 0.0
    beyond = np.count_nonzero(size.reshape(len(size), -1).max(1) > _UNLIKE / 2 * max(rest, 1e-30))
    if rest <= 0 or beyond == 0 or beyond > max(1, len(given) // 50):
        return None
    return worst, float(given[worst]), rest


def tensor_reasons(
    graph: Graph,
    node: Node | None,
    tensor: Tensor,
    stats: dict[int, TensorStats],
    weights: float,
) -> list[Reason]:
    """Return why ``tensor`` departs, the likeliest first; may be empty.

    ``node`` makes it, None for an input. ``weights`` is the worst similarity of a channel of the
    node's weights to the float model's, 1 where it has none.
    """
    own, found = stats[tensor.index], []
    label = f"tensor {quoted(called(tensor.name))}"
    step = tensor.scale if tensor.quantization is not None else 0.0
    if step and own.clipped > _BEYOND:
        found.append(_narrow(label, tensor, own))
    if step and (joined := joined_reason(graph, tensor, stats)) is not None:
        return [*found, joined]
    size = np.maximum(np.abs(own.low), np.abs(own.high))[own.live]
    spread = (own.high - own.low)[own.live]
    if not len(size):
        return found
    lost = step > 0 and float(np.median(spread)) < _FEW_STEPS * step
    uneven = len(size) > 1 and float(size.max()) > _UNLIKE * float(np.median(size))
    if step and uneven and float(spread.min()) < 2 * _FEW_STEPS * step:
        found.append(_channels(label, own))
    elif lost and float(size.max()) > _UNLIKE * float(spread.max()):
        found.append(
            Reason(
                OFFSET,
                f"{label} has values near {own.quantiles[1]:g} that vary by {spread.max():g} only; "
                "a range of int8 reaches to zero",
                "subtract the offset before the model, or normalize the layer",
            )
        )
    elif lost and step * _STEPS > _UNLIKE * float(np.max(own.high) - np.min(own.low)):
        found.append(
            Reason(
                WIDE,
                f"the range of {label} was calibrated {step * _STEPS:g} wide, the evaluation data "
                f"use {np.max(own.high) - np.min(own.low):g} of it",
                "calibrate with data like the evaluation data",
            )
        )
    elif lost and step * _STEPS > _UNLIKE * (own.quantiles[2] - own.quantiles[0]):
        found.append(
            Reason(
                OUTLIER,
                f"a few values of {label} stretch its range to {step * _STEPS:g}; 99.8 % lie "
                f"within {own.quantiles[0]:g} to {own.quantiles[2]:g}",
                "--compress quantize:calibration=percentile",
            )
        )
    if weights < 0.98:
        assert node is not None
        found.append(
            Reason(
                WEIGHTS,
                f"the weights of {node.where} differ so much in size within a channel that int8 "
                f"keeps a similarity of {weights:.3f} in the worst",
                "--compress quantize:equalize=true,rounding=adaround, or train with a limit on the "
                "weights",
            )
        )
    return found


def _narrow(label: str, tensor: Tensor, own: TensorStats) -> Reason:
    info = np.iinfo(tensor.dtype.numpy)
    low, high = ((end - tensor.zero_point) * tensor.scale for end in (info.min, info.max))
    return Reason(
        NARROW,
        f"{own.clipped:.1%} of the values of {label} lie beyond its calibrated range {low:g} to "
        f"{high:g}: they go from {own.low.min():g} to {own.high.max():g}",
        "calibrate with data that cover the evaluation data (--train, --calibration-samples)",
    )


def _channels(label: str, own: TensorStats) -> Reason:
    size = np.maximum(np.abs(own.low), np.abs(own.high))
    channel = int(size.argmax())
    return Reason(
        CHANNELS,
        f"channel {channel} of {label} reaches {size[channel]:g}, half of its channels stay below "
        f"{np.median(size[own.live]):g}, and all share one scale",
        "--compress quantize:equalize=true, or scale the channels (inputs: before the model)",
    )


def joined_reason(graph: Graph, tensor: Tensor, stats: dict[int, TensorStats]) -> Reason | None:
    """Return that ``tensor`` has the scale of a join of values of very different size."""
    joins = [
        n
        for n in graph.nodes()
        if (n.kind in _JOINS and tensor.index in n.op.outputs)
        or (n.kind in _SHARING and tensor.index in n.op.inputs)
    ]
    for join in joins:
        parts = [t for t in join.inputs if t is not None and t.index in stats]
        sizes = [
            float(np.maximum(np.abs(stats[t.index].low), np.abs(stats[t.index].high)).max())
            for t in parts
        ]
        if len(sizes) > 1 and max(sizes) > _UNLIKE * min(sizes):
            small, large = parts[int(np.argmin(sizes))], parts[int(np.argmax(sizes))]
            return Reason(
                JOINED,
                f"{join.where} joins {quoted(called(small.name))}, which reaches {min(sizes):g}, "
                f"and {quoted(called(large.name))}, which reaches {max(sizes):g}, in one scale",
                "make them separate outputs, or scale both to the same size and undo it "
                "after the model",
            )
    return None
