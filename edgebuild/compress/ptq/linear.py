"""Convolutions and fully connected layers as matrix products, for fitting their weights.

A row holds what one output position reads: (K,) for a convolution or a fully connected layer,
(K, C) for a depthwise convolution of C outputs, each of which reads its own K values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgebuild.compress.ptq.network import Network, Operator
from edgebuild.tflite import schema

_BOUNDS = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


@dataclass(frozen=True)
class Linear:
    """How an operator's output follows from its input, without bias and activation."""

    op: Operator
    weights: tuple[int, ...]
    inputs: tuple[int, ...]

    @property
    def depthwise(self) -> bool:
        """Whether each output reads its own input channel."""
        return self.op.kind == "DEPTHWISE_CONV_2D"

    @property
    def bounds(self) -> tuple[float, float]:
        """The fused activation's least and largest value."""
        return _BOUNDS[self.op.activation]

    def matrix(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights as (outputs, K)."""
        if self.depthwise:
            return weights.reshape(-1, self.weights[3]).T
        return weights.reshape(self.weights[0], -1)

    def weights_of(self, matrix: np.ndarray) -> np.ndarray:
        """Return a matrix (outputs, K) in the shape of the weights."""
        return (matrix.T if self.depthwise else matrix).reshape(self.weights)

    def rows(self, x: np.ndarray, rng: np.random.Generator, most: int) -> np.ndarray:
        """Return at most ``most`` rows of one input (1, ...), at places drawn with ``rng``."""
        if self.op.kind == "FULLY_CONNECTED":
            flat = x.reshape(-1, self.weights[1])
            return flat[_draw(len(flat), most, rng)]
        windows = self._windows(x[0])
        height, width = windows.shape[:2]
        chosen = _draw(height * width, most, rng)
        found = windows[chosen // width, chosen % width]  # (P, C, kh, kw)
        if self.depthwise:
            found = found.reshape(*found.shape[:2], -1).transpose(0, 2, 1)
            return np.repeat(found, self.weights[3] // found.shape[2], axis=2)
        return found.transpose(0, 2, 3, 1).reshape(len(found), -1)

    def _windows(self, x: np.ndarray) -> np.ndarray:
        """Return what each output place of x (H, W, C) reads, (out H, out W, C, kh, kw)."""
        options = self.op.options
        kernel = self.weights[1:3]
        stride = (options.strideH, options.strideW)
        dilation = (options.dilationHFactor, options.dilationWFactor)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        if schema.enum_names("Padding")[options.padding] == "SAME":
            pads = []
            for size, step, span in zip(x.shape, stride, reach, strict=False):
                total = max((-(-size // step) - 1) * step + span - size, 0)
                pads.append((total // 2, total - total // 2))
            x = np.pad(x, (*pads, (0, 0)))
        view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(0, 1))
        return view[:: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]

    def products(self, rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Return (rows, outputs)."""
        if self.depthwise:
            return np.einsum("pkc,ck->pc", rows, matrix)
        return rows @ matrix.T

    def gradient(self, rows: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Return the gradient (outputs, K) of a loss whose gradient by products is ``errors``."""
        if self.depthwise:
            return np.einsum("pc,pkc->ck", errors, rows)
        return errors.T @ rows

    def squares(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean square of what each weight is multiplied with: (outputs or 1, K)."""
        means = np.mean(rows**2, axis=0)
        return means.T if self.depthwise else means[np.newaxis]


def linear_of(network: Network, op: Operator) -> Linear | None:
    """Return an operator of ``network.weighted()`` as a matrix product; None when it is none that
    is understood: a grouped convolution, an activation that does not clip."""
    weights, inputs = network.shape(op.inputs[1]), network.shape(op.inputs[0])
    if op.activation not in _BOUNDS:
        return None
    if op.kind == "CONV_2D" and weights[3] != inputs[3]:
        return None
    return Linear(op, weights, inputs)


def _draw(count: int, most: int, rng: np.random.Generator) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(rng.choice(count, most, replace=False))
