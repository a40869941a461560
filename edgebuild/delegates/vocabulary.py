"""The words in which delegates' tables state what they ask of an operator.

Each word is a function of the operator and the table's arguments, registered with the sentence
that a user reads; the sentence's fields are the arguments. A word holds where the tensors that it
speaks of are absent, and never raises on a structurally valid operator.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgebuild.graph import Node, Tensor


@dataclass(frozen=True)
class Setting:
    """What a check knows besides the operator.

    ``level`` is NNAPI's feature level; ``unpacked`` are tensors that the delegate itself computes
    from constants before the model runs.
    """

    level: int = 0
    unpacked: frozenset[int] = field(default_factory=frozenset)

    def is_static(self, tensor: Tensor) -> bool:
        """True for constants and what is unpacked from them."""
        return tensor.is_constant or tensor.index in self.unpacked


@dataclass(frozen=True)
class Word:
    """One word: its sentence, and whether an operator keeps it."""

    name: str
    template: str
    holds: Callable[..., bool]
    parameters: tuple[str, ...]

    def sentence(self, arguments: Mapping[str, Any]) -> str:
        """Return the sentence with its arguments in place."""
        spoken = {
            key: level_name(value) if key == "level" else _spoken(value)
            for key, value in arguments.items()
        }
        return self.template.format(**spoken)


_MAX_VALUES = 1 << 16
_UPDATABLE = 1_000_000
"""NNAPI's feature levels from 6 on are this and their number, as no API level goes with them."""

WORDS: dict[str, Word] = {}
"""All words by name."""


def word(template: str) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    """Register a function as the word of its name, with its sentence."""

    def register(holds: Callable[..., bool]) -> Callable[..., bool]:
        name = holds.__name__.strip("_")
        parameters = tuple(inspect.signature(holds).parameters)[2:]
        WORDS[name] = Word(name, template, holds, parameters)
        return holds

    return register


def level_name(level: int) -> str:
    """Return a feature level of NNAPI in words."""
    if level >= _UPDATABLE:
        return f"NNAPI feature level {level - _UPDATABLE}"
    releases = {27: "8.1", 28: "9", 29: "10", 30: "11", 31: "12"}
    return f"NNAPI feature level {level - 26} (Android {releases.get(level, level)})"


def tensors_of(node: Node, of: str) -> list[Tensor]:
    """Return the tensors that ``of`` names, absent ones left out.

    ``inputs``, ``outputs``, ``input 1``, ``output 0``, ``the inputs from 1`` on, or several of
    these with ``and`` between them.
    """
    if " and " in of:
        return [tensor for part in of.split(" and ") for tensor in tensors_of(node, part)]
    values: Sequence[Tensor | None] = node.inputs if "input" in of else node.outputs
    number = re.search(r"\d+", of)
    if number is None:
        chosen = values
    elif " from " in of:
        chosen = values[int(number[0]) :]
    else:
        chosen = values[int(number[0]) : int(number[0]) + 1]
    return [tensor for tensor in chosen if tensor is not None]


def values_of(tensor: Tensor) -> list[int]:
    """Return an integer constant's values; empty where they are not known, or too many to be an
    operator's parameter."""
    data = tensor.data
    if data is None or data.dtype.kind not in "iu" or data.size > _MAX_VALUES:
        return []
    return [int(v) for v in np.ravel(data)]


def by_channel(tensor: Tensor) -> bool:
    """True for integers whose scales differ by channel; of floats nothing reads the scales."""
    q = tensor.quantization
    return q is not None and q.per_channel and not tensor.dtype.value.startswith("float")


def _spoken(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        parts = [_spoken(v) for v in value]
        return " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and 0 < value < 1 and (1 / value).is_integer():
        return f"1/{1 / value:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


# The operator's form


@word("it needs {level}")
def _since(node: Node, setting: Setting, level: int) -> bool:
    return setting.level >= level


@word("the operator's version must be at most {most}")
def _version(node: Node, _: Setting, most: int) -> bool:
    return node.op.version <= most


@word("the operator's version must not be {number}")
def _version_is_not(node: Node, _: Setting, number: int) -> bool:
    return node.op.version != number


@word("the number of inputs must be {counts}")
def _inputs(node: Node, _: Setting, counts: list[int]) -> bool:
    return len(node.inputs) in counts


@word("the number of inputs must be at least {least}")
def _inputs_at_least(node: Node, _: Setting, least: int) -> bool:
    return len(node.inputs) >= least


@word("the number of outputs must be {counts}")
def _outputs(node: Node, _: Setting, counts: list[int]) -> bool:
    return len(node.outputs) in counts


@word("{of} must be given")
def _given(node: Node, _: Setting, of: str) -> bool:
    return bool(tensors_of(node, of))


@word("the fused activation must be {names}")
def _activation(node: Node, _: Setting, names: list[str]) -> bool:
    return node.attrs.get("fused_activation_function", "NONE") in names


@word("{name} must be {values}")
def _option(node: Node, _: Setting, name: str, values: list[Any]) -> bool:
    return node.attrs.get(name) in values


@word("{name} must not be {value}")
def _option_is_not(node: Node, _: Setting, name: str, value: Any) -> bool:
    return node.attrs.get(name) != value


@word("{name} must be at least {least}")
def _option_at_least(node: Node, _: Setting, name: str, least: int) -> bool:
    value = node.attrs.get(name)
    return value is None or value >= least


# Types, shapes, constants


@word("{of} must be {types}")
def _types(node: Node, _: Setting, of: str, types: list[str]) -> bool:
    return all(tensor.dtype in types for tensor in tensors_of(node, of))


@word("activations among the {of} must be {types}")
def _activations_are(node: Node, _: Setting, of: str, types: list[str]) -> bool:
    found = tensors_of(node, of)
    return all(t.is_constant or t.is_variable or t.dtype in types for t in found)


@word("{of} must not be {types}")
def _types_not(node: Node, _: Setting, of: str, types: list[str]) -> bool:
    return not any(tensor.dtype in types for tensor in tensors_of(node, of))


@word("{of} must be of the same type as {other}")
def _same_type(node: Node, _: Setting, of: str, other: str) -> bool:
    kinds = {tensor.dtype for tensor in (*tensors_of(node, of), *tensors_of(node, other))}
    return len(kinds) <= 1


@word("the rank of {of} must be {counts}")
def _rank(node: Node, _: Setting, of: str, counts: list[int]) -> bool:
    return all(len(tensor.shape) in counts for tensor in tensors_of(node, of))


@word("the rank of {of} must be at most {most}")
def _rank_at_most(node: Node, _: Setting, of: str, most: int) -> bool:
    return all(len(tensor.shape) <= most for tensor in tensors_of(node, of))


@word("the rank of {of} must be at least {least}")
def _rank_at_least(node: Node, _: Setting, of: str, least: int) -> bool:
    return all(len(tensor.shape) >= least for tensor in tensors_of(node, of))


@word("{of} must have the same shape as {other}")
def _same_shape(node: Node, _: Setting, of: str, other: str) -> bool:
    shapes = {tensor.shape for tensor in (*tensors_of(node, of), *tensors_of(node, other))}
    return len(shapes) <= 1


@word("{of} must have as many dimensions as {other}")
def _same_rank(node: Node, _: Setting, of: str, other: str) -> bool:
    ranks = {len(t.shape) for t in (*tensors_of(node, of), *tensors_of(node, other))}
    return len(ranks) <= 1


@word("{of} must have no dimension of 0")
def _not_empty(node: Node, _: Setting, of: str) -> bool:
    return all(all(tensor.shape) for tensor in tensors_of(node, of))


@word("{of} must be a constant")
def _constant(node: Node, _: Setting, of: str) -> bool:
    return all(tensor.is_constant for tensor in tensors_of(node, of))


@word("{of} must be a constant, or unpacked from one by DEQUANTIZE or DENSIFY")
def _static(node: Node, setting: Setting, of: str) -> bool:
    return all(setting.is_static(tensor) for tensor in tensors_of(node, of))


@word("the number of inputs that are no constants must be {counts}")
def _runtime_inputs(node: Node, _: Setting, counts: list[int]) -> bool:
    return sum(t is not None and not t.is_constant for t in node.inputs) in counts


@word("the number of constant inputs must be {counts}")
def _constant_inputs(node: Node, _: Setting, counts: list[int]) -> bool:
    return sum(t is not None and t.is_constant for t in node.inputs) in counts


@word("both inputs must be given, at most one of them a constant")
def _one_or_two_operands(node: Node, _: Setting) -> bool:
    fixed = sum(t is not None and t.is_constant for t in node.inputs)
    moving = sum(t is not None and not t.is_constant for t in node.inputs)
    return (moving, fixed) in ((2, 0), (1, 1))


@word("the values of {of} must be at least {least}")
def _values_at_least(node: Node, _: Setting, of: str, least: int) -> bool:
    return all(min(values_of(t), default=least) >= least for t in tensors_of(node, of))


@word("the values of {of} must be {allowed}")
def _values_in(node: Node, _: Setting, of: str, allowed: list[int]) -> bool:
    return all(set(values_of(t)) <= set(allowed) for t in tensors_of(node, of))


@word("the values of {of} must not be 0")
def _values_not_zero(node: Node, _: Setting, of: str) -> bool:
    return all(0 not in values_of(t) for t in tensors_of(node, of))


@word("the values of {of} must fit int32")
def _values_fit_int32(node: Node, _: Setting, of: str) -> bool:
    return all(-(2**31) <= v < 2**31 for t in tensors_of(node, of) for v in values_of(t))


# Quantization


@word("8-bit {of} must have one scale, not one for each channel")
def _per_tensor(node: Node, _: Setting, of: str) -> bool:
    return all(_one_scale(t) for t in tensors_of(node, of) if t.dtype in ("int8", "uint8"))


@word("{of} must have a scale")
def _has_scale(node: Node, _: Setting, of: str) -> bool:
    return all(
        t.quantization is not None
        for t in tensors_of(node, of)
        if t.dtype in ("int8", "uint8", "int32")
    )


@word("scales of {of} for each channel must lie along dimension {axis}")
def _channel_axis(node: Node, _: Setting, of: str, axis: int) -> bool:
    return all(
        t.quantization is not None and t.quantization.axis == axis
        for t in tensors_of(node, of)
        if by_channel(t)
    )


@word("scales of {of} must not differ by channel")
def _per_channel_never(node: Node, _: Setting, of: str) -> bool:
    found = tensors_of(node, of)
    return not any(t.quantization is not None and t.quantization.per_channel for t in found)


@word("the zero point of int8 {of} must be 0")
def _signed_zero_point(node: Node, _: Setting, of: str) -> bool:
    return all(t.zero_point == 0 for t in tensors_of(node, of) if t.dtype == "int8")


@word("scales of uint8 {of} must not differ by channel")
def _unsigned_per_tensor(node: Node, _: Setting, of: str) -> bool:
    return all(_one_scale(t) for t in tensors_of(node, of) if t.dtype == "uint8")


@word("zero points of {of} must be 0 where scales differ by channel")
def _channel_zero_points(node: Node, _: Setting, of: str) -> bool:
    return all(
        t.quantization is not None and not any(t.quantization.zero_points)
        for t in tensors_of(node, of)
        if by_channel(t)
    )


@word("the zero point of {of} must be {allowed}")
def _zero_points(node: Node, _: Setting, of: str, allowed: list[int]) -> bool:
    found = [t for t in tensors_of(node, of) if not t.dtype.value.startswith("float")]
    return all(t.zero_point in allowed for t in found)


@word("8-bit {of} must have the scale and zero point of {other}")
def _same_quantization(node: Node, _: Setting, of: str, other: str) -> bool:
    return _quantizations_agree([*tensors_of(node, of), *tensors_of(node, other)])


@word("uint8 {of} must have the scale and zero point of {other}")
def _same_unsigned_quantization(node: Node, _: Setting, of: str, other: str) -> bool:
    found = [*tensors_of(node, of), *tensors_of(node, other)]
    return any(t.dtype != "uint8" for t in found) or _quantizations_agree(found)


@word("the scale of 8-bit {of} must be {least} to {most} times the scale of {other}")
def _scale_ratio(node: Node, _: Setting, of: str, other: str, least: float, most: float) -> bool:
    others = tensors_of(node, other)
    return all(
        np.float32(least) <= np.float32(t.scale) / np.float32(others[0].scale) <= np.float32(most)
        for t in tensors_of(node, of)
        if others and t.dtype in ("int8", "uint8") and t.dtype == others[0].dtype
    )


@word("the scale of 8-bit {of} must be {least} to below {most} times the scale of {other}")
def _scale_ratio_below(
    node: Node, _: Setting, of: str, other: str, least: float, most: float
) -> bool:
    others = tensors_of(node, other)
    return all(
        np.float32(least) <= np.float32(t.scale) / np.float32(others[0].scale) < np.float32(most)
        for t in tensors_of(node, of)
        if others and t.dtype in ("int8", "uint8") and t.dtype == others[0].dtype
    )


def _one_scale(tensor: Tensor) -> bool:
    q = tensor.quantization
    return q is not None and not q.per_channel and q.axis == 0


def _quantizations_agree(found: Iterable[Tensor]) -> bool:
    eight = [t for t in found if t.dtype in ("int8", "uint8")]
    return len({(np.float32(t.scale), t.zero_point) for t in eight}) <= 1
