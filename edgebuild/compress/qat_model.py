"""The network that is trained with integers, as a Keras model of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgebuild.compress.ptq.calibration import Range
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.qat_graph import FIXED, WEIGHTED, Spec, compute
from edgebuild.compress.quality import predict_all
from edgebuild.errors import InputError

LAYER = "int8_network"
_LEAST = 1e-6
_GAIN = 3.0
"""How much of its width a range's end moves when its variable moves by 1. An Adam step moves a
variable by the learning rate, whatever the range's width is."""


def quantized_model(
    network: Network,
    spec: Sequence[Spec],
    groups: Mapping[int, int],
    found: Mapping[int, Range],
) -> Any:
    """Return a functional Keras model that computes ``network`` with int8's rounding.

    ``groups`` names the range of each tensor that has a learned one; ``found`` is where they start.
    """
    import keras

    constants = _constants(network, spec)
    config = {
        "spec": list(spec),
        "inputs": list(network.inputs),
        "outputs": list(network.outputs),
        "groups": {str(t): g for t, g in groups.items()},
        "shapes": {str(t): list(array.shape) for t, array in constants.items()},
        "starts": {str(g): list(ends) for g, ends in _starts(groups, found).items()},
    }
    layer = _layer_class()(config, name=LAYER)
    inputs = [keras.Input(network.shape(t)[1:], name=f"input_{t}") for t in network.inputs]
    outputs = _called(layer, inputs)
    for tensor, array in constants.items():
        layer.tensors[str(tensor)].assign(array)
    model = keras.Model(inputs, outputs, name=LAYER)
    _check_batches(model)
    return model


def _mixes() -> InputError:
    return InputError(
        "quantize: the network mixes the samples of a batch, as unrolled recurrent layers do: it "
        "cannot be trained with integers",
        hint="leave out epochs: the calibrated form needs no training",
    )


def _called(layer: Any, inputs: Any) -> Any:
    """Return the layer's symbolic outputs. The network is of batch 1: where that is built into a
    shape, another batch cannot be computed."""
    try:
        return layer(inputs)
    except (ValueError, TypeError) as error:
        raise _mixes() from error


def _check_batches(model: Any) -> None:
    """Refuse a network that computes something else for two samples than for each."""
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((2, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    try:
        both = predict_all(model, x)
        each = [predict_all(model, [array[i : i + 1] for array in x]) for i in range(2)]
    except Exception as error:  # TensorFlow's errors have no base of their own but Exception
        raise _mixes() from error
    for i, output in enumerate(both):
        alone = np.concatenate([outputs[i] for outputs in each])
        if output.shape != alone.shape or not np.allclose(output, alone, atol=0.1 * np.ptp(alone)):
            raise _mixes()


def trained_constants(model: Any) -> dict[int, np.ndarray]:
    """Return weights, on the grid of their integers, and other constants by tensor."""
    layer = model.get_layer(LAYER)
    return {
        int(tensor): np.asarray(layer.rounded(tensor, variable.value))
        for tensor, variable in layer.tensors.items()
    }


def trained_ranges(model: Any) -> dict[int, Range]:
    """Return the learned range of each group."""
    layer = model.get_layer(LAYER)
    ends = {group: layer.ends(group) for group in layer.lows}
    return {int(group): (float(low), float(high)) for group, (low, high) in ends.items()}


def _constants(network: Network, spec: Sequence[Spec]) -> dict[int, np.ndarray]:
    found = {}
    for op in spec:
        for tensor in op["inputs"]:
            value = network.constant(tensor)
            if value is not None:
                found[tensor] = value
    return found


def _starts(groups: Mapping[int, int], found: Mapping[int, Range]) -> dict[int, Range]:
    """Return for each group the range that holds those of its tensors."""
    starts: dict[int, Range] = {}
    for tensor, group in groups.items():
        low, high = found[tensor]
        before = starts.get(group, (0.0, 0.0))
        starts[group] = (min(before[0], low, 0.0), max(before[1], high, _LEAST))
    return starts


@cache
def _layer_class() -> Any:
    """Return the Keras layer; Keras is imported when it is first needed."""
    import keras
    import tensorflow as tf

    @keras.saving.register_keras_serializable("edgebuild")
    class Int8Network(keras.layers.Layer):
        """All operators of a network, with what int8 does to weights and activations.

        Weights: symmetric, one scale for each output channel, from the channel's largest weight.
        Activations: ``fake_quant`` with learned ends; int8's scale and zero point are theirs.
        """

        def __init__(self, config: dict[str, Any], **options: Any) -> None:
            super().__init__(**options)
            self.config = config
            # The dimension of each kernel that counts output channels.
            self.axis = {
                str(op["inputs"][1]): 3 if op["kind"] == "DEPTHWISE_CONV_2D" else 0
                for op in config["spec"]
                if op["kind"] in WEIGHTED and str(op["inputs"][1]) in config["shapes"]
            }
            self.biases = {
                str(op["inputs"][2])
                for op in config["spec"]
                if op["kind"] in WEIGHTED and len(op["inputs"]) > 2 and op["inputs"][2] >= 0
            }
            self.tensors: dict[str, Any] = {}
            self.lows: dict[str, Any] = {}
            self.highs: dict[str, Any] = {}

        def build(self, *_: Any) -> None:
            for tensor, shape in self.config["shapes"].items():
                self.tensors[tensor] = self.add_weight(
                    shape=shape,
                    initializer="zeros",
                    name=f"t{tensor}",
                    trainable=tensor in self.axis or tensor in self.biases,
                )
            for group in self.config["starts"]:
                for ends, name in ((self.lows, "low"), (self.highs, "high")):
                    ends[group] = self.add_weight(
                        shape=(), initializer="zeros", name=f"{name}{group}"
                    )

        @property
        def kernels(self) -> list[Any]:
            return [self.tensors[tensor] for tensor in self.axis]

        def ends(self, group: str) -> tuple[Any, Any]:
            """Return a range's ends: zero is inside."""
            start, end = self.config["starts"][group]
            step = _GAIN * (end - start)
            low = tf.minimum(start + step * self.lows[group].value, 0.0)
            return low, tf.maximum(end + step * self.highs[group].value, low + _LEAST)

        def rounded(self, tensor: str, value: Any) -> Any:
            """Return a kernel on the grid of its integers; other constants as they are."""
            if tensor not in self.axis:
                return value
            axes = [i for i in range(len(value.shape)) if i != self.axis[tensor]]
            largest = tf.reduce_max(tf.abs(value), axis=axes, keepdims=True)
            scale = tf.stop_gradient(tf.maximum(largest, 1e-12) / 127.0)
            # Straight through: the gradient is that of the value.
            return value + tf.stop_gradient(tf.round(value / scale) * scale - value)

        def operand(self, tensor: str, value: Any) -> Any:
            """Return a constant as its reader gets it: a kernel or bias, else by its extremes."""
            if tensor in self.axis or tensor in self.biases:
                return self.rounded(tensor, value)
            low = tf.minimum(tf.reduce_min(value), 0.0)
            high = tf.maximum(tf.reduce_max(value), 0.0)
            return tf.quantization.fake_quant_with_min_max_vars(value, low, high)

        def call(self, inputs: Any, training: bool = False) -> Any:
            """Return the outputs for a batch.

            In training probabilities are not rounded: the loss takes their logarithm, and rounded
            ones do not sum to 1 and have no gradient at zero.
            """
            config = self.config
            whole = set(config["outputs"]) if training else set()
            given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            values: dict[int, Any] = {}
            for tensor, value in zip(config["inputs"], given, strict=True):
                values[tensor] = self._squeezed(tensor, value)
            constants = {t: self.operand(t, v.value) for t, v in self.tensors.items()}
            for op in config["spec"]:
                read = [values[t] if t in values else constants.get(str(t)) for t in op["inputs"]]
                fixed = FIXED.get(op["kind"])
                for tensor, value in zip(op["outputs"], compute(op, read), strict=True):
                    kept = fixed is not None and tensor in whole
                    values[tensor] = value if kept else self._squeezed(tensor, value, fixed)
            found = [values[t] for t in config["outputs"]]
            return found if len(found) > 1 else found[0]

        def _squeezed(self, tensor: int, value: Any, fixed: Range | None = None) -> Any:
            if fixed is not None:
                return tf.quantization.fake_quant_with_min_max_args(value, *fixed)
            group = self.config["groups"].get(str(tensor))
            if group is None:
                return value
            low, high = self.ends(str(group))
            return tf.quantization.fake_quant_with_min_max_vars(value, low, high)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "config": self.config}

    return Int8Network
