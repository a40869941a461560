"""Learned sparsity: hard-concrete gates on channels (Louizos, Welling and Kingma 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import ChannelMap, channel_map
from edgebuild.compress.costs import nodes
from edgebuild.compress.groups import Group, groups_of
from edgebuild.compress.measures import Costs
from edgebuild.compress.rebuild import copy_layer, copy_weights, rebuild
from edgebuild.compress.surgery import remove_channels
from edgebuild.compress.training import clone, fine_tune
from edgebuild.errors import InputError, nearest

BETA, GAMMA, ZETA = 2.0 / 3.0, -0.1, 1.1
"""The paper's temperature and the ends to which the concrete distribution is stretched."""

MEASURES = ("parameters", "macs", "bytes", "channels")
_READERS = {"Conv1D", "Conv2D", "Dense", "SeparableConv1D", "SeparableConv2D"}
_UNGATED = "not only convolutions and dense layers mix its channels"
_WAY = 12.0
"""How far a gate's logarithm can go in training: from open to shut and half the way back."""
_OPEN = 0.95
"""How likely a gate is not zero at the beginning."""


@dataclass(frozen=True)
class L0:
    """Learn which channels are needed: each has a gate, and the expected cost of the gates that
    are open is a part of the loss. Channels whose gate ends shut are removed.

    Args:
        strength: weight of the expected share of the cost in the loss.
        by: what a channel costs: its share of the model's ``parameters``, ``macs``, ``bytes`` of
            int8 weights, or of the ``channels``.
        epochs: of training with gates.
        finetune: epochs of fine-tuning after the removal.
        multiple: as for prune.
    """

    name: ClassVar[str] = "l0"

    strength: float = 0.3
    by: str = "parameters"
    epochs: int = 20
    finetune: int = 5
    multiple: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if self.strength <= 0.0:
            raise InputError(f"l0: strength {self.strength:g} is not above 0")
        if self.by not in MEASURES:
            raise InputError(f"l0: unknown measure '{self.by}'{nearest(self.by, MEASURES)}")
        if self.epochs < 0 or self.finetune < 0 or self.multiple < 0:
            raise InputError("l0: epochs, finetune and multiple are at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Train with gates, remove what is shut, fine-tune; say what each layer lost."""
        channels = channel_map(state.model)
        every = groups_of(channels)
        groups = [g for g in every if _gateable(g, state.model, channels)]
        without = tuple(f"{g.layers[0]} has no gates: {_UNGATED}" for g in every if g not in groups)
        if not groups:
            return state, (*without, "no layer has channels that gates could remove")
        if not self.epochs:
            tuned = fine_tune(state, context, epochs=self.finetune)
            return tuned, (*without, "epochs=0 trains no gates, so all channels stay")
        numbers = {c: i for i, c in enumerate(c for g in groups for c in g.channels)}
        costs = self._channel_costs(state, channels, groups)
        gated = _with_gates(state, channels, numbers, costs * self.strength, self._gain(context))
        trained = fine_tune(
            gated, context, epochs=self.epochs, regularize=lambda m: m.get_layer(_GATES).penalty()
        )
        gates = trained.model.get_layer(_GATES)
        opened = _without_gates(state, trained.model, channels, numbers, gates.values())
        removed = self._shut(groups, numbers, gates.values(), gates.chances(), context)
        smaller = remove_channels(opened, channels, removed)
        sizes = {name: len(ids) for name, ids in channel_map(smaller.model).outputs.items()}
        lost = tuple(
            f"{name}: {len(ids)} to {sizes[name]} channels"
            for name, ids in channels.outputs.items()
            if sizes[name] < len(ids)
        )
        notes = lost or ("every gate stayed open: a larger strength closes more",)
        return fine_tune(smaller, context, epochs=self.finetune), (*without, *notes)

    def _gain(self, context: Context) -> float:
        """Return by how much faster than weights gates learn, so that they can open and shut in
        the time that there is: an Adam step moves a weight by about the learning rate."""
        samples = len(context.train)
        steps = self.epochs * max(1, samples // context.setup.batch(samples))
        way = steps * context.setup.learning_rate / 2.0  # the mean of the cosine decay
        return max(1.0, _WAY / way)

    def _channel_costs(self, state: State, channels: ChannelMap, groups: list[Group]) -> np.ndarray:
        """Return the share of the cost that each channel causes."""
        if self.by == "channels":
            total = sum(group.count for group in groups)
            return np.full(total, 1.0 / total)
        costs = Costs(state.model, channels, groups)
        whole = costs.of(self.by, np.zeros(len(groups)))
        shares = []
        for i, group in enumerate(groups):
            one = np.zeros(len(groups))
            one[i] = 1
            shares += [1.0 - costs.of(self.by, one) / whole] * group.count
        return np.array(shares)

    def _shut(
        self,
        groups: list[Group],
        numbers: Mapping[int, int],
        values: np.ndarray,
        chances: np.ndarray,
        context: Context,
    ) -> frozenset[int]:
        """Return the channels to remove: shut, and a multiple of each group stays."""
        multiple = self.multiple or (4 if context.features.dsp else 1)
        gone: list[int] = []
        for group in groups:
            shut = [c for c in group.channels if values[numbers[c]] == 0.0]
            shut.sort(key=lambda c: chances[numbers[c]])
            gone += shut[: group.removable(len(shut), multiple)]
        return frozenset(gone)


_GATES = "l0_gates"


@cache
def _gates_class() -> Any:
    """Return the Keras layer of gates; Keras is imported when it is first needed."""
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("edgebuild")
    class HardConcreteGates(keras.layers.Layer):
        """Multiplies the last axis with gates; one layer holds those of the whole model.

        ``costs`` are what each gate adds to the loss when it is open for sure.
        """

        def __init__(self, costs: list[float], gain: float, seed: int, **options: Any) -> None:
            super().__init__(**options)
            self.costs, self.gain, self.seed = list(costs), gain, seed
            self.generator = keras.random.SeedGenerator(seed)

        def build(self, *_: Any) -> None:
            start = np.log(_OPEN / (1 - _OPEN)) + BETA * np.log(-GAMMA / ZETA)
            self.learned = self.add_weight(
                shape=(len(self.costs),),
                initializer=keras.initializers.Constant(float(start) / self.gain),
                name="log_alpha",
            )

        @property
        def log_alpha(self) -> Any:
            return self.learned.value * self.gain

        def call(self, inputs: Any, positions: Any = (), training: bool = False) -> Any:
            """Multiply with the gate at each position of the last axis; -1 is no gate."""
            gates = self._sample() if training else self._settled()
            places = np.asarray(positions)
            chosen = tf.gather(gates, np.where(places < 0, 0, places))
            return inputs * tf.where(places < 0, 1.0, chosen)

        def penalty(self) -> Any:
            """Return the expected cost of the open gates."""
            shift = float(BETA * np.log(-GAMMA / ZETA))
            costs = tf.constant(self.costs, tf.float32)
            return tf.reduce_sum(tf.sigmoid(self.log_alpha - shift) * costs)

        def values(self) -> np.ndarray:
            """Return the gates as they are without noise."""
            return np.asarray(self._settled())

        def chances(self) -> np.ndarray:
            """Return how open each gate is, also below zero and above one."""
            return np.asarray(self.log_alpha)

        def get_config(self) -> dict[str, Any]:
            own = {"costs": self.costs, "gain": self.gain, "seed": self.seed}
            return {**super().get_config(), **own}

        def _sample(self) -> Any:
            noise = keras.random.uniform((len(self.costs),), 1e-6, 1 - 1e-6, seed=self.generator)
            logit = tf.math.log(noise) - tf.math.log(1.0 - noise)
            return _stretched(tf.sigmoid((logit + self.log_alpha) / BETA))

        def _settled(self) -> Any:
            return _stretched(tf.sigmoid(self.log_alpha))

    def _stretched(value: Any) -> Any:
        return tf.clip_by_value(value * (ZETA - GAMMA) + GAMMA, 0.0, 1.0)

    return HardConcreteGates


def _gateable(group: Group, model: Any, channels: ChannelMap) -> bool:
    """Return whether all that mixes a group's channels is a layer whose input can have gates.

    What works on each channel alone (depthwise, normalization) needs none.
    """
    mine = set(group.channels)
    for layer in model.layers:
        kind = type(layer).__name__
        for variable in layer.weights:
            axes = [ids for ids in channels.axes.get(variable.path, ()) if ids is not None]
            touches = any(mine.intersection(ids.tolist()) for ids in axes)
            if touches and len(axes) > 1 and kind not in _READERS:
                return False
            if touches and kind not in _READERS and layer.name in channels.outputs:
                return False
    return True


def _with_gates(
    state: State,
    channels: ChannelMap,
    numbers: Mapping[int, int],
    costs: np.ndarray,
    gain: float,
) -> State:
    """Return the model with gates before every layer that mixes gated channels."""
    gates = _gates_class()([float(c) for c in costs], gain, seed=len(costs), name=_GATES)

    def make(layer: Any) -> Any:
        copy = copy_layer(layer)
        positions = _positions(layer, channels, numbers)
        if positions is None:
            return copy
        return _Gated(copy, gates, positions * getattr(layer, "groups", 1))

    model, pairs = rebuild(state.model, make)
    copy_weights((old, getattr(new, "layer", new)) for old, new in pairs)
    return state.replace(model=model)


class _Gated:
    """A layer that reads its input through gates."""

    def __init__(self, layer: Any, gates: Any, positions: list[int]) -> None:
        self.layer, self._gates, self._positions = layer, gates, positions
        self.name = layer.name

    def __call__(self, value: Any) -> Any:
        return self.layer(self._gates(value, positions=self._positions))


def _positions(layer: Any, channels: ChannelMap, numbers: Mapping[int, int]) -> list[int] | None:
    """Return for each input of a layer that mixes channels (of a grouped convolution: of each
    group) its gate, -1 for none; None when the layer reads no gated channel."""
    if type(layer).__name__ not in _READERS:
        return None
    given = _inputs(_reading_kernel(layer), channels)
    if given is None:
        return None
    found = [numbers.get(int(channel), -1) for channel in given]
    return found if max(found) >= 0 else None


def _reading_kernel(layer: Any) -> Any:
    kernel = getattr(layer, "depthwise_kernel", None)  # a variable has no truth value
    return kernel if kernel is not None else getattr(layer, "kernel", None)


def _inputs(kernel: Any, channels: ChannelMap) -> np.ndarray | None:
    axes = channels.axes.get(kernel.path)
    return None if axes is None or len(axes) < 2 else axes[-2]


def _without_gates(
    state: State,
    trained: Any,
    channels: ChannelMap,
    numbers: Mapping[int, int],
    values: np.ndarray,
) -> State:
    """Return the model without gates, their values in the kernels that read through them."""
    learned = {variable.path: np.asarray(variable) for variable in trained.weights}
    model = clone(state.model)
    for variable in model.weights:
        variable.assign(learned[variable.path])
    for layer in {id(n.operation): n.operation for n in nodes(model)}.values():
        positions = _positions(layer, channels, numbers)
        if positions is None:
            continue
        kernel = _reading_kernel(layer)
        scale = np.where(np.array(positions) < 0, 1.0, values[np.maximum(positions, 0)])
        kernel.assign(np.asarray(kernel) * scale[:, None].astype(np.float32))
    return state.replace(model=model)
