"""Build a functional Keras model again from its calls: with other layers, without some, or flat."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgebuild.compress.costs import nodes
from edgebuild.errors import InputError

MakeLayer = Callable[[Any], Any]
"""Maps a layer to the new one in its place."""


def copy_layer(layer: Any) -> Any:
    """Return a layer of the same configuration, with weights of its own when it is built."""
    return layer.__class__.from_config(layer.get_config())


def rebuild(
    model: Any,
    make: MakeLayer = copy_layer,
    *,
    instead: Mapping[int, Any] | None = None,
    functions: Mapping[str, Any] | None = None,
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return a model of new layers and the pairs (old layer, new layer), each shared layer once.

    ``instead`` maps the ``id`` of a tensor to the tensor that is read in its place; calls whose
    outputs nobody reads then are left out. ``functions`` of ``keras.ops`` come in place of those
    of that name. Weights are not copied.
    """
    import keras

    work = _Rebuild(make, instead or {}, functions or {})
    for tensor in model.inputs:
        work.tensors[id(tensor)] = _new_input(tensor)
    needed = needed_calls(model, work.instead)
    for call in nodes(model):
        if call.input_tensors and id(call) in needed:
            work.call(call)
    inputs = keras.tree.map_structure(lambda t: work.tensors[id(t)], model._inputs_struct)
    outputs = keras.tree.map_structure(work.read, model._outputs_struct)
    return keras.Model(inputs, outputs, name=model.name), list(work.made.values())


def flatten(model: Any, shapes: Sequence[Sequence[int]] | None = None) -> Any:
    """Return ``model`` with nested models resolved into their layers, and each layer that is the
    activation of another behind it; itself when there is neither.

    A layer whose name is taken gets the nested model's name, or the other layer's, in front.
    ``shapes`` of all inputs, each with a batch in front, take the place of those that the model
    leaves open; InputError where its layers do not take them.
    """
    given = [tuple(tensor.shape) for tensor in model.inputs]
    wanted = [(shape[0], *one[1:]) for shape, one in zip(given, shapes or given, strict=True)]
    nested = any(_inner(x) is not None or _activation(x) is not None for x in model.layers)
    if not nested and wanted == given:
        return model
    try:
        return _flattened(model, wanted)
    except (ValueError, TypeError) as error:
        if wanted == given:
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"the model cannot be compressed for inputs of {' and '.join(map(str, shapes or ()))}: "
            f"{first[:200]}",
            hint="save it with a keras.Input of that shape, and give that without --input-shape",
        ) from error


def _flattened(model: Any, shapes: Sequence[tuple[int | None, ...]]) -> Any:
    import keras

    work = _Rebuild(_without_activation, flat=True)
    for tensor, shape in zip(model.inputs, shapes, strict=True):
        work.tensors[id(tensor)] = _new_input(tensor, shape)
    work.calls(model)
    inputs = keras.tree.map_structure(lambda t: work.tensors[id(t)], model._inputs_struct)
    outputs = keras.tree.map_structure(work.read, model._outputs_struct)
    flat = keras.Model(inputs, outputs, name=model.name)
    for old, new in work.made.values():
        if old.built:  # an activation is when it is first called
            new.set_weights(old.get_weights()[: len(new.weights)])
            finish(new)
    return flat


def copy_weights(pairs: Iterable[tuple[Any, Any]]) -> None:
    """Give each new layer the weights of the old one, of equal shapes."""
    for old, new in pairs:
        new.set_weights(old.get_weights())
        finish(new)


def unused(name: str, taken: Collection[str]) -> str:
    """Return ``name``, with the first number from 2 behind it where it is ``taken``."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(found for found in itertools.chain([name], numbered) if found not in taken)


def finish(layer: Any) -> None:
    """Let a layer take in weights that it was given: some (normalization of inputs) compute with
    values that they derive from them."""
    if layer.weights and hasattr(layer, "finalize_state"):
        layer.finalize_state()


@dataclass
class _Rebuild:
    """The state of one rebuilding: new tensors and (old, new) layers by the ``id`` of the old."""

    make: MakeLayer
    instead: Mapping[int, Any] = field(default_factory=dict)
    functions: Mapping[str, Any] = field(default_factory=dict)
    flat: bool = False
    tensors: dict[int, Any] = field(default_factory=dict)
    made: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def read(self, tensor: Any) -> Any:
        """Return the new tensor for an old one."""
        while id(tensor) in self.instead:
            tensor = self.instead[id(tensor)]
        return self.tensors[id(tensor)]

    def calls(self, model: Any, prefix: str = "") -> None:
        """Make all calls of a model whose inputs are known."""
        for call in nodes(model):
            if call.input_tensors:
                self.call(call, prefix)

    def call(self, call: Any, prefix: str = "") -> None:
        """Make one call, or those of the nested model that it is a call of."""
        import keras

        known = {id(tensor): self.read(tensor) for tensor in call.input_tensors}
        args, kwargs = call.arguments.fill_in(known)
        operation = call.operation
        inner = _inner(operation) if self.flat else None
        if inner is not None:
            given = keras.tree.flatten((args, kwargs.get("inputs", ())))
            self.tensors.update(
                {id(old): new for old, new in zip(inner.inputs, given, strict=False)}
            )
            self.calls(inner, f"{operation.name}_")
            outputs = [self.read(tensor) for tensor in inner.outputs]
        else:
            outputs = keras.tree.flatten(self.layer(operation, prefix)(*args, **kwargs))
            last = _activation(operation) if self.flat else None
            if last is not None:
                outputs = [self.layer(last, f"{prefix}{operation.name}_")(outputs[0])]
        for old, new in zip(call.output_tensors, outputs, strict=False):
            self.tensors[id(old)] = new

    def layer(self, operation: Any, prefix: str) -> Any:
        """Return what is called in place of ``operation``."""
        import keras

        if not isinstance(operation, keras.Layer):
            return self.functions.get(operation.name, operation)  # it has no weights
        if id(operation) not in self.made:
            new = self.make(operation)
            if new.name in self.names:
                new.name = unused(f"{prefix}{new.name}", self.names)
            self.names.add(new.name)
            self.made[id(operation)] = (operation, new)
        return self.made[id(operation)][1]


def needed_calls(model: Any, instead: Mapping[int, Any]) -> set[int]:
    """Return the ``id`` of each call that the outputs depend on; ``instead`` as for ``rebuild``."""
    makers = {id(t): call for call in nodes(model) for t in call.output_tensors}
    waiting, found = list(model.outputs), set()
    while waiting:
        tensor = waiting.pop()
        while id(tensor) in instead:
            tensor = instead[id(tensor)]
        call = makers[id(tensor)]
        if id(call) not in found:
            found.add(id(call))
            waiting += call.input_tensors
    return found


def _new_input(tensor: Any, shape: Sequence[int | None] | None = None) -> Any:
    import keras

    return keras.Input(
        batch_shape=tensor.shape if shape is None else shape,
        dtype=tensor.dtype,
        name=tensor._keras_history.operation.name,
    )


def _inner(operation: Any) -> Any:
    """Return the functional model that a nested model is, None for a layer."""
    model = getattr(operation, "_functional", None) or operation
    return model if hasattr(model, "layers") and hasattr(model, "_nodes_by_depth") else None


def _activation(operation: Any) -> Any:
    """Return the layer that is the activation at the end of one of Keras's layers, None where that
    is a function or there is none."""
    import keras

    found = getattr(operation, "activation", None)
    known = type(operation).__module__.startswith("keras.") and not hasattr(operation, "cell")
    return found if known and isinstance(found, keras.Layer) else None


def _without_activation(layer: Any) -> Any:
    """Return a copy of a layer, without a layer that is its activation."""
    if _activation(layer) is None:
        return copy_layer(layer)
    return layer.__class__.from_config({**layer.get_config(), "activation": "linear"})
