"""Low-rank factors: one large layer becomes two or three small ones that compute nearly the same.

Dense layers and 1x1 convolutions by their singular values; other convolutions, in one dimension or
two, by a Tucker-2 decomposition (Kim et al. 2016: higher-order SVD, then orthogonal iteration) or
as a depthwise convolution and a 1x1 one (the best approximation of rank 1 or more for each input
channel).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import nodes
from edgebuild.compress.rebuild import copy_layer, copy_weights, rebuild, unused
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError, nearest

FORMS = ("auto", "svd", "tucker", "separable")
_ITERATIONS = 8
_WORTH = 0.95
"""Of MACs or of parameters: what saves less is left alone."""


@dataclass(frozen=True)
class LowRank:
    """Replace layers by factors of low rank where that saves.

    Args:
        energy: the share of a kernel's sum of squares that the factors keep, 0 to 1.
        form: ``svd`` for dense layers and 1x1 convolutions, ``tucker`` or ``separable`` for other
            convolutions; ``auto`` takes for each layer what keeps ``energy`` with the fewest MACs.
        ratio: instead of ``energy``: the share of each layer's MACs that is to go; 0 is not used.
        epochs: of fine-tuning afterwards.
    """

    name: ClassVar[str] = "low_rank"

    energy: float = 0.95
    form: str = "auto"
    ratio: float = 0.0
    epochs: int = 5

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if not 0.0 < self.energy <= 1.0:
            raise InputError(f"low_rank: energy {self.energy:g} must be above 0 and at most 1")
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"low_rank: ratio {self.ratio:g} must be at least 0 and below 1")
        if self.form not in FORMS:
            raise InputError(f"low_rank: unknown form '{self.form}'{nearest(self.form, FORMS)}")
        if self.epochs < 0:
            raise InputError("low_rank: epochs is at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Factor what can be, fine-tune, and say for each layer what became of it."""
        chosen: dict[int, Factors] = {}
        notes = []
        for layer in _factorable(state.model):
            factors = self._choose(layer)
            if factors is not None:
                chosen[id(layer)] = factors
                notes.append(f"{layer.name}: {factors}")
        if not chosen:
            return state, ("factorizing makes no layer smaller",)
        after = replaced(state, chosen)
        lost = len(state.masks) - len(after.masks)
        if lost:
            notes.append(f"masks of {lost} kernels went with their layers")
        return fine_tune(after, context, epochs=self.epochs), tuple(notes)

    def _choose(self, layer: Any) -> Factors | None:
        """Return the cheapest factors that keep enough, None when none saves."""
        options = []
        for factors in factorizations(layer, self.form):
            kept = (
                factors.with_macs(1.0 - self.ratio) if self.ratio else factors.keeping(self.energy)
            )
            if kept is not None and kept.saves():
                options.append(kept)
        return min(options, key=lambda f: (f.macs, f.parameters), default=None)


@dataclass(frozen=True, eq=False)
class Factors:
    """One way to write a kernel as factors of given ``ranks``.

    ``kernel`` is (kh, kw, in, out); kh is 1 in one dimension. ``macs`` counts a position of the
    output, ``stride`` positions of the input for each.
    """

    layer: Any
    kernel: np.ndarray
    ranks: tuple[int, ...]
    stride: int = 1

    form: ClassVar[str] = ""

    def __str__(self) -> str:
        return (
            f"{self.form} of rank {' x '.join(map(str, self.ranks))}, "
            f"{self.parameters:,} of {self.kernel.size:,} weights"
        )

    @property
    def full(self) -> tuple[int, ...]:
        """The ranks with which nothing is lost."""
        raise NotImplementedError

    @property
    def parameters(self) -> int:
        """Weights of all factors."""
        raise NotImplementedError

    @property
    def macs(self) -> int:
        """MACs for each position of the output."""
        raise NotImplementedError

    def energies(self) -> tuple[np.ndarray, ...]:
        """Return for each rank the shares of the sum of squares, the largest first."""
        raise NotImplementedError

    def layers(self) -> list[tuple[Any, list[np.ndarray]]]:
        """Return the new Keras layers in order, with their weights; kernels also in two dimensions
        where the layer has one."""
        raise NotImplementedError

    def of(self, ranks: Sequence[int]) -> Factors:
        """Return the same form with other ranks."""
        return type(self)(self.layer, self.kernel, tuple(ranks), self.stride)

    def keeping(self, energy: float) -> Factors:
        """Return the lowest ranks that keep ``energy``: where there are several, each loses as
        much."""
        shares = self.energies()
        each = 1.0 - (1.0 - energy) / len(shares)
        return self.of([_rank(share, each) for share in shares])

    def with_macs(self, share: float) -> Factors | None:
        """Return the highest ranks whose MACs are at most ``share`` of the kernel's."""
        best = None
        for energy in np.linspace(0.02, 0.999, 99):
            found = self.keeping(float(energy))
            if found.macs <= share * self.kernel.size:
                best = found
        return best

    def saves(self) -> bool:
        """Return whether neither MACs nor parameters grow, and one gets clearly smaller."""
        whole = self.kernel.size
        better = min(self.macs, self.parameters) <= _WORTH * whole
        return better and max(self.macs, self.parameters) <= whole


class Svd(Factors):
    """A matrix (in, out) as (in, rank) times (rank, out)."""

    form = "svd"

    @property
    def full(self) -> tuple[int, ...]:
        """The smaller side."""
        return (min(self.kernel.shape[-2:]),)

    @property
    def parameters(self) -> int:
        """Of both factors."""
        return self.ranks[0] * sum(self.kernel.shape[-2:])

    @property
    def macs(self) -> int:
        """As many as there are weights; the first factor may see more positions."""
        inputs, outputs = self.kernel.shape[-2:]
        return self.ranks[0] * (inputs + outputs)

    def energies(self) -> tuple[np.ndarray, ...]:
        """Of the singular values."""
        return (_shares(np.linalg.svd(self._matrix(), compute_uv=False)),)

    def layers(self) -> list[tuple[Any, list[np.ndarray]]]:
        """Return two of the layer's own kind."""
        u, s, v = np.linalg.svd(self._matrix(), full_matrices=False)
        rank, root = self.ranks[0], np.sqrt(s[: self.ranks[0]])
        first, second = u[:, :rank] * root, root[:, None] * v[:rank]
        key = "units" if "units" in self.layer.get_config() else "filters"
        lead = self.layer.kernel.shape[:-2]
        linear = {key: rank, "use_bias": False, "activation": "linear"}
        # A stride leaves positions out: that is for the first, which then does less.
        last = {} if key == "units" else {"strides": 1}
        return [
            (_like(self.layer, "in", **linear), [first.reshape(*lead, *first.shape)]),
            (
                _like(self.layer, "out", **last),
                [second.reshape(*lead, *second.shape), *_bias(self)],
            ),
        ]

    def _matrix(self) -> np.ndarray:
        return self.kernel.reshape(self.kernel.shape[-2:])


class Tucker(Factors):
    """A convolution as 1x1, k x k and 1x1."""

    form = "tucker"

    @property
    def full(self) -> tuple[int, ...]:
        """Inputs and outputs."""
        return tuple(self.kernel.shape[-2:])

    @property
    def parameters(self) -> int:
        """Of the factors that are there: of full rank there is none."""
        return self._count(1)

    @property
    def macs(self) -> int:
        """The first factor sees ``stride`` positions for each of the output."""
        return self._count(self.stride)

    def energies(self) -> tuple[np.ndarray, ...]:
        """Of the singular values of the kernel, unfolded by inputs and by outputs."""
        return tuple(
            _shares(np.linalg.svd(_unfolded(self.kernel, axis), compute_uv=False))
            for axis in (2, 3)
        )

    def layers(self) -> list[tuple[Any, list[np.ndarray]]]:
        """Return 1x1 convolution, core, 1x1 convolution; those of full rank are left out."""
        inputs, outputs = self._bases()
        core = _core(self.kernel, inputs, outputs)
        has_in, has_out = self._factors()
        made = []
        if has_in:
            convolution = type(self.layer)
            first = convolution(self.ranks[0], 1, use_bias=False, name=f"{self.layer.name}_in")
            made.append((first, [inputs[None, None]]))
        elif self.ranks[0] == self.kernel.shape[2]:
            core = np.einsum("hwrs,ir->hwis", core, inputs)
        if not has_out:
            core = np.einsum("hwrs,os->hwro", core, outputs)
            made.append((_like(self.layer, "core"), [core, *_bias(self)]))
            return made
        linear = {"filters": self.ranks[1], "use_bias": False, "activation": "linear"}
        made.append((_like(self.layer, "core", **linear), [core]))
        last = {"kernel_size": 1, "strides": 1, "dilation_rate": 1}
        made.append((_like(self.layer, "out", **last), [outputs.T[None, None], *_bias(self)]))
        return made

    def _factors(self) -> tuple[bool, bool]:
        return self.ranks[0] < self.kernel.shape[2], self.ranks[1] < self.kernel.shape[3]

    def _count(self, stride: int) -> int:
        height, width, inputs, outputs = self.kernel.shape
        has_in, has_out = self._factors()
        core = height * width * self.ranks[0] * self.ranks[1]
        return (
            (stride * inputs * self.ranks[0] if has_in else 0)
            + core
            + (self.ranks[1] * outputs if has_out else 0)
        )

    def _bases(self) -> tuple[np.ndarray, np.ndarray]:
        """Return orthogonal bases (in, rank) and (out, rank): the best of one for the other, in
        turn."""
        inputs = _basis(_unfolded(self.kernel, 2), self.ranks[0])
        outputs = _basis(_unfolded(self.kernel, 3), self.ranks[1])
        for _ in range(_ITERATIONS):
            seen = np.einsum("hwio,os->hwis", self.kernel, outputs)
            inputs = _basis(_unfolded(seen, 2), self.ranks[0])
            seen = np.einsum("hwio,ir->hwro", self.kernel, inputs)
            outputs = _basis(_unfolded(seen, 3), self.ranks[1])
        return inputs, outputs


class Separable(Factors):
    """A convolution as a depthwise one, with ``rank`` outputs a channel, and a 1x1 one."""

    form = "separable"

    @property
    def full(self) -> tuple[int, ...]:
        """The smaller side of a channel's (kh kw, out) matrix."""
        height, width, _, outputs = self.kernel.shape
        return (min(height * width, outputs),)

    @property
    def parameters(self) -> int:
        """Of both convolutions."""
        height, width, inputs, outputs = self.kernel.shape
        return self.ranks[0] * inputs * (height * width + outputs)

    @property
    def macs(self) -> int:
        """Both are at the output's positions."""
        return self.parameters

    def energies(self) -> tuple[np.ndarray, ...]:
        """Of the singular values of all channels together, by their order in each."""
        _, s, _ = self._decomposed()
        squares = (s**2).sum(axis=0)
        return (squares / max(squares.sum(), np.finfo(np.float32).tiny),)

    def layers(self) -> list[tuple[Any, list[np.ndarray]]]:
        """Return the depthwise and the 1x1 convolution."""
        import keras

        height, width, inputs, _ = self.kernel.shape
        rank, config = self.ranks[0], self.layer.get_config()
        u, s, v = self._decomposed()
        root = np.sqrt(s[:, :rank])
        deep = (u[:, :, :rank] * root[:, None]).transpose(1, 0, 2)
        points = (root[:, :, None] * v[:, :rank]).reshape(inputs * rank, -1)
        flat = len(config["kernel_size"]) == 1
        kind = keras.layers.DepthwiseConv1D if flat else keras.layers.DepthwiseConv2D
        depthwise = kind(
            config["kernel_size"],
            strides=config["strides"],
            padding=config["padding"],
            dilation_rate=config["dilation_rate"],
            depth_multiplier=rank,
            use_bias=False,
            name=f"{self.layer.name}_in",
        )
        last = {"kernel_size": 1, "strides": 1, "dilation_rate": 1, "padding": "valid"}
        return [
            (depthwise, [deep.reshape(height, width, inputs, rank)]),
            (_like(self.layer, "out", **last), [points[None, None], *_bias(self)]),
        ]

    def _decomposed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width, inputs, outputs = self.kernel.shape
        slices = self.kernel.reshape(height * width, inputs, outputs).transpose(1, 0, 2)
        u, s, v = np.linalg.svd(slices, full_matrices=False)
        return u, s, v


def factorizations(layer: Any, form: str = "auto") -> Iterator[Factors]:
    """Yield the forms that a layer may take, of full rank."""
    kernel = np.asarray(layer.kernel, np.float64)
    dense = kernel.ndim == 2
    kernel = kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)
    if kernel.shape[:2] == (1, 1):
        kinds: tuple[type[Factors], ...] = (Svd,)
    else:
        config = layer.get_config()
        strides, dilation = config["strides"], config["dilation_rate"]
        # TensorFlow's depthwise convolution takes equal strides, and none with a dilation; Keras's
        # has no causal padding.
        plain = len(set(strides)) == 1 and (max(strides) == 1 or max(dilation) == 1)
        kinds = (Tucker, Separable) if plain and config["padding"] != "causal" else (Tucker,)
    for kind in kinds:
        if form in ("auto", kind.form):
            stride = 1 if dense else int(np.prod(layer.strides))
            whole = kind(layer, kernel, (1, 1), stride if kind is Tucker else 1)
            yield whole.of(whole.full)


def _factorable(model: Any) -> Iterator[Any]:
    """Yield each layer that has a form, once. Those that make an output have too few to lose."""
    seen = {id(tensor._keras_history.operation) for tensor in model.outputs}
    for node in nodes(model):
        layer = node.operation
        kind = type(layer).__name__
        if id(layer) in seen or kind not in ("Dense", "Conv1D", "Conv2D"):
            continue
        seen.add(id(layer))
        if kind == "Dense" or (layer.groups == 1 and layer.data_format == "channels_last"):
            yield layer


class _Chain:
    """Layers one after the other, called as one."""

    def __init__(self, name: str, layers: Sequence[Any]) -> None:
        self.name = name
        self.layers = layers

    def __call__(self, value: Any) -> Any:
        for layer in self.layers:
            value = layer(value)
        return value


def replaced(state: State, chosen: dict[int, Factors]) -> State:
    """Return the state with factors in place of the chosen layers, under names that nothing in the
    model has."""
    weights: list[tuple[Any, list[np.ndarray]]] = []
    names = {call.operation.name for call in nodes(state.model)}

    def make(layer: Any) -> Any:
        factors = chosen.get(id(layer))
        if factors is None:
            return copy_layer(layer)
        made = factors.layers()
        for new, _ in made:
            new.name = unused(new.name, names)
            names.add(new.name)
        weights.extend(made)
        return _Chain(layer.name, [new for new, _ in made])

    model, pairs = rebuild(state.model, make)
    copy_weights([(old, new) for old, new in pairs if id(old) not in chosen])
    for layer, arrays in weights:
        for variable, array in zip(layer.weights, arrays, strict=True):
            variable.assign(np.reshape(array, variable.shape).astype(np.float32))
    left = {variable.path for variable in model.weights}
    return State(
        model,
        {path: mask for path, mask in state.masks.items() if path in left},
        {path: numbers for path, numbers in state.clusters.items() if path in left},
    )


def _like(layer: Any, suffix: str, **changes: Any) -> Any:
    """Return a layer configured like ``layer`` but for ``changes``."""
    config = {**layer.get_config(), **changes, "name": f"{layer.name}_{suffix}"}
    return type(layer).from_config(config)


def _bias(factors: Factors) -> list[np.ndarray]:
    return [np.asarray(factors.layer.bias)] if factors.layer.use_bias else []


def _rank(shares: np.ndarray, energy: float) -> int:
    """Return how many of the largest shares make ``energy``."""
    reached = np.cumsum(shares) >= energy - 1e-9
    return int(np.argmax(reached)) + 1 if reached.any() else len(shares)


def _shares(singular: np.ndarray) -> np.ndarray:
    squares = np.square(singular)
    return np.asarray(squares / max(squares.sum(), np.finfo(np.float32).tiny))


def _unfolded(kernel: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1)


def _basis(matrix: np.ndarray, rank: int) -> np.ndarray:
    u, _, _ = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray(u[:, :rank])


def _core(kernel: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    return np.einsum("hwio,ir,os->hwrs", kernel, inputs, outputs)
