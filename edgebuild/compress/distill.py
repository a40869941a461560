"""Knowledge distillation as a pass of its own: from the original or from any given model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import nodes
from edgebuild.compress.rebuild import flatten
from edgebuild.compress.setup import Distillation
from edgebuild.compress.training import clone, fine_tune
from edgebuild.errors import InputError

_KINDS = {".keras": "keras", ".h5": "h5", ".hdf5": "h5"}
_MOST_HINTS = 3
_SUFFIX = "_hint"
_HIDDEN = {"Conv1D", "Conv2D", "Dense", "DepthwiseConv2D", "SeparableConv2D", "Add", "ReLU"}


@dataclass(frozen=True)
class Distill:
    """Train with a teacher.

    Args:
        epochs: of training.
        temperature: of the soft targets (Hinton et al. 2015).
        weight: of the teacher's outputs; labels have the rest.
        features: weight of matching hidden values (FitNets, Romero et al. 2015); 0 is off. Up to
            three pairs of layers of equal names are matched, spread over the depth; where they
            have different widths, a linear map learns to go from one to the other.
        teacher: a ``.keras`` or ``.h5`` file; empty for the original.
        learning_rate: 0 takes the training set-up's.
    """

    name: ClassVar[str] = "distill"

    epochs: int = 10
    temperature: float = 3.0
    weight: float = 0.7
    features: float = 0.0
    teacher: str = field(default="", metadata={"file": True})
    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if self.temperature <= 0.0:
            raise InputError(f"distill: temperature {self.temperature:g} is not above 0")
        if not 0.0 <= self.weight <= 1.0:
            raise InputError(f"distill: weight {self.weight:g} is not between 0 and 1")
        if self.features < 0.0 or self.learning_rate < 0.0 or self.epochs < 0:
            raise InputError("distill: epochs, features and learning_rate are at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the trained state, and which hidden layers were matched."""
        if not self.epochs:
            return state, ("no epochs: nothing was trained",)
        teacher = self._teacher(context)
        pairs = hint_layers(state.model, teacher) if self.features else []
        how = Distillation(self.temperature, self.weight, len(pairs), self.features)
        student, shown = state, teacher
        if pairs:
            student = state.replace(model=_with_hints(state.model, teacher, pairs))
            shown = _with_outputs(teacher, pairs)
        trained = fine_tune(
            student,
            context,
            epochs=self.epochs,
            learning_rate=self.learning_rate or None,
            distill=how,
            teacher=shown,
        )
        notes = [f"teacher: {Path(self.teacher).name if self.teacher else 'the original'}"]
        if self.features:
            notes.append(f"matched: {', '.join(pairs) or 'no layers of equal names and places'}")
        return state.replace(model=_weights_of(trained.model, state.model)), tuple(notes)

    def _teacher(self, context: Context) -> Any:
        if not self.teacher:
            return context.teacher
        import keras

        from edgebuild.models.keras_file import load_keras_model

        path = Path(self.teacher)
        if not path.is_file():
            raise InputError(f"distill: {path}: no such file", hint="teacher=model.keras")
        kind = _KINDS.get(path.suffix.lower())
        if kind is None:
            raise InputError(
                f"distill: {path} is no .keras or .h5 file", hint="teacher=model.keras"
            )
        model = load_keras_model(path, kind, trust=context.trust)
        if isinstance(model, keras.Sequential):
            model = keras.Model(model.inputs, model.outputs, name=model.name)
        model = flatten(model)
        for what, ours, theirs in (
            ("inputs", context.teacher.inputs, model.inputs),
            ("outputs", context.teacher.outputs, model.outputs),
        ):
            mine, other = ([tuple(t.shape[1:]) for t in tensors] for tensors in (ours, theirs))
            if mine != other:
                raise InputError(f"distill: {path} has the {what} {other}, the model {mine}")
        return model


def hint_layers(student: Any, teacher: Any) -> list[str]:
    """Return the names of hidden layers to match: in both models, at equal places of the picture,
    at most three, spread over the depth."""
    ours, theirs = (_hidden(model) for model in (student, teacher))
    common = [
        name
        for name, tensor in ours.items()
        if name in theirs and tensor.shape[1:-1] == theirs[name].shape[1:-1]
    ]
    count = min(_MOST_HINTS, len(common))
    return [common[round((i + 1) * len(common) / (count + 1)) - 1] for i in range(count)]


def _hidden(model: Any) -> dict[str, Any]:
    """Return the first output of each layer by its name, in order, without the model's own."""
    last = {id(tensor) for tensor in model.outputs}
    found: dict[str, Any] = {}
    for call in nodes(model):
        tensor = call.output_tensors[0] if call.output_tensors else None
        if type(call.operation).__name__ in _HIDDEN and id(tensor) not in last:
            found.setdefault(call.operation.name, tensor)
    return found


def _with_outputs(model: Any, names: list[str]) -> Any:
    import keras

    hidden = _hidden(model)
    return keras.Model(model.inputs, [*model.outputs, *(hidden[name] for name in names)])


def _with_hints(model: Any, teacher: Any, names: list[str]) -> Any:
    """Return a copy of the student that also gives hidden values as wide as the teacher's."""
    import keras

    copy = clone(model)
    ours, theirs = _hidden(copy), _hidden(teacher)
    hints = []
    for name in names:
        value, width = ours[name], int(theirs[name].shape[-1])
        if value.shape[-1] != width:
            value = keras.layers.Dense(width, use_bias=False, name=f"{name}{_SUFFIX}")(value)
        hints.append(value)
    return keras.Model(copy.inputs, [*copy.outputs, *hints], name=model.name)


def _weights_of(trained: Any, model: Any) -> Any:
    """Return a copy of ``model`` with the weights that ``trained`` has under the same paths."""
    learned = {variable.path: variable for variable in trained.variables}
    copy = clone(model)
    for variable in copy.variables:
        if variable.path in learned:
            variable.assign(learned[variable.path])
    return copy
