"""Unstructured, N:M and block sparsity: weights that become zero and stay zero."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.gradual import epochs_after, share_after
from edgebuild.compress.training import clone, fine_tune
from edgebuild.errors import InputError

_PATTERN = re.compile(r"unstructured|(\d+):(\d+)|block(\d+)x(\d+)")
SCOPES = ("global", "layer")


@dataclass(frozen=True)
class Sparsify:
    """Set the smallest weights to zero, fine-tune the others.

    Args:
        sparsity: the share of weights that become zero; an N:M pattern has its own.
        pattern: ``unstructured``; ``2:4`` keeps the two largest of four inputs in a row, likewise
            for other numbers; ``block4x2`` zeroes blocks of 4 inputs by 2 outputs.
        scope: ``global`` compares weights of all layers, ``layer`` gives each the same share.
        steps: zero in so many steps, most at first (Zhu and Gupta 2017), with fine-tuning after
            each.
        epochs: of fine-tuning after the last step; each step before has a share of it, at least
            one.
    """

    name: ClassVar[str] = "sparsify"

    sparsity: float = 0.8
    pattern: str = "unstructured"
    scope: str = "global"
    steps: int = 4
    epochs: int = 5

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        match = _PATTERN.fullmatch(self.pattern)
        if match is None:
            raise InputError(
                f"sparsify: unknown pattern '{self.pattern}'", hint="unstructured, 2:4 or block4x2"
            )
        if match[1] and not 0 < int(match[1]) < int(match[2]):
            raise InputError(f"sparsify: pattern {self.pattern} keeps all weights, or none")
        if match[3] and (int(match[3]) < 1 or int(match[4]) < 1):
            raise InputError(f"sparsify: pattern {self.pattern} has empty blocks")
        if not 0.0 <= self.sparsity < 1.0:
            raise InputError(f"sparsify: sparsity {self.sparsity:g} is not at least 0 and below 1")
        if self.scope not in SCOPES:
            raise InputError(f"sparsify: scope is {' or '.join(SCOPES)}")
        if self.steps < 1 or self.epochs < 0:
            raise InputError("sparsify: steps is at least 1, epochs at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the sparse model with its masks, and the share of zeros of each layer."""
        now = state
        for step in range(1, self.steps + 1):
            share = share_after(step, self.steps)
            kernels = {v.path: np.asarray(v) for v in sparse_kernels(now.model)}
            if not kernels:
                return state, ("no layer has weights to zero",)
            masks = self._masks(kernels, now.masks, self.sparsity * share)
            now = masked(now, {**now.masks, **masks})
            now = fine_tune(now, context, epochs=epochs_after(step, self.steps, self.epochs))
        notes = [
            f"{path}: {1 - now.masks[path].mean():.1%} of {now.masks[path].size:,} are zero"
            for path in masks
        ]
        return now, tuple(notes)

    def _masks(
        self, kernels: Mapping[str, np.ndarray], before: Mapping[str, np.ndarray], share: float
    ) -> dict[str, np.ndarray]:
        """Return masks that zero ``share`` of the weights; what was zero stays so."""
        sizes = {
            path: np.where(before.get(path, True), np.abs(kernel), 0.0)
            for path, kernel in kernels.items()
        }
        match = _PATTERN.fullmatch(self.pattern)
        assert match is not None
        if match[1]:
            kept, of = int(match[1]), int(match[2])
            return {path: n_of_m(size, kept, of) for path, size in sizes.items()}
        if match[3]:
            block = int(match[3]), int(match[4])
            sizes = {path: block_sizes(size, *block) for path, size in sizes.items()}
        if self.scope == "layer":
            return {path: size > _threshold(size.ravel(), share) for path, size in sizes.items()}
        every = np.concatenate([size.ravel() for size in sizes.values()])
        limit = _threshold(every, share)
        return {path: size > limit for path, size in sizes.items()}


def sparse_kernels(model: Any) -> list[Any]:
    """Return the trainable variables that have weights to zero: kernels, no biases or scales."""
    return [v for v in model.trainable_variables if len(v.shape) >= 2]


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


def n_of_m(size: np.ndarray, kept: int, of: int) -> np.ndarray:
    """Return the mask of the ``kept`` largest of each ``of`` consecutive inputs of each output.

    Inputs are all axes but the last, in the order of im2col. A rest that is shorter than ``of``
    keeps all.
    """
    rows = size.reshape(-1, size.shape[-1])
    whole = len(rows) // of * of
    groups = rows[:whole].reshape(-1, of, rows.shape[1])
    order = np.argsort(np.argsort(-groups, axis=1, kind="stable"), axis=1, kind="stable")
    mask = np.ones_like(rows, bool)
    mask[:whole] = (order < kept).reshape(whole, -1)
    return mask.reshape(size.shape)


def block_sizes(size: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """Return for each weight the mean size of its block of ``inputs`` by ``outputs``."""
    rows = size.reshape(-1, size.shape[-1])
    result = np.empty_like(rows)
    for i in range(0, rows.shape[0], inputs):
        for o in range(0, rows.shape[1], outputs):
            result[i : i + inputs, o : o + outputs] = rows[i : i + inputs, o : o + outputs].mean()
    return result.reshape(size.shape)


def _threshold(size: np.ndarray, share: float) -> float:
    """Return the size up to which ``share`` of the weights lie; -1 for none."""
    count = round(len(size) * share)
    return float(np.partition(size, count - 1)[count - 1]) if count else -1.0
