"""Activations of operators that the Edge TPU has: exact where that can be, else near.

Each form takes a Keras tensor and a name for its layers, and returns a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Form = Callable[[Any, str], Any]

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_TANH_SLOPE = 0.747
"""tanh(0.747 x) is nearest to exp(x) - 1 below 0: at most 0.04 apart."""
_GELU_SLOPE = 1.773
"""x * sigmoid(1.773 x) is nearest to GELU: at most 0.014 apart."""
_MISH_SLOPE = 1.252
"""x * sigmoid(1.252 x) is nearest to Mish: at most 0.11 apart."""


@dataclass(frozen=True)
class Replacement:
    """A form of an activation, whether it computes the same, and what it is called in notes."""

    form: Form
    exact: bool
    words: str


def activation_of(layer: Any) -> tuple[str, dict[str, float]] | None:
    """Return the activation that a layer is or ends with, and its parameters; None without one."""
    kind = type(layer).__name__
    if kind == "LeakyReLU":
        return "leaky_relu", {"slope": float(layer.negative_slope)}
    if kind == "ELU":
        return "elu", {"alpha": float(layer.alpha)}
    if kind == "ReLU":
        slope = float(layer.negative_slope or 0.0)
        if layer.threshold or (slope and layer.max_value is not None):
            return "threshold_relu", {}
        return ("leaky_relu", {"slope": slope}) if slope else ("relu", {})
    function = getattr(layer, "activation", None)
    name = getattr(function, "__name__", "")
    return (name, {}) if name and name != "linear" else None


def replacement(name: str, parameters: dict[str, float]) -> Replacement | None:
    """Return what an activation becomes; None for one that maps, or that has no form here."""
    if name == "leaky_relu":
        slope = parameters.get("slope", 0.2)
        return Replacement(_leaky(slope), True, f"{slope:g} x + {1 - slope:g} relu(x)")
    if name in ("hard_silu", "hard_swish"):
        return Replacement(_hard_silu, True, "x/6 * relu6(x + 3)")
    if name in ("elu", "celu"):
        alpha = parameters.get("alpha", 1.0)
        return Replacement(_elu(alpha, 1.0), False, "relu and tanh")
    if name == "selu":
        return Replacement(_elu(_SELU_ALPHA, _SELU_SCALE), False, "relu and tanh")
    if name == "gelu":
        return Replacement(_gated(_GELU_SLOPE), False, f"x * sigmoid({_GELU_SLOPE} x)")
    if name == "mish":
        return Replacement(_gated(_MISH_SLOPE), False, f"x * sigmoid({_MISH_SLOPE} x)")
    return None


UNMAPPED = ("softplus", "softsign", "exponential", "hard_tanh", "tanh_shrink", "squareplus")
"""Activations that stay on the CPU and have no form here."""


def _leaky(slope: float) -> Form:
    def form(x: Any, name: str) -> Any:
        from keras import layers

        positive = layers.Rescaling(1.0 - slope, name=f"{name}_above")(
            layers.ReLU(name=f"{name}_relu")(x)
        )
        return layers.Add(name=f"{name}_sum")(
            [layers.Rescaling(slope, name=f"{name}_slope")(x), positive]
        )

    return form


def _hard_silu(x: Any, name: str) -> Any:
    from keras import layers

    # A sixth goes to the other factor: the converter would find HARD_SWISH again.
    gate = layers.ReLU(6.0, name=f"{name}_relu6")(
        layers.Rescaling(1.0, offset=3.0, name=f"{name}_shift")(x)
    )
    return layers.Multiply(name=f"{name}_gated")(
        [layers.Rescaling(1 / 6, name=f"{name}_sixth")(x), gate]
    )


def _elu(alpha: float, scale: float) -> Form:
    """relu(x) + alpha tanh(s min(x, 0)), all times ``scale``."""

    def form(x: Any, name: str) -> Any:
        from keras import layers

        above = layers.ReLU(name=f"{name}_relu")(x)
        below = layers.Subtract(name=f"{name}_below")([x, above])
        bent = layers.Activation("tanh", name=f"{name}_tanh")(
            layers.Rescaling(_TANH_SLOPE, name=f"{name}_slope")(below)
        )
        if alpha * scale != 1.0:
            bent = layers.Rescaling(alpha * scale, name=f"{name}_alpha")(bent)
        if scale != 1.0:
            above = layers.Rescaling(scale, name=f"{name}_scale")(above)
        return layers.Add(name=f"{name}_sum")([above, bent])

    return form


def _gated(slope: float) -> Form:
    def form(x: Any, name: str) -> Any:
        from keras import layers

        gate = layers.Activation("sigmoid", name=f"{name}_sigmoid")(
            layers.Rescaling(slope, name=f"{name}_slope")(x)
        )
        return layers.Multiply(name=f"{name}_gated")([x, gate])

    return form
