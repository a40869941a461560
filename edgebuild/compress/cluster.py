"""Weight sharing: each layer's weights take few values, so that an index can stand for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.sparsify import (
    LAST,
    Axes,
    as_matrix,
    from_matrix,
    output_axes,
    sparse_kernels,
)
from edgebuild.compress.training import clone, fine_tune
from edgebuild.errors import InputError

_MAX_BITS = 8
_ROUNDS = 50
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Cluster:
    """Share weights by k-means, then fine-tune the shared values (Han et al. 2016).

    Zeros stay zero and take no cluster.

    Args:
        bits: of an index, so 2**bits values; 0 chooses for each layer the fewest that meet
            ``tolerance``.
        tolerance: for ``bits`` 0, the relative root-mean-square error of a layer's weights.
        groups: clusters of their own for so many groups of output channels.
        epochs: of fine-tuning.
    """

    name: ClassVar[str] = "cluster"

    bits: int = 4
    tolerance: float = _TOLERANCE
    groups: int = 1
    epochs: int = 3

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if not 0 <= self.bits <= _MAX_BITS:
            raise InputError(f"cluster: bits {self.bits} is not 0 to {_MAX_BITS}")
        if self.groups < 1 or self.epochs < 0 or self.tolerance <= 0:
            raise InputError("cluster: groups is at least 1, epochs at least 0, tolerance above 0")
        if self.bits and self.tolerance != _TOLERANCE:
            raise InputError(
                f"cluster: tolerance chooses the bits, not bits={self.bits}",
                hint="add bits=0, or leave out tolerance",
            )

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the model with shared weights, and how many values each layer has."""
        model = clone(state.model)
        clusters, masks, notes = dict(state.clusters), dict(state.masks), []
        outputs = output_axes(model)
        for variable in sparse_kernels(model):
            weights = np.asarray(variable)
            numbers, values = self._share(weights, outputs.get(variable.path, LAST))
            variable.assign(values)
            clusters[variable.path] = numbers
            if np.any(weights == 0):
                masks[variable.path] = weights != 0
            notes.append(
                f"{variable.path}: {int(numbers.max()) + 1} values{self._missed(weights, values)}"
            )
        if not notes:
            return state, ("no layer has weights that can share values",)
        tuned = fine_tune(State(model, masks, clusters), context, epochs=self.epochs, near=True)
        return snapped(tuned), tuple(notes)

    def _missed(self, weights: np.ndarray, values: np.ndarray) -> str:
        """Return what is to be said of a tolerance that 8 bits do not meet."""
        error, size = (float(np.sqrt(np.mean(a**2))) for a in (values - weights, weights))
        if self.bits or error <= self.tolerance * size:
            return ""
        return f", the most; an error of {error / size:.2g} misses tolerance={self.tolerance:g}"

    def _share(self, weights: np.ndarray, outputs: Axes) -> tuple[np.ndarray, np.ndarray]:
        """Return each weight's cluster and its shared value; ``outputs`` are the axes of outputs,
        which are what is divided into groups."""
        numbers = np.full(weights.shape, -1, np.int32)
        values = weights.copy()
        shape = as_matrix(weights, outputs).shape
        columns = np.broadcast_to(np.arange(shape[1]), shape)
        output = from_matrix(columns, weights.shape, outputs)
        first = 0
        for part in np.array_split(columns[0], self.groups):
            chosen = np.isin(output, part) & (weights != 0)
            if not chosen.any():
                continue
            found, centroids = self._fit(weights[chosen])
            numbers[chosen] = found + first
            values[chosen] = centroids[found]
            first += len(centroids)
        return numbers, values

    def _fit(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.bits:
            return kmeans(weights, 2**self.bits)
        limit = self.tolerance * float(np.sqrt(np.mean(weights**2)))
        for bits in range(1, _MAX_BITS + 1):
            found, centroids = kmeans(weights, 2**bits)
            if np.sqrt(np.mean((centroids[found] - weights) ** 2)) <= limit:
                break
        return found, centroids


def kmeans(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of ``values`` (n,) its cluster, and the clusters' means, ascending.

    Lloyd's algorithm from evenly spaced centroids, which keeps the rare large weights (Han et al.
    2016). Clusters that end up empty are left out.
    """
    centroids = np.linspace(values.min(), values.max(), count)
    for _ in range(_ROUNDS):
        numbers = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        sizes = np.bincount(numbers, minlength=len(centroids))
        sums = np.bincount(numbers, weights=values, minlength=len(centroids))
        used = sizes > 0
        moved = sums[used] / sizes[used]
        if len(moved) == len(centroids) and np.allclose(moved, centroids, rtol=0, atol=1e-7):
            break
        centroids = moved
    numbers = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
    return numbers.astype(np.int32), centroids.astype(np.float32)


def snapped(state: State) -> State:
    """Return ``state`` with the weights of each cluster exactly equal: training rounds."""
    model = clone(state.model)
    for variable in model.weights:
        numbers = state.clusters.get(variable.path)
        if numbers is None or not np.any(numbers >= 0):
            continue
        weights = np.asarray(variable).copy()
        shared = numbers >= 0
        sizes = np.maximum(np.bincount(numbers[shared]), 1)
        means = np.bincount(numbers[shared], weights=weights[shared]) / sizes
        weights[shared] = means[numbers[shared]]
        variable.assign(weights)
    return state.replace(model=model)
