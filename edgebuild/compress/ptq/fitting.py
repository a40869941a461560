"""Fit weights and biases layer by layer, each to what the quantized layers before it really give.

Rounding is AdaRound or nearest; the bias correction (Nagel et al. 2019, the empirical form) takes
away the mean error that is left of each output.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebuild.compress.kept import digest
from edgebuild.compress.ptq.artifact import Runner, first_inputs, real
from edgebuild.compress.ptq.calibration import Range
from edgebuild.compress.ptq.linear import Linear, linear_of
from edgebuild.compress.ptq.network import Network, Operator
from edgebuild.compress.ptq.rounding import Fit, adaround, channel_scales, nearest
from edgebuild.compress.ptq.writer import write
from edgebuild.kept import read_kept, write_kept

Samples = Sequence[Sequence[np.ndarray]]

_ROWS = 8192
_BITS = {"int4": 4, "int8": 8, "int16x8": 8}


@dataclass(frozen=True)
class Fitting:
    """What is to be fitted: see ``Quantize``. ``checkpoints`` keeps each layer's integers."""

    adaround: bool
    bias_correction: bool
    steps: int
    seed: int
    checkpoints: Path | None
    progress: Callable[[str], None]


def on_grid(network: Network, formats: Mapping[int, str]) -> Network:
    """Return ``network`` with int4 weights clipped to the scale of least squared error.

    With 15 levels the largest weight is a poor measure of the others. Wider formats stay as they
    are: there the quantizer's own rounding is the nearest.
    """
    changes: dict[int, np.ndarray] = {}
    for op in network.weighted():
        linear = linear_of(network, op)
        if formats.get(op.number) == "int4" and linear is not None and op.inputs[1] not in changes:
            weights = network.constant(op.inputs[1])
            assert weights is not None
            matrix = linear.matrix(weights)
            scales = channel_scales(matrix, 4, clip=True)
            changes[op.inputs[1]] = linear.weights_of(nearest(matrix, scales, 4) * scales)
    return network.replaced(changes)


def fit(
    network: Network,
    ranges: Mapping[int, Range],
    formats: Mapping[int, str],
    samples: Samples,
    how: Fitting,
) -> tuple[Network, tuple[str, ...]]:
    """Return ``network`` with weights and biases fitted in order, and notes."""
    floats = _Taps(network.content(), samples)
    now, notes, done = on_grid(network, formats), [], set()
    layers = network.weighted()
    for count, op in enumerate(layers, 1):
        bits, linear = _BITS.get(formats.get(op.number, "")), linear_of(network, op)
        if bits is None or linear is None or op.inputs[1] in done:
            if linear is None:
                notes.append(f"{network.label(op)}: rounded to nearest, a form that is not fitted")
            continue
        done.add(op.inputs[1])
        how.progress(f"fitting layer {count} of {len(layers)}")
        quantized = _Taps(write(now, ranges, formats, names=False), samples)
        changes, note = _Layer(network, op, linear, bits, how).fitted(floats, quantized)
        now = now.replaced(changes)
        if note:
            notes.append(f"{network.label(op)}: {note}")
    return now, tuple(notes)


class _Taps:
    """Rows of a layer's input, at the same places for every network."""

    def __init__(self, content: bytes, samples: Samples) -> None:
        self._runner, self._samples = Runner(content, keep_all=True), samples
        self._details = {d["index"]: d for d in self._runner.details()}
        # By the output's name: the quantizers may leave out what only renames the input.
        self._input_of = first_inputs(content)

    def rows(self, linear: Linear, output: str, seed: int) -> np.ndarray:
        """Return the rows that ``linear`` reads to compute the tensor called ``output``."""
        rng = np.random.default_rng(seed)
        detail = self._details[self._input_of[output]]
        most = max(1, _ROWS // len(self._samples))
        parts = []
        for sample in self._samples:
            self._runner.run(sample)
            x = real(self._runner.tensor(detail["index"]), detail)
            parts.append(linear.rows(x.reshape(linear.inputs), rng, most))
        return np.concatenate(parts)


@dataclass(frozen=True)
class _Layer:
    network: Network
    op: Operator
    linear: Linear
    bits: int
    how: Fitting

    def fitted(self, floats: _Taps, quantized: _Taps) -> tuple[dict[int, np.ndarray], str]:
        """Return the changed constants, and what that did to the layer's error."""
        weights = self.network.constant(self.op.inputs[1])
        assert weights is not None
        matrix = self.linear.matrix(weights)
        bias = self.network.bias(self.op)
        offset = np.zeros(len(matrix), np.float32) if bias is None else bias.reshape(-1)
        name = self.network.name(self.op.output)
        exact = self.linear.products(floats.rows(self.linear, name, self.how.seed), matrix)
        rows = quantized.rows(self.linear, name, self.how.seed)
        low, high = self.linear.bounds
        fit_ = Fit(self.linear, rows, np.clip(exact + offset, low, high), offset)
        scales = channel_scales(matrix, self.bits, clip=self.bits < 8)
        plain = (nearest(matrix, scales, self.bits) * scales).astype(np.float32)
        before, changes, found = fit_.errors(plain), {}, plain
        if self.how.adaround:
            found = (self._rounded(fit_, matrix, scales) * scales).astype(np.float32)
            changes[self.op.inputs[1]] = self.linear.weights_of(found)
        if self.how.bias_correction and bias is not None:
            offset = self._corrected(fit_, exact, found)
            changes[self.op.inputs[2]] = offset.reshape(bias.shape)
        after = Fit(self.linear, rows, fit_.target, offset).errors(found)
        if before.sum() <= 0.0:
            return changes, ""
        return changes, f"error of the output {100 * (after.sum() / before.sum() - 1):+.0f} %"

    def _corrected(self, fit_: Fit, exact: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return the bias without the mean error, where that is the better one."""
        shift = np.mean(exact - self.linear.products(fit_.rows, found), axis=0)
        moved = (fit_.bias + shift).astype(np.float32)
        tried = Fit(self.linear, fit_.rows, fit_.target, moved)
        return np.where(tried.errors(found) < fit_.errors(found), moved, fit_.bias)

    def _rounded(self, fit_: Fit, matrix: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Return AdaRound's integers, from the checkpoint when there is one."""
        options = repr((self.bits, self.how.steps, self.how.seed))
        deciding = digest(options, fit_.rows, fit_.target, fit_.bias, matrix, scales)
        folder = self.how.checkpoints
        file = None if folder is None else folder / f"round-{deciding}.npy"
        content = None if file is None else read_kept(file, deciding)
        if content is not None:
            try:
                kept = np.load(io.BytesIO(content), allow_pickle=False)
                if kept.shape == matrix.shape:
                    return np.asarray(kept, np.float64)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile):
                pass
        q = adaround(fit_, matrix, scales, self.bits, steps=self.how.steps, seed=self.how.seed)
        if file is not None:
            made = io.BytesIO()
            np.save(made, q.astype(np.int8))
            write_kept(file, deciding, made.getvalue())
        return q
