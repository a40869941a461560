"""What each channel of a model is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import ChannelMap, channel_map
from edgebuild.compress.costs import nodes
from edgebuild.compress.groups import Group, groups_of
from edgebuild.compress.kept import measured
from edgebuild.compress.surgery import remove_channels

CRITERIA = ("l1", "l2", "bn_scale", "taylor", "random")
_TAYLOR_SAMPLES = 1024
_TAYLOR_BATCH = 32
_TINY = 1e-7


def channel_worth(
    state: State, channels: ChannelMap, context: Context, criterion: str
) -> dict[int, float]:
    """Return what each removable channel is worth; the mean of each layer is 1.

    A channel that several layers make (a residual sum) is worth the sum over them.
    """
    arrays = {v.path: np.asarray(v) for v in state.model.weights}
    if criterion == "random":
        rng = np.random.default_rng(context.seed)
        arrays = {path: rng.random(a.shape) for path, a in arrays.items()}
    scales = _scales(state.model, channels)
    if criterion == "taylor":
        values = _taylor(state, channels, scales, context)
    else:
        values = {
            name: _layer_worth(arrays, channels, scales, name, criterion)
            for name in channels.outputs
        }
    worth: dict[int, float] = {}
    for of_layer in values.values():
        mean = float(np.mean(list(of_layer.values()))) or 1.0
        for channel, value in of_layer.items():
            if channel not in channels.fixed:
                worth[channel] = worth.get(channel, 0.0) + value / mean
    return worth


def layer_sensitivities(state: State, context: Context) -> dict[str, float]:
    """Return the quality that is lost on the validation split when half of one group's channels go
    (by l1) and nothing is trained, by the group's first layer."""
    channels = channel_map(state.model)
    worth = channel_worth(state, channels, context, "l1")
    groups = groups_of(channels)
    lost = group_sensitivities(state, channels, groups, worth, context)
    return {group.layers[0]: value for group, value in zip(groups, lost.tolist(), strict=True)}


def group_sensitivities(
    state: State,
    channels: ChannelMap,
    groups: Sequence[Group],
    worth: Mapping[int, float],
    context: Context,
) -> np.ndarray:
    """Return, for each group, the quality that is lost when the worse half of it goes."""
    from edgebuild.compress.quality import quality

    known = measured("sensitivity", state, context)

    def without(gone: list[int]) -> float:
        model = remove_channels(state, channels, frozenset(gone)).model if gone else state.model
        return quality(model, context.validation, context.teacher).value

    whole = known.get("nothing", lambda: without([]))
    lost = []
    for number, group in enumerate(groups, 1):
        context.progress(f"sensitivity of {group.layers[0]} ({number} of {len(groups)})")
        worse = sorted(group.channels, key=lambda c: worth[c])[: group.count // 2]
        name = f"{group.layers[0]}: {worse}"
        lost.append(whole - known.get(name, partial(without, worse)))
    return np.array(lost)


def _layer_worth(
    arrays: Mapping[str, np.ndarray],
    channels: ChannelMap,
    scales: Mapping[str, tuple[str, ...]],
    name: str,
    criterion: str,
) -> dict[int, float]:
    """Return what a layer's weights say of each channel that it makes."""
    if criterion == "bn_scale" and name in scales:
        return _by_channel(np.abs(arrays[scales[name][0]]), channels.outputs[name], 0)
    if criterion == "l2":
        squares = {path: arrays[path] ** 2 for path, _ in channels.kernels[name]}
        return {c: v**0.5 for c, v in _sums(squares, channels, name).items()}
    return _sums({path: np.abs(arrays[path]) for path, _ in channels.kernels[name]}, channels, name)


def _sums(arrays: Mapping[str, np.ndarray], channels: ChannelMap, name: str) -> dict[int, float]:
    """Return, for each channel that a layer makes, the sum over the weights that make it."""
    total: dict[int, float] = {}
    for path, axis in channels.kernels[name]:
        ids = channels.axes[path][axis]
        assert ids is not None
        for channel, value in _by_channel(arrays[path], ids, axis).items():
            total[channel] = total.get(channel, 0.0) + value
    return total


def _by_channel(array: np.ndarray, ids: np.ndarray, axis: int) -> dict[int, float]:
    """Return the sum of ``array`` over everything but the channel of ``axis``."""
    sums = array.sum(axis=tuple(i for i in range(array.ndim) if i != axis), dtype=np.float64)
    known, place = np.unique(ids, return_inverse=True)
    return dict(zip(known.tolist(), np.bincount(place, sums).tolist(), strict=True))


def _scales(model: Any, channels: ChannelMap) -> dict[str, tuple[str, ...]]:
    """Return the paths of scale and offset of the batch normalization right behind each layer that
    makes channels, where there is one."""
    found = {}
    for call in nodes(model):
        layer = call.operation
        if type(layer).__name__ == "BatchNormalization":
            maker = call.input_tensors[0]._keras_history.operation.name
            if maker in channels.outputs and layer.scale:
                found[maker] = tuple(v.path for v in layer.trainable_weights)
    return found


def _taylor(
    state: State,
    channels: ChannelMap,
    scales: Mapping[str, tuple[str, ...]],
    context: Context,
) -> dict[str, dict[int, float]]:
    """Return how much the loss changes without each channel, to first order, squared.

    The change is the sum of weight times gradient over what makes the channel: scale and offset of
    its batch normalization, else its weights and bias. Its square is averaged over batches: signs
    differ between them, and the mean of a trained model is near 0 (Molchanov et al. 2019).
    """
    weights = {v.path: np.asarray(v) for v in state.model.weights}
    biases = {
        layer.name: layer.bias.path
        for layer in state.model.layers
        if getattr(layer, "bias", None) is not None
    }
    found: dict[str, dict[int, float]] = {name: {} for name in channels.outputs}
    for gradients in _gradients(state, context):
        products = {path: w * gradients.get(path, 0.0) for path, w in weights.items()}
        for name, of_layer in found.items():
            ids = channels.outputs[name]
            if name in scales:
                total = sum(products[path] for path in scales[name])
                changes = _by_channel(np.asarray(total), ids, 0)
            else:
                changes = _sums(products, channels, name)
                if name in biases and len(weights[biases[name]]) == len(ids):
                    for channel, change in _by_channel(products[biases[name]], ids, 0).items():
                        changes[channel] += change
            for channel, change in changes.items():
                of_layer[channel] = of_layer.get(channel, 0.0) + change**2
    return found


def _gradients(state: State, context: Context) -> Iterator[dict[str, np.ndarray]]:
    """Yield the gradient by each variable for batch after batch of training samples.

    It is the loss's where there are labels. Without, a model has no loss against itself: it is that
    of the outputs without them, in units of their spread and each with a random sign, and the
    square of what comes of it is on average how far the outputs move.
    """
    import tensorflow as tf

    from edgebuild.compress.losses import losses_of
    from edgebuild.models.tf_model import as_list, inputs_of

    model = state.model
    losses = losses_of(context)
    variables = model.trainable_variables
    split = context.train.first(_TAYLOR_SAMPLES)
    rng = np.random.default_rng(context.seed)
    for start in range(0, len(split), _TAYLOR_BATCH):
        batch = split.take(np.arange(start, min(start + _TAYLOR_BATCH, len(split))))
        with tf.GradientTape() as tape:
            inputs = [tf.constant(np.asarray(a, np.float32)) for a in batch.x]
            outputs = as_list(model(inputs_of(model, inputs), training=False))
            loss = losses.label_loss(losses.labels(batch), outputs)
            loss += sum(_signed(o, rng) for i, o in enumerate(outputs) if i not in batch.labels)
        gradients = tape.gradient(loss, [v.value for v in variables])
        yield {
            v.path: np.asarray(tf.convert_to_tensor(g))  # an embedding's has only rows
            for v, g in zip(variables, gradients, strict=True)
            if g is not None
        }


def _signed(output: Any, rng: np.random.Generator) -> Any:
    import tensorflow as tf

    signs = tf.constant(rng.choice([-1.0, 1.0], output.shape), output.dtype)
    return tf.reduce_mean(signs * output) / (tf.math.reduce_std(tf.stop_gradient(output)) + _TINY)
