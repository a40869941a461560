"""Random models: surgery is exact, and pruning by each measure leaves a model that runs."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.compress.base import Context, State
from edgebuild.compress.blocks import removable_blocks
from edgebuild.compress.channels import channel_map
from edgebuild.compress.groups import groups_of, layer_ratios, prunable_groups
from edgebuild.compress.measures import COSTS, Costs
from edgebuild.compress.prune import MEASURES, Prune
from edgebuild.compress.quality import predict_all
from edgebuild.compress.scale import Scale
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.sparsify import sparse_kernels
from edgebuild.compress.splits import Split
from edgebuild.compress.surgery import bypass, remove_channels
from edgebuild.compress.unread import parts_of, unread
from edgebuild.targets import CpuFeatures

pytestmark = pytest.mark.keras

SEEDS = (0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (3, 4, 5)))
_SIDE = 6


class _Maker:
    """Makes a random functional model over feature maps of one size."""

    def __init__(self, keras, seed):
        self._layers, self._keras = keras.layers, keras
        self._rng = np.random.default_rng(seed)
        self._shared = [
            keras.layers.Conv2D(int(self._rng.integers(3, 9)), 3, padding="same"),
            keras.layers.DepthwiseConv2D(3, padding="same"),
        ]

    def model(self):
        keras, layers, rng = self._keras, self._layers, self._rng
        inputs = [keras.Input((_SIDE, _SIDE, c)) for c in rng.integers(1, 5, rng.integers(1, 3))]
        maps = [self._connect(t) for t in inputs]
        for _ in range(int(rng.integers(4, 10))):
            step = [self._connect, self._act, self._depthwise, self._grouped, self._residual]
            step += [self._concatenate, self._gate, self._share]
            maps.append(step[rng.integers(len(step))](maps[rng.integers(len(maps))], maps))
        outputs = []
        for x in (maps[-1], maps[rng.integers(len(maps))])[: rng.integers(1, 3)]:
            flat = (layers.GlobalAveragePooling2D, layers.Flatten)[rng.integers(2)]()(x)
            hidden = layers.Dense(int(rng.integers(3, 12)), activation="relu")(flat)
            outputs.append(layers.Dense(3)(hidden))
        model = keras.Model(inputs, outputs)
        model.set_weights([rng.normal(0.1, 0.5, w.shape) ** 2 if len(w.shape) == 1
                           else rng.normal(0.0, 0.3, w.shape) for w in model.weights])  # fmt: skip
        return model

    def _connect(self, x, _=None):
        filters = int(self._rng.integers(2, 10))
        return self._layers.Conv2D(filters, int(self._rng.choice([1, 3])), padding="same")(x)

    def _act(self, x, _):
        layers = self._layers
        x = layers.BatchNormalization()(x)
        return [layers.ReLU(), layers.Activation("sigmoid"), self._keras.ops.tanh][
            self._rng.integers(3)
        ](x)

    def _depthwise(self, x, _):
        multiplier = int(self._rng.integers(1, 3))
        return self._layers.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier)(x)

    def _grouped(self, x, _):
        groups = int(self._rng.integers(2, 5))
        x = self._layers.Conv2D(groups * int(self._rng.integers(1, 4)), 1)(x)
        filters = groups * int(self._rng.integers(1, 4))
        return self._layers.Conv2D(filters, 3, padding="same", groups=groups)(x)

    def _residual(self, x, maps):
        y = self._layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu")(x)
        same = [m for m in maps if m.shape[-1] == x.shape[-1]]
        return self._layers.Add()([y, same[self._rng.integers(len(same))]])

    def _concatenate(self, x, maps):
        return self._layers.Concatenate()([x, maps[self._rng.integers(len(maps))]])

    def _gate(self, x, _):
        gate = self._layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = self._layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(gate)
        return self._layers.Multiply()([x, gate])

    def _share(self, x, _):
        shared = self._shared[self._rng.integers(2)]
        known = shared.kernel.shape[-2] if shared.built else None
        if known is not None and known != x.shape[-1]:
            x = self._layers.Conv2D(known, 1)(x)
        return shared(x)


@pytest.fixture(params=SEEDS)
def model(request, keras):
    keras.utils.set_random_seed(request.param)
    return _Maker(keras, request.param).model()


def samples(model, count=4):
    rng = np.random.default_rng(1)
    return [rng.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.inputs]


def context_of(model, **changes):
    parts = [Split(tuple(samples(model, n)), None) for n in (40, 10)]
    return Context(*parts, model, TrainingSetup(batch_size=20), **changes)


def runs(model):
    return all(np.isfinite(a).all() for a in predict_all(model, samples(model)))


def left_unread(model, channels):
    """Return random channels of each group; weights that read them become zero."""
    rng = np.random.default_rng(0)
    gone = set()
    for group in groups_of(channels):
        count = int(rng.integers(0, group.count))
        gone |= set(rng.choice(group.channels, count, replace=False).tolist())
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        axes = channels.axes.get(kernel.path, ()) if kernel is not None else ()
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        for axis, ids in enumerate(axes):
            reads = axis == len(axes) - 2 or depthwise or getattr(layer, "groups", 1) > 1
            if ids is not None and reads:
                dead = [slice(None)] * len(axes)
                dead[axis] = np.isin(ids, sorted(gone))
                value = np.array(kernel)
                value[tuple(dead)] = 0.0
                kernel.assign(value)
    return frozenset(gone)


def test_channels_that_nobody_reads_can_go(model):
    channels = channel_map(model)
    gone = left_unread(model, channels)
    before = predict_all(model, samples(model))
    small = remove_channels(State(model), channels, gone).model
    for ours, theirs in zip(predict_all(small, samples(model)), before, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-4)


def test_channels_that_nobody_reads_are_found(model):
    """What makes them may be anything: the outputs are the same bytes."""
    channels = channel_map(model)
    gone = left_unread(model, channels)
    alive = {v.path: np.asarray(v) != 0 for v in sparse_kernels(model)}
    found = unread(model, channels, alive)
    assert found == gone
    before = predict_all(model, samples(model))
    kernels = {v.path: v for v in sparse_kernels(model)}
    for path, axis in {place for places in channels.kernels.values() for place in places}:
        axes = channels.axes[path]
        made = parts_of([i if n == axis else None for n, i in enumerate(axes)], found)
        read = parts_of([i if n != axis else None for n, i in enumerate(axes)], found)
        kernel = kernels[path]
        kernel.assign(np.asarray(kernel) + 7.0 * (made & ~read))
    for ours, theirs in zip(predict_all(model, samples(model)), before, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("by", MEASURES)
def test_every_measure(model, by):
    context = context_of(model, features=CpuFeatures(dsp=by == "bytes"))
    state, notes = Prune(0.5, by=by, epochs=0).apply(State(model), context)
    assert runs(state.model)
    if by != "channels":
        short = any("can be removed" in note for note in notes)
        assert short or cost(state.model, by) <= 0.5 * cost(model, by) * (1.0 + 1e-9)
    words = layer_ratios(model, state.model)
    again, _ = Prune(0.0, layers=words, epochs=0).apply(State(model), context)
    for a, b in zip(state.model.weights, again.model.weights, strict=True):
        assert a.shape == b.shape


def test_predicted_costs_are_those_of_the_smaller_model(model):
    channels = channel_map(model)
    groups = groups_of(channels)
    costs = Costs(model, channels, groups)
    rng = np.random.default_rng(0)
    removed = np.array([rng.integers(0, group.count) for group in groups])
    gone = [group.channels[:n] for group, n in zip(groups, removed.tolist(), strict=True)]
    small = remove_channels(State(model), channels, frozenset(sum(gone, ()))).model
    for by in COSTS:
        assert costs.of(by, removed) == pytest.approx(cost(small, by)), by


def test_the_least_there_can_be(model):
    context = context_of(model)
    state = State(model)
    for _ in range(2):  # a convolution first loses whole groups, then channels of each
        state, _ = Prune(0.9999, epochs=0).apply(state, context)
    assert runs(state.model) and not prunable_groups(state.model)


def test_in_steps(model):
    context = context_of(model)
    whole, _ = Prune(0.75, epochs=0).apply(State(model), context)
    state, _ = Prune(0.75, epochs=0, steps=3).apply(State(model), context)
    assert runs(state.model)
    assert cost(state.model, "parameters") <= 1.2 * cost(whole.model, "parameters")


def test_blocks_and_scales(model):
    state = State(model)
    while blocks := removable_blocks(state.model):
        state = bypass(state, blocks[0].end, blocks[0].begin)
        assert runs(state.model)
    scaled, _ = Scale(width=0.4, depth=0.5, epochs=1).apply(State(model), context_of(model))
    assert runs(scaled.model)


def cost(model, by):
    return Costs(model, channel_map(model), ()).of(by, np.zeros(0))
