"""Unstructured, N:M and block sparsity: weights that become zero and stay zero."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.gradual import epochs_after, share_after
from edgebuild.compress.reconstruct import FITS, nearer, reconstruct, wanted
from edgebuild.compress.training import clone, fine_tune
from edgebuild.compress.unread import parts_of, unread
from edgebuild.errors import InputError

_PATTERN = re.compile(r"unstructured|(\d+):(\d+)|block(\d+)x(\d+)")
SCOPES = ("global", "layer")

_SPARSITY = 0.8
_SIDES = ("bias", "alpha", "beta", "gamma", "scale")
"""What a variable is called that is added to each output or scales it."""
Axes = tuple[int, ...]
LAST: Axes = (-1,)


@dataclass(frozen=True)
class Sparsify:
    """Set the smallest weights to zero, fine-tune the others.

    Weights of a channel that no other weight reads any more count as the smallest, and its bias
    becomes zero.

    Args:
        sparsity: the share of weights that become zero; of an N:M pattern it is 1 - N / M.
        pattern: ``unstructured``; ``2:4`` keeps the two largest of four inputs in a row, likewise
            for other numbers; ``block4x2`` zeroes blocks of 4 inputs by 2 outputs.
        scope: ``global`` compares weights of all layers, ``layer`` gives each the same share.
        steps: zero in so many steps, most at first (Zhu and Gupta 2017), with fine-tuning after
            each. An N:M pattern gets there evenly: in two steps ``2:4`` is 3:4 first. With more
            steps than there are patterns on the way, some are trained in several.
        epochs: of fine-tuning after the last step; each step before has a share of it, at least
            one.
        fit: give the weights that are left the values nearest to what the layer gave before, by
            least squares, before fine-tuning: ``on``, ``off``, or ``auto``, where there are no
            labels.
    """

    name: ClassVar[str] = "sparsify"

    sparsity: float = _SPARSITY
    pattern: str = "unstructured"
    scope: str = "global"
    steps: int = 4
    epochs: int = 5
    fit: str = "auto"

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        match = _PATTERN.fullmatch(self.pattern)
        if match is None:
            raise InputError(
                f"sparsify: unknown pattern '{self.pattern}'", hint="unstructured, 2:4 or block4x2"
            )
        if match[3] and (int(match[3]) < 1 or int(match[4]) < 1):
            raise InputError(f"sparsify: pattern {self.pattern} has empty blocks")
        if not 0.0 <= self.sparsity < 1.0:
            raise InputError(f"sparsify: sparsity {self.sparsity:g} must be at least 0 and below 1")
        if match[1]:
            self._check_share(int(match[1]), int(match[2]))
        if self.scope not in SCOPES:
            raise InputError(f"sparsify: scope is {' or '.join(SCOPES)}")
        if self.fit not in FITS:
            raise InputError(f"sparsify: fit is one of {', '.join(FITS)}, not '{self.fit[:60]}'")
        if self.steps < 1 or self.epochs < 0:
            raise InputError("sparsify: steps is at least 1, epochs at least 0")

    def _check_share(self, kept: int, of: int) -> None:
        if not 0 < kept < of:
            raise InputError(f"sparsify: pattern {self.pattern} keeps all weights, or none")
        if self.sparsity != _SPARSITY and not math.isclose(self.sparsity, 1 - kept / of):
            raise InputError(
                f"sparsify: pattern {self.pattern} zeroes {1 - kept / of:.4g} of the weights, not "
                f"sparsity={self.sparsity:g}",
                hint="leave out sparsity, or pattern",
            )

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the sparse model with its masks, and the share of zeros of each layer."""
        kernels = {v.path: np.asarray(v) for v in sparse_kernels(state.model)}
        if not kernels:
            return state, ("no layer has weights to zero",)
        outputs = output_axes(state.model)
        short = self._short(kernels, outputs)
        chosen = [path for path in kernels if path not in short]
        if not chosen:
            return state, tuple(short.values())
        now = state
        for step in range(1, self.steps + 1):
            kernels = {v.path: np.asarray(v) for v in sparse_kernels(now.model)}
            given = {path: kernels[path] for path in chosen}
            masks = self._living(now, given, outputs, step)
            sparser = masked(now, masks)
            fits = wanted(self.fit, context)
            if fits:
                sparser = reconstruct(now, sparser, context)
            epochs = epochs_after(step, self.steps, self.epochs)
            now = fine_tune(sparser, context, epochs=epochs, near=fits)
            if not context.train.labels:
                now = nearer(sparser, now, context)
        notes = [self._zeros(path, now.masks[path]) for path in chosen]
        return silenced(now), (*notes, *short.values())

    def _zeros(self, path: str, mask: np.ndarray) -> str:
        """Return the note about the zeros of a kernel."""
        if mask.any():
            return f"{path}: {1 - mask.mean():.1%} of {mask.size:,} are zero"
        why = ": scope=layer leaves it its share" if self.scope == "global" else ""
        return f"{path}: all {mask.size:,} are zero, what it reads has no effect{why}"

    def _short(
        self, kernels: Mapping[str, np.ndarray], outputs: Mapping[str, Axes]
    ) -> dict[str, str]:
        """Return a note for each kernel with fewer inputs than an N:M pattern's M."""
        match = _PATTERN.fullmatch(self.pattern)
        assert match is not None
        rows = {path: len(as_matrix(k, outputs.get(path, LAST))) for path, k in kernels.items()}
        return {
            path: f"{path}: keeps all: an output has {count}, too few for {self.pattern}"
            for path, count in rows.items()
            if count < int(match[2] or 0)
        }

    def _living(
        self,
        now: State,
        kernels: Mapping[str, np.ndarray],
        outputs: Mapping[str, Axes],
        step: int,
    ) -> dict[str, np.ndarray]:
        """Return masks in which no weight leads to a channel that nothing reads, as long as there
        are others to keep instead."""
        channels = channel_map(now.model)
        gone: frozenset[int] = frozenset()
        while True:
            masks = {**now.masks, **self._masks(kernels, outputs, now.masks, step)}
            more = unread(now.model, channels, masks) - gone
            if not more:
                return masks
            gone |= more
            kernels = {
                path: np.where(parts_of(channels.axes.get(path, ()), more), 0.0, k)
                for path, k in kernels.items()
            }

    def _masks(
        self,
        kernels: Mapping[str, np.ndarray],
        outputs: Mapping[str, Axes],
        before: Mapping[str, np.ndarray],
        step: int,
    ) -> dict[str, np.ndarray]:
        """Return masks that zero what is to be zero after ``step``; what was zero stays so."""
        match = _PATTERN.fullmatch(self.pattern)
        assert match is not None
        axes = {path: outputs.get(path, LAST) for path in kernels}
        gone = -1.0 if match[1] else 0.0  # of an N:M pattern none of the N
        sizes = {
            path: as_matrix(np.where(before.get(path, True), np.abs(kernel), gone), axes[path])
            for path, kernel in kernels.items()
        }
        if match[1]:
            kept, of = int(match[1]), int(match[2])
            left = kept + (of - kept) * (self.steps - step) // self.steps
            masks = {path: n_of_m(size, left, of) for path, size in sizes.items()}
        else:
            share = self.sparsity * share_after(step, self.steps)
            block = (int(match[3]), int(match[4])) if match[3] else (1, 1)
            layers = [[path] for path in sizes] if self.scope == "layer" else [list(sizes)]
            masks = {}
            for paths in layers:
                found = largest([sizes[path] for path in paths], share, block)
                masks.update(zip(paths, found, strict=True))
        return {
            path: from_matrix(mask, kernels[path].shape, axes[path]) & before.get(path, True)
            for path, mask in masks.items()
        }


def sparse_kernels(model: Any) -> list[Any]:
    """Return the trainable variables that have weights to zero: kernels, no biases or scales."""
    return [
        v
        for v in model.trainable_variables
        if len(v.shape) >= 2 and v.name.rpartition("_")[2] not in _SIDES
    ]


def output_axes(model: Any) -> dict[str, Axes]:
    """Return the axes of a kernel's outputs, by its path, where these are not the last one alone.
    Over the others runs the sum of an output."""
    found: dict[str, Axes] = {}
    for layer in model._flatten_layers(include_self=False):
        kind = type(layer).__name__
        if kind in ("DepthwiseConv1D", "DepthwiseConv2D"):
            found[layer.kernel.path] = (-2, -1)
        elif kind in ("SeparableConv1D", "SeparableConv2D"):
            found[layer.depthwise_kernel.path] = (-2, -1)
        elif kind in ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"):
            found[layer.kernel.path] = (-2,)
        elif kind == "EinsumDense":
            inputs, output = layer.equation.replace(" ", "").split("->")
            letters = inputs.split(",")[1]
            places = (i - len(letters) for i, letter in enumerate(letters) if letter in output)
            found[layer.kernel.path] = tuple(places)
    return found


def as_matrix(kernel: np.ndarray, outputs: Axes) -> np.ndarray:
    """Return a kernel, whose axes ``outputs`` are negative and ascending, as (inputs, outputs);
    inputs in the order of im2col."""
    moved = np.moveaxis(kernel, outputs, range(-len(outputs), 0))
    return moved.reshape(-1, math.prod(kernel.shape[axis] for axis in outputs))


def from_matrix(matrix: np.ndarray, shape: tuple[int, ...], outputs: Axes) -> np.ndarray:
    """Return the kernel of which ``as_matrix`` made ``matrix``."""
    inputs = [axis for axis in range(-len(shape), 0) if axis not in outputs]
    moved = [shape[axis] for axis in (*inputs, *outputs)]
    return np.moveaxis(matrix.reshape(moved), range(-len(outputs), 0), outputs)


def masked(state: State, masks: Mapping[str, np.ndarray]) -> State:
    """Return ``state`` with ``masks``, and zeros where they are False; a masked weight leaves its
    cluster."""
    model = clone(state.model)
    for variable in model.weights:
        if variable.path in masks:
            variable.assign(np.where(masks[variable.path], np.asarray(variable), 0.0))
    clusters = {
        path: np.where(masks[path], numbers, -1) if path in masks else numbers
        for path, numbers in state.clusters.items()
    }
    return State(model, masks, clusters)


def silenced(state: State) -> State:
    """Return ``state`` with zeros for the biases of channels that nothing reads."""
    channels = channel_map(state.model)
    gone = unread(state.model, channels, state.masks)
    model = clone(state.model)
    for variable in model.trainable_variables:
        if variable.name == "bias" and variable.path in channels.axes:
            silent = parts_of(channels.axes[variable.path], gone)
            variable.assign(np.where(silent, 0.0, np.asarray(variable)))
    return state.replace(model=model)


def n_of_m(size: np.ndarray, kept: int, of: int) -> np.ndarray:
    """Return the mask of the ``kept`` largest of each ``of`` consecutive inputs of each output.

    ``size`` is (inputs, outputs). A rest that is shorter than ``of`` keeps all.
    """
    whole = len(size) // of * of
    groups = size[:whole].reshape(-1, of, size.shape[1])
    order = np.argsort(np.argsort(-groups, axis=1, kind="stable"), axis=1, kind="stable")
    mask = np.ones_like(size, bool)
    mask[:whole] = (order < kept).reshape(whole, -1)
    return mask


def largest(
    sizes: Sequence[np.ndarray], share: float, block: tuple[int, int] = (1, 1)
) -> list[np.ndarray]:
    """Return masks of (inputs, outputs) without the smallest ``share`` of all weights; of equal
    ones the first go. A ``block`` goes as a whole, also the one at the end of the share."""
    if block != (1, 1):
        sizes = [block_sizes(size, *block) for size in sizes]
    blocks, first = [], 0
    for size in sizes:
        blocks.append(first + _block_numbers(size.shape, *block).ravel())
        first += size.size
    every, numbers = np.concatenate([size.ravel() for size in sizes]), np.concatenate(blocks)
    count = round(len(every) * share)
    if not count:
        return [np.ones(size.shape, bool) for size in sizes]
    limit = np.partition(every, count - 1)[count - 1]
    tied = every == limit
    last = np.sort(numbers[tied])[count - np.count_nonzero(every < limit) - 1]
    kept = (every > limit) | (tied & (numbers > last))
    parts = np.split(kept, np.cumsum([size.size for size in sizes])[:-1])
    return [part.reshape(size.shape) for part, size in zip(parts, sizes, strict=True)]


def _block_numbers(shape: tuple[int, ...], inputs: int, outputs: int) -> np.ndarray:
    """Return the number of the block that each weight is in."""
    rows, columns = (np.arange(n) // step for n, step in zip(shape, (inputs, outputs), strict=True))
    numbers: np.ndarray = rows[:, np.newaxis] * shape[1] + columns
    return numbers


def block_sizes(size: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """Return for each weight of (inputs, outputs) the mean size of its block."""
    result = np.empty_like(size)
    for i in range(0, size.shape[0], inputs):
        for o in range(0, size.shape[1], outputs):
            result[i : i + inputs, o : o + outputs] = size[i : i + inputs, o : o + outputs].mean()
    return result
