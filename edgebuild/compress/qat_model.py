"""The network that is trained with integers, as a Keras model of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from edgebuild.compress.ptq.calibration import Range
from edgebuild.compress.ptq.network import Network
from edgebuild.compress.qat_graph import FIXED, WEIGHTED, biases_of, compute
from edgebuild.compress.qat_ops import Spec
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
    Where the batch of 1 is built into a shape, samples go through it one by one, which is slow.
    InputError when even that is not what the network computes.
    """
    config = {
        "spec": list(spec),
        "inputs": list(network.inputs),
        "outputs": list(network.outputs),
        "ends": [list(network.shape(t)) for t in network.outputs],
        "groups": {str(t): g for t, g in groups.items()},
        "shapes": {str(t): list(a.shape) for t, a in _constants(network, spec).items()},
        "starts": {str(g): list(ends) for g, ends in _starts(groups, found).items()},
    }
    # One sample at a time everything has the file's shapes, and broadcasts as they do.
    plain = [{**op, "computed": [False] * len(op["computed"])} for op in spec]
    for form in ({"each": False}, {"each": True, "spec": plain}):
        model = _model_of(network, {**config, **form}, _constants(network, spec))
        if model is not None and _keeps_samples_apart(model):
            return model
    raise InputError(
        "quantize: the network mixes the samples of a batch: it cannot be trained with integers",
        hint="leave out epochs: the calibrated form needs no training",
    )


def _model_of(
    network: Network, config: Mapping[str, Any], constants: Mapping[int, np.ndarray]
) -> Any:
    """Return the Keras model, None where it cannot be computed for a batch."""
    import keras

    layer = _layer_class()(config, name=LAYER)
    inputs = [keras.Input(network.shape(t)[1:], name=f"input_{t}") for t in network.inputs]
    try:
        outputs = layer(inputs)
    except (ValueError, TypeError):
        return None
    for tensor, array in constants.items():
        layer.tensors[str(tensor)].assign(array)
    return keras.Model(inputs, outputs, name=LAYER)


def _keeps_samples_apart(model: Any) -> bool:
    """Return whether the network computes for two samples what it computes for each.

    The file is of batch 1: where that is built into a shape, two cannot be computed at once.
    """
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((2, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
    try:
        both = predict_all(model, x)
        each = [predict_all(model, [array[i : i + 1] for array in x]) for i in range(2)]
    except Exception:  # TensorFlow's errors have no base of their own but Exception
        return False
    for i, output in enumerate(both):
        alone = np.concatenate([outputs[i] for outputs in each])
        if output.shape != alone.shape or not np.allclose(output, alone, atol=0.1 * np.ptp(alone)):
            return False
    return True


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
            weighted = [op for op in config["spec"] if op["kind"] in WEIGHTED]
            self.axis = {
                str(op["inputs"][1]): 3 if op["kind"] == "DEPTHWISE_CONV_2D" else 0
                for op in weighted
                if str(op["inputs"][1]) in config["shapes"]
            }
            self.biases = {str(t) for op in weighted for t in biases_of(op)}
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
            given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            constants = {t: self.operand(t, v.value) for t, v in self.tensors.items()}
            if self.config["each"]:
                found = self._one_by_one(given, constants, training)
            else:
                found = self._computed(given, constants, training)
            return found if len(found) > 1 else found[0]

        def _one_by_one(self, given: list[Any], constants: dict[str, Any], training: bool) -> Any:
            """Return the outputs of a network that takes one sample at a time."""

            def run(sample: list[Any]) -> list[Any]:
                rows = self._computed([x[tf.newaxis] for x in sample], constants, training)
                ends = self.config["ends"]
                return [tf.reshape(row, end[1:]) for row, end in zip(rows, ends, strict=True)]

            types = [tf.TensorSpec(shape[1:], tf.float32) for shape in self.config["ends"]]
            return tf.map_fn(run, given, fn_output_signature=types)

        def _computed(self, given: list[Any], constants: dict[str, Any], training: bool) -> Any:
            config = self.config
            whole = set(config["outputs"]) if training else set()
            values: dict[int, Any] = {}
            for tensor, value in zip(config["inputs"], given, strict=True):
                values[tensor] = self._squeezed(tensor, value)
            for op in config["spec"]:
                read = [values[t] if t in values else constants.get(str(t)) for t in op["inputs"]]
                fixed = FIXED.get(op["kind"])
                for tensor, value in zip(op["outputs"], compute(op, read), strict=True):
                    kept = fixed is not None and tensor in whole
                    values[tensor] = value if kept else self._squeezed(tensor, value, fixed)
            return [values[t] for t in config["outputs"]]

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
