"""After channels or weights are gone: give what is left the values nearest to what was there.

Layer by layer, in order, the kernel of a convolution or dense layer is fitted so that on training
inputs its outputs are those of the larger model, as far as fewer inputs and weights allow: least
squares, with no gradient steps and no labels (He et al. 2017). Fine-tuning then starts much nearer
to the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import ChannelMap
from edgebuild.compress.costs import nodes
from edgebuild.compress.quality import graph_of
from edgebuild.compress.splits import Split

FITS = ("auto", "on", "off")

_SAMPLES = 384
"""At least, where there are as many."""
_ROWS_PER_INPUT = 16
_MOST_ROWS = 16_384
"""Equations, one for each output position of a sample: for each unknown, and all together."""
_BATCH = 16
_MOST_VALUES = 1 << 24
"""So many numbers of patches are in memory at once."""
_RIDGE = 1e-2
"""Of the mean square of the inputs: how strongly weights stay what they are."""
_MOST_STEPS = 100
_EXACT = 1e-5
"""Of conjugate gradients: at most so many, and when the residual is small enough."""
_TINY = 1e-300
_KINDS = {"Conv1D", "Conv2D", "Dense"}


def wanted(fit: str, context: Context) -> bool:
    """Return whether a pass with the option ``fit`` reconstructs: without labels, if it is auto."""
    return fit == "on" or (fit == "auto" and not context.train.labels)


def reconstruct(
    before: State,
    after: State,
    context: Context,
    channels: ChannelMap | None = None,
    removed: frozenset[int] = frozenset(),
) -> State:
    """Return ``after``, which is ``before`` without ``removed`` and what is masked, with kernels
    fitted to ``before``. What is masked stays zero.

    ``channels`` is of ``before.model``, where channels were removed. Left alone are grouped,
    depthwise and recurrent layers, layers that are called more than once, and shared weights.
    """
    from edgebuild.compress.training import clone

    fitted = after.replace(model=clone(after.model))
    gone = np.array(sorted(removed), int)
    originals = {node.operation.name: node for node in _fittable(before)}
    for node in _fittable(fitted):
        name = node.operation.name
        if name not in originals:
            continue
        context.progress(f"fitting {name}")
        width = originals[name].operation.kernel.shape[-1]
        made = {} if channels is None else channels.outputs
        kept = ~np.isin(made.get(name, np.full(width, -1)), gone)
        if len(kept) == width:  # else what it makes is no plain list of channels
            sides = _Side(before.model, originals[name]), _Side(fitted.model, node)
            _fit(*sides, kept, fitted.masks.get(node.operation.kernel.path), context)
    return fitted


def nearer(fitted: State, tuned: State, context: Context) -> State:
    """Return the state whose outputs are closer to the teacher's on the validation split: a fit can
    be better than what a short fine-tuning finds."""
    from edgebuild.compress.losses import split_loss

    if fitted is tuned:
        return tuned
    before, after = (split_loss(context, context.validation, s.model) for s in (fitted, tuned))
    return tuned if after <= before else fitted


@dataclass(frozen=True)
class _Side:
    """One call of a layer in the larger or the smaller model."""

    model: Any
    node: Any

    @property
    def layer(self) -> Any:
        return self.node.operation


def _fit(
    large: _Side, small: _Side, kept: np.ndarray, mask: np.ndarray | None, context: Context
) -> None:
    """Change the smaller layer so that it gives the ``kept`` outputs of the larger one. Weights
    stay zero where its kernel's ``mask`` is False."""
    layer = small.layer
    positions = int(np.prod(small.node.output_tensors[0].shape[1:-1]))
    rows = min(_MOST_ROWS, _ROWS_PER_INPUT * int(np.prod(layer.kernel.shape[:-1])))
    # A dense layer sees a sample once, a convolution at every position.
    count = max(_SAMPLES, -(-rows // positions))
    samples = context.train.take(_spread(len(context.train), count))
    each = -(-rows // len(samples))
    equations = _Equations(layer)
    theirs, ours = (_inputs(side.model, side.node, samples) for side in (large, small))
    for number, (a, b) in enumerate(zip(theirs, ours, strict=True)):
        before = _values(large.layer, _rows(large.layer, a, each, number))[:, kept]
        equations.add(_rows(layer, b, each, number), before)
    equations.solve(mask)


class _Equations:
    """Least squares for the change of a layer's kernel and bias."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        kernel = np.asarray(layer.kernel, np.float64)
        self._width, self._outputs = kernel[..., 0].size + layer.use_bias, kernel.shape[-1]
        self._square = np.zeros((self._width, self._width))
        self._product = np.zeros((self._width, self._outputs))

    def add(self, rows: np.ndarray, wanted: np.ndarray) -> None:
        """Take equations: inputs (n, inputs), and the outputs (n, outputs) before activation that
        they are to give."""
        missing = np.asarray(wanted - _values(self._layer, rows), np.float64)
        rows = np.asarray(rows, np.float64)
        if self._layer.use_bias:
            rows = np.concatenate([rows, np.ones((len(rows), 1))], axis=1)
        self._square += rows.T @ rows
        self._product += rows.T @ missing

    def solve(self, mask: np.ndarray | None) -> None:
        """Change the layer; see ``_fit``."""
        ridge = _RIDGE * np.trace(self._square) / self._width
        if ridge <= 0.0:
            return
        square = self._square + ridge * np.eye(self._width)
        kernel = np.asarray(self._layer.kernel)
        if mask is None or mask.all():
            change = np.linalg.solve(square, self._product)
        else:
            free = np.ones(self._product.shape, bool)
            free[: kernel[..., 0].size] = mask.reshape(-1, self._outputs)
            change = descend(square, self._product, free)
        if not np.isfinite(change).all():
            return
        if self._layer.use_bias:
            self._layer.bias.assign(np.asarray(self._layer.bias) + change[-1])
            change = change[:-1]
        self._layer.kernel.assign(kernel + change.reshape(kernel.shape))


def descend(square: np.ndarray, product: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Return the ``x`` (inputs, outputs), zero where not ``free``, with the least
    ``x' square x / 2 - product' x`` in each column: conjugate gradients with the diagonal as
    preconditioner, all columns at once."""
    scale = np.where(free, 1.0 / np.diag(square)[:, None], 0.0)
    x = np.zeros_like(product)
    left = np.where(free, product, 0.0)
    step = scale * left
    size = first = np.sum(left * step, axis=0)
    for _ in range(_MOST_STEPS):
        if np.all(size <= _EXACT**2 * first):
            break
        ahead = np.where(free, square @ step, 0.0)
        length = size / np.maximum(np.sum(step * ahead, axis=0), _TINY)
        x += length * step
        left -= length * ahead
        turned = scale * left
        before, size = size, np.sum(left * turned, axis=0)
        step = turned + (size / np.maximum(before, _TINY)) * step
    return x


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _fittable(state: State) -> Iterator[Any]:
    """Yield the calls of layers that can be fitted, in order."""
    calls = nodes(state.model)
    names = [node.operation.name for node in calls]
    for node in calls:
        layer = node.operation
        if type(layer).__name__ not in _KINDS or names.count(layer.name) > 1:
            continue
        shared = any(w.path in state.clusters for w in layer.weights)
        if not shared and getattr(layer, "groups", 1) == 1:
            yield node


def _inputs(model: Any, node: Any, samples: Split) -> Iterator[np.ndarray]:
    """Yield what a layer reads, batch after batch."""
    import keras
    import tensorflow as tf

    run = graph_of(keras.Model(model.inputs, node.input_tensors[0]))
    for start in range(0, len(samples), _BATCH):
        batch = samples.take(np.arange(start, min(start + _BATCH, len(samples))))
        yield np.asarray(run([tf.constant(np.asarray(a, np.float32)) for a in batch.x])[0])


def _rows(layer: Any, values: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Return (positions, inputs): what the kernel is multiplied with at ``each`` output positions
    of every sample, the same ones for the same ``seed``."""
    kernel = layer.kernel.shape
    if len(kernel) == 2:
        return _drawn(values.reshape(len(values), -1, kernel[0]), each, seed)
    inputs = int(np.prod(values.shape[1:-1])) * int(np.prod(kernel[:-1]))
    step = max(1, _MOST_VALUES // inputs)
    parts = (values[start : start + step] for start in range(0, len(values), step))
    return np.concatenate([_drawn(_patches(layer, part), each, seed) for part in parts])


def _drawn(rows: np.ndarray, each: int, seed: int) -> np.ndarray:
    """Return ``each`` of the rows of every sample (samples, rows, inputs), as one list."""
    chosen = np.random.default_rng(seed).permutation(rows.shape[1])[:each]
    return rows[:, chosen].reshape(-1, rows.shape[-1])


def _patches(layer: Any, values: np.ndarray) -> np.ndarray:
    """Return (samples, output positions, inputs) of a convolution."""
    import tensorflow as tf

    size, flat = layer.kernel.shape[:-2], len(layer.kernel.shape) == 3
    if layer.padding == "causal":
        ahead = layer.dilation_rate[0] * (size[0] - 1)
        values = np.pad(values, ((0, 0), (ahead, 0), (0, 0)))
    one = [1] if flat else []
    patches = tf.image.extract_patches(
        values[:, None] if flat else values,
        sizes=[1, *one, *size, 1],
        strides=[1, *one, *layer.strides, 1],
        rates=[1, *one, *layer.dilation_rate, 1],
        padding="SAME" if layer.padding == "same" else "VALID",
    )
    return np.asarray(patches).reshape(len(values), -1, patches.shape[-1])


def _values(layer: Any, rows: np.ndarray) -> np.ndarray:
    """Return the outputs before activation (positions, outputs)."""
    kernel = np.asarray(layer.kernel)
    made = rows @ kernel.reshape(-1, kernel.shape[-1])
    return made + np.asarray(layer.bias) if layer.use_bias else made
