"""Random functional Keras models: small, of one or two spatial dimensions, and of many shapes.

Layers are shared, dilated, grouped and depthwise; branches join by addition, concatenation or
multiplication; there may be several inputs, several outputs and nested models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_ACTIVATIONS = ("relu", "relu6", "sigmoid", "tanh", "hard_swish", "leaky_relu", "linear")
_CLASSES = 3


class RandomKeras:
    """Grows one model; the same seed grows the same."""

    def __init__(self, seed: int) -> None:
        import keras

        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        self.keras, self.layers = keras, keras.layers
        self.rng = np.random.default_rng(seed)
        self.flat = bool(self.rng.random() < 0.4)
        self.shared: dict[tuple[Any, ...], Any] = {}
        self.maps: list[Any] = []

    def model(self) -> Any:
        """Return the model, with weights as training would leave them."""
        inputs = [self._input(i) for i in range(1 + int(self.rng.random() < 0.35))]
        twins = len(inputs) > 1 and self.rng.random() < 0.5
        if twins:  # a siamese network: both inputs go through one model
            inputs[1] = self._input(1, inputs[0].shape[1:])
            tower = self._tower(inputs[0].shape[1:])
            self.maps = [tower(x) for x in inputs]
        else:
            self.maps = [self._convolve(x) for x in inputs]
        for _ in range(int(self.rng.integers(2, 7))):
            step = self._choose(
                (self._convolve, self._depthwise, self._grouped, self._residual, self._bottleneck),
                (self._normalize, self._activate, self._pool, self._gate, self._share, self._join),
                (self._move, self._heads, self._slice, self._nested, self._dropout, self._sum),
            )
            self.maps.append(step(self._pick()))
        if len(inputs) > 1:  # the first output reads them all
            ends = [self._flat(x) for x in (self.maps[-1], *self.maps[: len(inputs)])]
            self.maps.append(self._merge(*ends))
        outputs = [self._head(self.maps[-1], self._choose(("classes", "one", "values")))]
        if self.rng.random() < 0.3:
            outputs.append(self._head(self._pick(), self._choose(("classes", "map"))))
        model = self.keras.Model(inputs, outputs)
        self._train(model)
        return model

    def _train(self, model: Any) -> None:
        for variable in model.weights:
            name, shape = variable.name, variable.shape
            if name == "moving_variance" or name == "gamma":
                variable.assign(self.rng.uniform(0.5, 1.5, shape))
            elif name in ("bias", "beta", "moving_mean"):
                variable.assign(self.rng.normal(0.0, 0.2, shape))

    # choices

    def _choose(self, *groups: Sequence[Any]) -> Any:
        group = groups[self.rng.integers(len(groups))]
        return group[self.rng.integers(len(group))]

    def _some(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def _pick(self) -> Any:
        newest = min(len(self.maps), int(self.rng.geometric(0.5)))
        return self.maps[-newest]

    def _activation(self) -> str:
        return str(self.rng.choice(_ACTIVATIONS, p=(0.5, 0.1, 0.05, 0.1, 0.05, 0.05, 0.15)))

    @property
    def _rank(self) -> int:
        return 1 if self.flat else 2

    def _layer(self, name: str, *args: Any, **options: Any) -> Any:
        """Return the layer of that name for the model's number of dimensions."""
        return getattr(self.layers, f"{name}{self._rank}D")(*args, **options)

    def _spatial(self, x: Any) -> bool:
        return len(x.shape) == self._rank + 2

    def _flat(self, x: Any) -> Any:
        if not self._spatial(x):
            return x
        if self.rng.random() < 0.4:
            return self.layers.Flatten()(x)
        rare = self.rng.random() < 0.08  # no target but a phone has its operator
        return self._layer("GlobalMaxPooling" if rare else "GlobalAveragePooling")(x)

    # inputs and outputs

    def _input(self, number: int, shape: Sequence[int] | None = None) -> Any:
        if shape is None:
            sides = [self._some(12, 20)] if self.flat else [self._some(5, 9), self._some(5, 9)]
            shape = (*sides, self._some(1, 4))
        return self.keras.Input(tuple(shape), name=f"in{number}")

    def _head(self, x: Any, kind: str) -> Any:
        if kind == "map" and self._spatial(x):
            return self._layer("Conv", 2, 1)(x)
        x = self._flat(x)
        if self.rng.random() < 0.5:
            x = self.layers.Dense(self._some(3, 8), activation=self._activation())(x)
        if kind == "one":
            return self.layers.Dense(1, activation="sigmoid")(x)
        if kind == "values":
            return self.layers.Dense(self._some(1, 4))(x)
        return self.layers.Dense(_CLASSES, activation=str(self.rng.choice(["softmax", "linear"])))(
            x
        )

    # steps

    def _convolve(self, x: Any) -> Any:
        if not self._spatial(x):
            return self.layers.Dense(self._some(2, 10), activation=self._activation())(x)
        options: dict[str, Any] = {"padding": str(self.rng.choice(["same", "valid"]))}
        size, least = self._some(1, 3), min(x.shape[1:-1])
        if self.rng.random() < 0.25 and least > 4:
            options["dilation_rate"] = 2
        elif self.rng.random() < 0.25:
            options["strides"] = 2
        if self.flat and self.rng.random() < 0.3:
            options["padding"] = "causal"
        if options["padding"] == "valid" and (size - 1) * options.get("dilation_rate", 1) >= least:
            options["padding"] = "same"
        options |= {"activation": self._activation(), "use_bias": self.rng.random() < 0.8}
        kind = "SeparableConv" if self.rng.random() < 0.15 and "strides" not in options else "Conv"
        if kind == "SeparableConv" and options["padding"] == "causal":
            options["padding"] = "same"
        return self._layer(kind, self._some(2, 10), size, **options)(x)

    def _depthwise(self, x: Any) -> Any:
        if not self._spatial(x):
            return self._convolve(x)
        multiplier = self._some(1, 2)
        rate = int(self.rng.choice([1, 1, 2]))
        options = {"padding": "same", "depth_multiplier": multiplier, "dilation_rate": rate}
        return self._layer("DepthwiseConv", 3, activation=self._activation(), **options)(x)

    def _grouped(self, x: Any) -> Any:
        if not self._spatial(x):
            return self._convolve(x)
        groups = self._some(2, 3)
        x = self._layer("Conv", groups * self._some(1, 3), 1)(x)
        return self._layer("Conv", groups * self._some(1, 3), 3, padding="same", groups=groups)(x)

    def _residual(self, x: Any) -> Any:
        y = self._like(x)
        if self.rng.random() < 0.5:
            y = self._normalize(y)
        kind = str(self.rng.choice(["Add", "Add", "Subtract", "Average", "Maximum"]))
        y = getattr(self.layers, kind)()([x, y])
        return self.layers.ReLU()(y) if self.rng.random() < 0.5 else y

    def _like(self, x: Any) -> Any:
        """Return a layer's output in the shape of ``x``."""
        if not self._spatial(x):
            return self.layers.Dense(x.shape[-1], activation=self._activation())(x)
        options = {"padding": "same", "activation": self._activation()}
        return self._layer("Conv", x.shape[-1], self._some(1, 3), **options)(x)

    def _bottleneck(self, x: Any) -> Any:
        if not self._spatial(x):
            return self._residual(x)
        y = self._layer("Conv", x.shape[-1] + self._some(1, 6), 1, activation="relu6")(x)
        y = self._layer("DepthwiseConv", 3, padding="same")(y)
        y = self._normalize(y)
        return self.layers.Add()([x, self._layer("Conv", x.shape[-1], 1)(y)])

    def _normalize(self, x: Any) -> Any:
        return self.layers.BatchNormalization()(x)

    def _activate(self, x: Any) -> Any:
        ops = self.keras.ops
        makers: tuple[Callable[[Any], Any], ...] = (
            self.layers.ReLU(), self.layers.ReLU(max_value=6.0), self.layers.LeakyReLU(),
            self.layers.Activation("sigmoid"), ops.tanh, ops.relu,
            self.layers.Rescaling(0.5, 0.1), self.layers.Softmax(),
        )  # fmt: skip
        return self._choose(makers)(x)

    def _pool(self, x: Any) -> Any:
        if not self._spatial(x) or min(x.shape[1:-1]) < 2:
            return self._convolve(x)
        kind = str(self.rng.choice(["MaxPooling", "AveragePooling"]))
        options = {"strides": int(self.rng.choice([1, 2])), "padding": "same"}
        return self._layer(kind, 2, **options)(x)

    def _gate(self, x: Any) -> Any:
        """Squeeze and excite."""
        if not self._spatial(x):
            return self.layers.Multiply()([x, self._like(x)])
        y = self._layer("GlobalAveragePooling", keepdims=True)(x)
        y = self._layer("Conv", max(1, x.shape[-1] // 2), 1, activation="relu")(y)
        y = self._layer("Conv", x.shape[-1], 1, activation="sigmoid")(y)
        return self.layers.Multiply()([x, y])

    def _share(self, x: Any) -> Any:
        """A layer that is called again wherever the shape allows."""
        key = ("share", self._spatial(x), x.shape[-1])
        if key not in self.shared:
            if not self._spatial(x):
                self.shared[key] = self.layers.Dense(x.shape[-1], activation="relu")
            elif self.rng.random() < 0.3:
                self.shared[key] = self._layer("DepthwiseConv", 3, padding="same")
            else:
                rate = int(self.rng.choice([1, 2]))
                self.shared[key] = self._layer(
                    "Conv", x.shape[-1], 3, padding="same", dilation_rate=rate
                )
        shared = self.shared[key]
        return shared(shared(x)) if self.rng.random() < 0.5 else shared(x)

    def _join(self, x: Any) -> Any:
        same = [m for m in self.maps if m.shape[:-1] == x.shape[:-1]]
        return self.layers.Concatenate()([x, same[self.rng.integers(len(same))]])

    def _sum(self, x: Any) -> Any:
        same = [m for m in self.maps if m.shape == x.shape]
        return self._merge(x, same[self.rng.integers(len(same))])

    def _merge(self, *parts: Any) -> Any:
        if len({p.shape for p in parts}) == 1 and self.rng.random() < 0.6:
            kind = str(self.rng.choice(["Add", "Multiply", "Average", "Minimum"]))
            return getattr(self.layers, kind)()(list(parts))
        return self.layers.Concatenate()(list(parts))

    def _move(self, x: Any) -> Any:
        if not self._spatial(x):
            return self.layers.Reshape((1, x.shape[-1]) if self.flat else (1, 1, x.shape[-1]))(x)
        if self.flat:
            kinds = (self.layers.ZeroPadding1D(1), self.layers.UpSampling1D(2),
                     self.layers.Permute((2, 1)))  # fmt: skip
            return self._choose(kinds)(x)
        kinds = (self.layers.ZeroPadding2D(((0, 1), (1, 0))), self.layers.UpSampling2D(2),
                 self.layers.UpSampling2D(2, interpolation="bilinear"),
                 self.layers.Permute((2, 1, 3)))  # fmt: skip
        return self._choose(kinds)(x)

    def _heads(self, x: Any) -> Any:
        """Several heads over one map, joined."""
        heads = [self._like(x) for _ in range(self._some(2, 3))]
        return self._merge(*heads)

    def _slice(self, x: Any) -> Any:
        if not self._spatial(x) or min(x.shape[1:-1]) < 3:
            return self._convolve(x)
        if x.shape[-1] % 2 == 0 and self.rng.random() < 0.5:
            one, other = self.keras.ops.split(x, 2, axis=-1)
            return self.layers.Concatenate()([self._convolve_same(other), one])
        if self.rng.random() < 0.5:
            return x[:, 1:]
        return self._layer("Cropping", 1)(x)

    def _convolve_same(self, x: Any) -> Any:
        return self._layer("Conv", self._some(2, 6), 3, padding="same", activation="relu")(x)

    def _dropout(self, x: Any) -> Any:
        kind = self._choose((self.layers.Dropout(0.3), self.layers.GaussianNoise(0.1)))
        return kind(self._convolve(x))

    def _tower(self, shape: Sequence[int]) -> Any:
        inputs = self.keras.Input(tuple(shape))
        x = self._convolve(self._convolve(inputs))
        if self.rng.random() < 0.5:
            x = self.layers.Dense(self._some(3, 8), activation="relu")(self._flat(x))
        return self.keras.Model(inputs, x)

    def _nested(self, x: Any) -> Any:
        """A model that is called like a layer, twice where the shapes allow."""
        inner = self.keras.Sequential(
            [self.keras.Input(x.shape[1:]), self._shaped(x), self.layers.ReLU()]
        )
        y = inner(x)
        return self.layers.Add()([inner(y), x]) if self.rng.random() < 0.5 else y

    def _shaped(self, x: Any) -> Any:
        if self._spatial(x) and self.rng.random() < 0.5:
            return self._layer("Conv", x.shape[-1], 3, padding="same")
        return self.layers.Dense(x.shape[-1])
