"""Layers as others that the Edge TPU's compiler maps: one rule for each, all of them exact.

A rule takes a call of a layer and returns a Rewrite, or None where it has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.edgetpu_activations import activation_of, replacement

MAX_FACTOR = 8
MAX_RESIZED_BYTES = 2 << 20
"""As in the Edge TPU's table: what a resize may enlarge, and the bytes of its int8 output."""

_RELU_LIKE = ("relu", "relu6")
_ELEMENTWISE = (*_RELU_LIKE, "tanh", "sigmoid", "linear")


@dataclass(frozen=True)
class Rewrite:
    """What a call becomes.

    ``build`` maps the call's input tensors to its output and gives new layers their weights.
    ``kernel`` does to a mask or a clustering of the layer's kernel what ``build`` does to the
    kernel; its second argument fills new places. ``drop`` is a call that ``build`` makes as well.
    """

    build: Callable[[Sequence[Any]], Any]
    note: str
    exact: bool = True
    kernel: Callable[[np.ndarray, Any], np.ndarray] | None = None
    drop: Any = None


@dataclass(frozen=True)
class Site:
    """A call, the only reader of its output (None when there are several or the model's caller
    reads it), and whether approximations are allowed."""

    call: Any
    reader: Any
    approximate: bool

    @property
    def layer(self) -> Any:
        """The layer that is called."""
        return self.call.operation

    @property
    def kind(self) -> str:
        """The layer's class."""
        return type(self.layer).__name__

    @property
    def input(self) -> Any:
        """The first input."""
        return self.call.input_tensors[0]

    @property
    def output(self) -> Any:
        """The first output."""
        return self.call.output_tensors[0]


def rewrite(site: Site) -> Rewrite | None:
    """Return what the first rule that applies makes of a call; channels come last."""
    if getattr(site.layer, "data_format", None) == "channels_first":
        return None
    return next((found for rule in _RULES if (found := rule(site)) is not None), None)


def copied(layer: Any, x: Any, *, changes: dict[str, Any] | None = None) -> Any:
    """Return a layer's output from a copy with its weights and name, some options changed."""
    new = layer.__class__.from_config({**layer.get_config(), **(changes or {})})
    y = new(x)
    new.set_weights(layer.get_weights())
    return y


def _activation(site: Site) -> Rewrite | None:
    """An activation with another form, alone or at the end of a layer with weights."""
    found = activation_of(site.layer)
    form = replacement(*found) if found else None
    if form is None or not (form.exact or site.approximate):
        return None
    layer, name = site.layer, site.layer.name
    alone = not layer.weights

    def build(inputs: Sequence[Any]) -> Any:
        x = inputs[0] if alone else copied(layer, inputs[0], changes={"activation": "linear"})
        return form.form(x, name)

    nearly = "" if form.exact else ", nearly"
    return Rewrite(build, f"{name}: {found[0]} as {form.words}{nearly}", form.exact)  # type: ignore[index]


def _uneven_dilation(site: Site) -> Rewrite | None:
    """A kernel with zeros between its taps needs no dilation."""
    rates = getattr(site.layer, "dilation_rate", None)
    if site.kind not in ("Conv2D", "DepthwiseConv2D") or not rates or len(set(rates)) == 1:
        return None
    layer = site.layer
    size = tuple((k - 1) * d + 1 for k, d in zip(layer.kernel_size, rates, strict=True))

    def spread(kernel: np.ndarray, fill: Any) -> np.ndarray:
        out = np.full((*size, *kernel.shape[2:]), fill, kernel.dtype)
        out[:: rates[0], :: rates[1]] = kernel
        return out

    def build(inputs: Sequence[Any]) -> Any:
        changes = {"kernel_size": size, "dilation_rate": (1, 1)}
        new = layer.__class__.from_config({**layer.get_config(), **changes})
        y = new(inputs[0])
        kernel, *rest = layer.get_weights()
        new.set_weights([spread(kernel, 0), *rest])
        return y

    return Rewrite(build, f"{layer.name}: dilation {rates} as zeros in the kernel", kernel=spread)


def _dense_of_rows(site: Site) -> Rewrite | None:
    """A dense layer on rows is a 1x1 convolution."""
    shape = site.input.shape[1:]
    if site.kind != "Dense" or len(shape) < 2 or None in shape:
        return None
    layer = site.layer
    image = shape if len(shape) == 3 else (1, math.prod(shape[:-1]), shape[-1])

    def build(inputs: Sequence[Any]) -> Any:
        from keras import layers

        x = inputs[0]
        if image != shape:
            x = layers.Reshape(image, name=f"{layer.name}_image")(x)
        conv = layers.Conv2D(
            layer.units,
            1,
            use_bias=layer.use_bias,
            activation=layer.activation,
            name=layer.name,
        )
        y = conv(x)
        kernel, *rest = layer.get_weights()
        conv.set_weights([kernel[None, None], *rest])
        if image != shape:
            y = layers.Reshape((*shape[:-1], layer.units), name=f"{layer.name}_rows")(y)
        return y

    note = f"{layer.name}: dense on {'x'.join(map(str, shape))} as a 1x1 convolution"
    return Rewrite(build, note, kernel=lambda array, _: array[None, None])


def _pool_then_relu(site: Site) -> Rewrite | None:
    """A rectifier goes in front of a maximum; behind, the converter fuses it into the pooling."""
    act = activation_of(site.reader.operation) if site.reader is not None else None
    if site.kind != "MaxPooling2D" or act is None or act[0] not in _RELU_LIKE or not _alone(site):
        return None
    pool, relu = site.layer, site.reader.operation
    note = f"{relu.name}: in front of {pool.name}, not fused into it"
    return Rewrite(lambda x: copied(pool, copied(relu, x[0])), note, drop=site.reader)


def _average_then_relu(site: Site) -> Rewrite | None:
    """An average of whole windows is a depthwise convolution, which may have an activation."""
    act = activation_of(site.reader.operation) if site.reader is not None else None
    fused = act is not None and act[0] in _RELU_LIKE and _alone(site)
    if site.kind != "AveragePooling2D" or not fused or site.layer.padding != "valid":
        return None
    layer, channels = site.layer, site.input.shape[-1]

    def build(inputs: Sequence[Any]) -> Any:
        from keras import layers

        new = layers.DepthwiseConv2D(
            layer.pool_size,
            strides=layer.strides,
            use_bias=False,
            name=f"{layer.name}_average",
        )
        y = new(inputs[0])
        share = 1.0 / math.prod(layer.pool_size)
        new.set_weights([np.full((*layer.pool_size, channels, 1), share, np.float32)])
        new.trainable = False
        return y

    return Rewrite(build, f"{layer.name}: average as a depthwise convolution")


def _global_maximum(site: Site) -> Rewrite | None:
    """A maximum over the whole image is a pooling."""
    shape = site.input.shape[1:]
    if site.kind != "GlobalMaxPooling2D" or len(shape) != 3 or None in shape:
        return None
    layer = site.layer

    def build(inputs: Sequence[Any]) -> Any:
        from keras import layers

        y = layers.MaxPooling2D(shape[:2], name=f"{layer.name}_pool")(inputs[0])
        if layer.keepdims:
            return y
        return layers.Reshape((shape[2],), name=f"{layer.name}_flat")(y)

    return Rewrite(build, f"{layer.name}: global maximum as a pooling")


def _work_before_resize(site: Site) -> Rewrite | None:
    """Where a resize stays on the CPU, what works on single pixels goes in front of it: enlarging
    copies (nearest) or averages (bilinear) pixels, and both commute with it."""
    if site.kind not in ("UpSampling2D", "Resizing") or site.reader is None or not _refused(site):
        return None
    after = site.reader.operation
    act = activation_of(after)
    name = act[0] if act else "linear"
    nearest = site.layer.interpolation == "nearest"
    by_pixel = type(after).__name__ in ("ReLU", "Activation") or (
        type(after).__name__ == "Conv2D"
        and set(after.kernel_size) | set(after.strides) == {1}
        and after.groups == 1
    )
    if not by_pixel or name not in (_ELEMENTWISE if nearest else ("linear",)):
        return None
    resize = site.layer
    note = f"{after.name}: in front of {resize.name}, which stays on the CPU"
    return Rewrite(lambda x: copied(resize, copied(after, x[0])), note, drop=site.reader)


def _refused(site: Site) -> bool:
    before, after = site.input.shape, site.output.shape
    if None in (*before[1:], *after[1:]):
        return False
    factor = max(after[1] / before[1], after[2] / before[2])
    return math.prod(after[1:]) > MAX_RESIZED_BYTES or (
        factor > MAX_FACTOR and site.layer.interpolation != "nearest"
    )


def _nearest(site: Site) -> Rewrite | None:
    """Repeating pixels as a resize, which is one operator; in steps where it enlarges a lot."""
    layer, shape = site.layer, site.input.shape[1:]
    flat = site.kind == "UpSampling1D"
    plain = site.kind == "UpSampling2D" and layer.interpolation == "nearest"
    if not (flat or plain) or None in shape:
        return None
    sizes = (1, layer.size) if flat else tuple(layer.size)
    image = (1, *shape) if flat else shape

    def build(inputs: Sequence[Any]) -> Any:
        from keras import layers

        x = inputs[0]
        if flat:
            x = layers.Reshape(image, name=f"{layer.name}_image")(x)
        height, width = image[:2]
        for number, (up, right) in enumerate(_steps(*sizes)):
            height, width = height * up, width * right
            name = f"{layer.name}_resize" + (f"_{number}" if number else "")
            x = layers.Resizing(height, width, interpolation="nearest", name=name)(x)
        if flat:
            x = layers.Reshape((width, shape[-1]), name=f"{layer.name}_rows")(x)
        return x

    return Rewrite(build, f"{layer.name}: repeated pixels as a resize")


def _steps(*sizes: int) -> list[tuple[int, ...]]:
    """Return factors whose products are ``sizes``, none above MAX_FACTOR where that can be."""
    columns = [_factors(size) for size in sizes]
    count = max(map(len, columns))
    columns = [[*column, *[1] * (count - len(column))] for column in columns]
    return list(zip(*columns, strict=True))


def _factors(size: int) -> list[int]:
    found = []
    while size > MAX_FACTOR:
        step = next((f for f in range(MAX_FACTOR, 1, -1) if size % f == 0), size)
        found.append(step)
        size //= step
    return [*found, size] if size > 1 or not found else found


def _alone(site: Site) -> bool:
    """Return whether the reader is a layer of its own, not the end of another one."""
    return not site.reader.operation.weights and len(site.reader.input_tensors) == 1


_RULES: tuple[Callable[[Site], Rewrite | None], ...] = (
    *(_uneven_dilation, _dense_of_rows, _activation, _pool_then_relu, _average_then_relu),
    *(_global_maximum, _work_before_resize, _nearest),
)
