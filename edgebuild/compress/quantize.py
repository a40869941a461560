"""Quantization: float weights and activations become integers (or half floats) for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.ptq.artifact import constant_bytes
from edgebuild.compress.ptq.calibration import METHODS, Range, histograms, ranges
from edgebuild.compress.ptq.equalize import equalize
from edgebuild.compress.ptq.fitting import Fitting, fit, on_grid
from edgebuild.compress.ptq.float_file import FloatFile
from edgebuild.compress.ptq.mixed import assign
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.ptq.writer import possible, write
from edgebuild.errors import InputError, nearest

FORMAT_NAMES = ("int8", "int16x8", "int4", "float16")
ROUNDINGS = ("nearest", "adaround")
_PERCENTILE = 99.99
_SHOWN = 8


@dataclass(frozen=True)
class Quantize:
    """Fix the numbers: after training and pruning, before ``huffman``.

    Attributes:
        format: ``int8``; ``int16x8`` (int16 activations, int8 weights); ``int4`` (int4 weights of
            convolutions and fully connected layers, all else int8); ``float16`` (weights, stored).
        calibration: how ranges of activations are chosen: ``min-max``, ``percentile``, ``mse``,
            ``entropy``.
        percentile: of values within each end of a range, for that calibration.
        samples: of the training split to calibrate with.
        equalize: cross-layer equalization first (Nagel et al. 2019).
        bias_correction: take away each channel's mean error, measured on the samples.
        rounding: ``nearest`` or ``adaround`` (Nagel et al. 2020).
        rounding_steps: of AdaRound for each layer.
        mixed: how much quality may be lost by mixed formats; 0 gives all operators ``format``.
        epochs: of quantization-aware training; 0 is none.
    """

    name: ClassVar[str] = "quantize"

    format: str = "int8"
    calibration: str = "min-max"
    percentile: float = _PERCENTILE
    samples: int = 200
    equalize: bool = False
    bias_correction: bool = True
    rounding: str = "nearest"
    rounding_steps: int = 500
    mixed: float = 0.0
    epochs: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        for what, value, known in (
            ("format", self.format, FORMAT_NAMES),
            ("calibration", self.calibration, METHODS),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in known:
                raise InputError(
                    f"quantize: unknown {what} '{value[:60]}'{nearest(value, known)}",
                    hint=f"{what}s: {', '.join(known)}",
                )
        if not 50.0 < self.percentile <= 100.0:
            raise InputError(
                f"quantize: percentile {self.percentile:g} is not above 50 and at most 100"
            )
        if self.samples < 1 or self.rounding_steps < 1 or self.epochs < 0:
            raise InputError(
                "quantize: samples and rounding_steps are at least 1, epochs at least 0"
            )
        if not 0.0 <= self.mixed < 1.0:
            raise InputError(f"quantize: mixed {self.mixed:g} must be at least 0 and below 1")
        if self.mixed and self.epochs:
            raise InputError(
                "quantize: mixed formats are found after training",
                hint="leave out epochs, or mixed",
            )
        self._refuse_unused()

    def _refuse_unused(self) -> None:
        """Refuse options that have no part in what the others ask for."""
        stored = self.format == "float16"
        for unused, why, hint in (
            (
                self.percentile != _PERCENTILE and self.calibration != "percentile",
                f"percentile needs calibration=percentile, not {self.calibration}",
                "add calibration=percentile, or leave out percentile",
            ),
            (
                self.mixed and self.format != "int8",
                f"mixed chooses each operator's format, not format={self.format}",
                "leave out format, or mixed",
            ),
            (
                stored and self.rounding != "nearest",
                f"float16 weights are not rounded by {self.rounding}",
                "leave out rounding, or take format=int8",
            ),
            (
                stored and self.calibration != "min-max",
                f"float16 needs no ranges, so calibration={self.calibration} has no effect",
                "leave out calibration, or take format=int8",
            ),
        ):
            if unused:
                raise InputError(f"quantize: {why}", hint=hint)

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the state with its finished ``.tflite``."""
        if self.epochs > 0 and isinstance(state.model, FloatFile):
            raise InputError(
                "quantize: only a .keras or .h5 model can be trained", hint="leave out epochs"
            )
        if self.epochs > 0:
            from edgebuild.compress.qat import train_quantized

            content, notes = train_quantized(state, context, self)
        else:
            content, notes = self._post_training(state, context)
        return state.replace(flatbuffer=content), notes

    def _post_training(self, state: State, context: Context) -> tuple[bytes, tuple[str, ...]]:
        samples = calibration_samples(state.model, context, self.samples)
        context.progress("converting")
        try:
            network = Network(float_content(state.model))
        except ValueError as error:
            raise InputError(
                "quantize: the model has a loop, which cannot be quantized",
                hint="build recurrent layers with unroll=True",
            ) from error
        return quantize_network(self, network, samples, context)


def calibration_samples(model: Any, context: Context, samples: int) -> list[tuple[np.ndarray, ...]]:
    """Return so many training samples, each an array (\\*shape) for each input of ``model``."""
    from edgebuild.models.tf_model import of_keras

    chosen = context.train.take(draw(len(context.train), samples, context.seed))
    if isinstance(model, FloatFile):
        return list(zip(*chosen.x, strict=True))
    inputs = of_keras(model).inputs
    arrays = [np.asarray(a, entry["dtype"]) for a, entry in zip(chosen.x, inputs, strict=True)]
    return list(zip(*arrays, strict=True))


def float_content(model: Any) -> bytes:
    """Return a Keras model or a FloatFile as float ``.tflite``."""
    from edgebuild.models.tf_model import of_keras

    return model.content if isinstance(model, FloatFile) else of_keras(model).to_tflite()


def draw(count: int, samples: int, seed: int) -> np.ndarray:
    """Return the sorted positions of ``samples`` of ``count`` samples, drawn with ``seed``."""
    if count <= samples:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, samples, replace=False))


def quantize_network(
    options: Quantize, network: Network, samples: list[tuple[np.ndarray, ...]], context: Context
) -> tuple[bytes, tuple[str, ...]]:
    """Return a float network in the numbers that ``options`` ask for, and notes.

    ``samples`` hold an array (\\*shape) for each input.
    """
    notes: list[str] = []
    if options.equalize:
        network, told = equalize(network)
        notes += told
    found: dict[int, Range] = {}
    if options.format != "float16" or options.mixed:
        context.progress("calibrating")
        wide = options.format == "int16x8" and not options.mixed
        method = "min-max" if wide else options.calibration
        counted = histograms(network, samples)
        found = ranges(counted, method, percentile=options.percentile, symmetric=wide)
        notes.append(_calibration_note(options, method, len(samples)))
    if options.mixed:
        formats, told = assign(network, found, options.mixed, context)
        notes += told
    else:
        formats = {
            op.number: "int8" if options.format == "int8" else possible(network, op, options.format)
            for op in network.operators
        }
        notes += _format_notes(network, formats, options.format)
    if options.rounding == "adaround" or options.bias_correction:
        how = Fitting(
            options.rounding == "adaround",
            options.bias_correction,
            options.rounding_steps,
            context.seed,
            context.checkpoints,
            context.progress,
        )
        network, told = fit(network, found, formats, samples, how)
        notes += told
    else:
        network = on_grid(network, formats)
    content = write(network, found, formats)
    notes.append(f"constants take {constant_bytes(content):,} B")
    return content, tuple(notes)


def _calibration_note(options: Quantize, method: str, samples: int) -> str:
    by = f"{method} {options.percentile:g} %" if method == "percentile" else method
    ignored = "" if method == options.calibration else f" (int16 needs no {options.calibration})"
    return f"calibrated with {samples} samples by {by}{ignored}"


def _format_notes(network: Network, formats: Mapping[int, str], wanted: str) -> list[str]:
    """Say which operators did not get the format that was asked for."""
    if wanted == "float16":
        return ["float16 weights; what is computed stays float32"]
    other: dict[str, list[str]] = {}
    for op in network.operators:
        # int4 is a format of weights: beside them int8 is what was asked for
        weightless = wanted == "int4" and op not in network.weighted()
        if formats[op.number] != ("int8" if weightless else wanted):
            other.setdefault(formats[op.number], []).append(network.label(op))
    notes = ["int4 weights with int8 activations"] if wanted == "int4" else []
    for kind, labels in other.items():
        more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
        notes.append(f"{kind}, for which there is no {wanted}: {', '.join(labels[:_SHOWN])}{more}")
    return notes
