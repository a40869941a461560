"""Layers that the Edge TPU does not map become layers that it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import nodes
from edgebuild.compress.edgetpu_activations import UNMAPPED, activation_of, replacement
from edgebuild.compress.edgetpu_layers import Rewrite, Site, rewrite
from edgebuild.compress.rebuild import copy_layer, copy_weights, flatten, rebuild
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError

_MAX_ROUNDS = 50
_STAYS = {
    "LayerNormalization": "normalizes each sample separately",
    "GroupNormalization": "normalizes each sample separately",
    "MultiHeadAttention": "multiplies activations with each other",
    "Dot": "multiplies activations with each other",
    "GRU": "has no operator",
    "SimpleRNN": "has no operator",
}
"""Layers without a form that maps."""


@dataclass(frozen=True)
class MapEdgeTpu:
    """Replace layers by others that the Edge TPU maps, and say what stays on the CPU.

    Exact forms change nothing but rounding; approximations are fine-tuned towards the original.

    Args:
        approximate: replace also activations that have only a near form (GELU, ELU, SELU, Mish).
        epochs: of fine-tuning after approximations; exact forms need none.
    """

    name: ClassVar[str] = "map_edgetpu"

    approximate: bool = True
    epochs: int = 5

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if self.epochs < 0:
            raise InputError("map_edgetpu: epochs is at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Rewrite until no rule applies, fine-tune what is only near, and return the notes."""
        now, notes, exact = state, list[str](), True
        for _ in range(_MAX_ROUNDS):
            chosen = _choose(now.model, self.approximate)
            if not chosen:
                break
            now = _rewritten(now, chosen)
            notes += [found.note for found in chosen.values()]
            exact = exact and all(found.exact for found in chosen.values())
        left = _left(now.model)
        if now is state:
            return state, ("no layer was changed", *left)
        if not exact and self.epochs:
            now = fine_tune(now, context, epochs=self.epochs)
        return now, (*notes, *left)


def _choose(model: Any, approximate: bool) -> dict[int, Rewrite]:
    """Return {id of a layer: its rewrite}, none of which touches a layer of another."""
    import keras

    calls = nodes(model)
    times: dict[int, int] = {}
    readers: dict[int, list[Any]] = {}
    for call in calls:
        times[id(call.operation)] = times.get(id(call.operation), 0) + 1
        for tensor in call.input_tensors:
            readers.setdefault(id(tensor), []).append(call)
    outputs = {id(tensor) for tensor in model.outputs}
    found: dict[int, Rewrite] = {}
    touched: set[int] = set()
    for call in calls:
        layer = call.operation
        if not call.input_tensors or not isinstance(layer, keras.Layer) or times[id(layer)] > 1:
            continue
        after = readers.get(id(call.output_tensors[0]), [])
        single = len(after) == 1 and id(call.output_tensors[0]) not in outputs
        reader = after[0] if single and times[id(after[0].operation)] == 1 else None
        if reader is not None and not isinstance(reader.operation, keras.Layer):
            reader = None
        made = rewrite(Site(call, reader, approximate))
        if made is None:
            continue
        layers = {id(layer)} | ({id(made.drop.operation)} if made.drop is not None else set())
        if touched.isdisjoint(layers):
            touched |= layers
            found[id(layer)] = made
    return found


def _rewritten(state: State, chosen: dict[int, Rewrite]) -> State:
    """Return the model with the chosen layers in their new form."""
    import keras

    calls = {id(call.operation): call for call in nodes(state.model)}
    instead: dict[int, Any] = {}
    for key, made in chosen.items():
        if made.drop is not None:
            instead[id(made.drop.output_tensors[0])] = calls[key].output_tensors[0]

    def make(layer: Any) -> Any:
        made = chosen.get(id(layer))
        if made is None:
            return copy_layer(layer)
        inputs = [
            keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in calls[id(layer)].input_tensors
        ]
        given = inputs if len(inputs) > 1 else inputs[0]
        return keras.Model(given, made.build(inputs), name=f"{layer.name}_mapped")

    model, pairs = rebuild(state.model, make, instead=instead)
    copy_weights((old, new) for old, new in pairs if id(old) not in chosen)
    kernels = {old.name: chosen[id(old)].kernel for old, _ in pairs if id(old) in chosen}
    return State(
        flatten(model),
        {path: _carried(path, a, kernels, False) for path, a in state.masks.items()},
        {path: _carried(path, a, kernels, -1) for path, a in state.clusters.items()},
    )


def _carried(path: str, array: Any, kernels: dict[str, Any], fill: Any) -> Any:
    """Return a mask or clustering in the new shape of its kernel."""
    layer, _, variable = path.rpartition("/")
    change = kernels.get(layer)
    return change(array, fill) if change is not None and "kernel" in variable else array


def _left(model: Any) -> list[str]:
    """Return what is known to stay on the CPU."""
    found = []
    for call in nodes(model):
        layer, kind = call.operation, type(call.operation).__name__
        act = activation_of(layer)
        if kind in _STAYS:
            found.append(f"{layer.name}: {kind} stays on the CPU, it {_STAYS[kind]}")
        elif act is not None and (act[0] in UNMAPPED or replacement(*act) is not None):
            found.append(f"{layer.name}: {act[0]} stays on the CPU")
        elif (act is not None and act[0] == "softmax") or kind == "Softmax":
            rows = [d for d in call.output_tensors[0].shape[1:-1] if d != 1]
            if rows:
                found.append(f"{layer.name}: a softmax of rows stays on the CPU")
    return list(dict.fromkeys(found))
