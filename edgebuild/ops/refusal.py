"""All that a model has and edgebuild's kernels do not, as a value: check, build and inspect show
the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from edgebuild.graph import Node, Tensor
from edgebuild.ops.origins import keras_layer, origin
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from edgebuild.ops.tflite_micro_formats import known_to_run
from edgebuild.units import listed

NEEDS = "needs: "
FOREIGN = "no kernel computes with "
"""How the reasons begin that name a constraint, and types that no kernel has."""

NO_KERNEL = "no kernel for this operator"
"""The reason where the operator has none in any form."""

MICRO = {
    "supported": "supports this operator",
    "formats": "supports this operator in these number formats, but perhaps not in this form",
    "operator": "has this operator, but perhaps not in these number formats",
    "absent": "does not support this operator",
}
"""What is known of TFLite Micro and an operator, and how it is said."""

_EXPORT_ALL = "export the model again, with its inputs and outputs"
_ONE_SUBGRAPH = (
    "export the model as one function without control flow: recurrent layers with unroll=True, no "
    "tf.while_loop or tf.cond, and of several signatures the one to run"
)
_SHOWN_PLACES = 4
_SPELLED = 3


@dataclass(frozen=True)
class Place:
    """One operator of the model: its number in the file, what it writes, and the Keras layer that
    the name gives away (empty where it gives none)."""

    operator: int
    name: str
    layer: str


@dataclass(frozen=True)
class RefusedForm:
    """Operators of one kind, with the same number formats, that fail for the same reason.

    ``formats`` is what was found, "int16, int8 -> int16"; ``keras`` and ``instead`` may be empty.
    ``in_tflite_micro`` tells whether TFLite Micro has the operator, in whatever formats;
    ``tflite_micro`` what is known of it in these (``MICRO``).
    """

    kind: str
    formats: str
    reason: str
    places: tuple[Place, ...]
    keras: str
    instead: str
    in_tflite_micro: bool
    tflite_micro: str

    def lines(self) -> list[str]:
        """Return what people read: what and where, then where it comes from and what to do."""
        shown = listed([str(place.operator) for place in self.places], _SHOWN_PLACES)
        word = "operators" if len(self.places) > 1 else "operator"
        count = f"{len(self.places)} x " if len(self.places) > 1 else ""
        found = [f"{count}{self.kind} ({self.formats}), {word} {shown}: {self.reason}"]
        layers = dict.fromkeys(place.layer for place in self.places if place.layer)
        origins = [f"comes from {self.keras}"] if self.keras else []
        if layers:
            origins.append(f"in layer {listed(list(layers), _SHOWN_PLACES)}")
        said = "; ".join(part for part in (" ".join(origins), self.instead) if part)
        micro = f"TFLite Micro {MICRO[self.tflite_micro]}"
        return [*found, f"  {said} ({micro})" if said else f"  {micro}"]


@dataclass(frozen=True)
class Unsupported:
    """What keeps a model from the kernels of generated C.

    ``problems`` concern the model as a whole: further subgraphs, no inputs. ``contradictions`` are
    errors of the file: what it says of its tensors cannot be true. ``is_float`` is True for a model
    that computes on floats: it is quantized first, and its forms are then others, so that only
    kinds without any kernel count.
    """

    operators: int
    forms: tuple[RefusedForm, ...]
    problems: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    is_float: bool = False

    def __bool__(self) -> bool:
        return bool(self.forms or self.problems or self.contradictions or self.is_float)

    def summary(self) -> str:
        """Return one sentence; empty where everything is supported."""
        if self.is_float:
            return "this is a float model, and generated C computes on integers"
        count = sum(len(form.places) for form in self.forms)
        if count:
            of = f"{count} of {self.operators} operators {'has' if count == 1 else 'have'}"
            of = "the model's one operator has" if self.operators == 1 else of
            kinds = len({form.kind for form in self.forms})
            return f"{of} no kernel in edgebuild" + (f" ({kinds} kinds)" if kinds > 1 else "")
        if self.contradictions:
            return f"the file contradicts itself: {self.contradictions[0]}"
        return self.problems[0] if self.problems else ""

    def lines(self) -> list[str]:
        """Return the rest in words."""
        said = self.summary()
        whole = [
            *self.problems,
            *(f"the file contradicts itself: {c}" for c in self.contradictions),
        ]
        return [
            *(line for line in whole if line != said),
            *(line for form in self.forms for line in form.lines()),
        ]

    @property
    def only_contradicts(self) -> bool:
        """True where every operator has a kernel, and the file is wrong."""
        return bool(self.contradictions) and not (self.forms or self.problems or self.is_float)

    def hint(self) -> str:
        """Return what to try."""
        if self.is_float:
            return (
                "`edgebuild build --data calibration.npz` quantizes it to int8 "
                "(--data random for a first look)"
            )
        if self.only_contradicts:
            return "export the model again; the converter writes these values"
        return "; ".join([*self._hints_of_problems(), *self._hints_of_forms()])

    def _hints_of_problems(self) -> list[str]:
        """Return what to try against what concerns the model as a whole."""
        ways = {"no inputs": _EXPORT_ALL, "no outputs": _EXPORT_ALL, "subgraphs": _ONE_SUBGRAPH}
        return list(
            dict.fromkeys(way for word, way in ways.items() if word in " ".join(self.problems))
        )

    def _hints_of_forms(self) -> list[str]:
        """Return what to try against operators that have no kernel."""
        supported = "`edgebuild ops list` shows what is supported"
        if not self.forms:
            return [] if self._hints_of_problems() else [supported]
        return [self._hint_of_forms(supported)]

    def _hint_of_forms(self, supported: str) -> str:
        if all("int16" in form.formats for form in self.forms):
            return (
                "edgebuild's kernels are int8 and these operators are int16: quantize the float "
                "model to int8, e.g. edgebuild build model.keras --data set.npz"
            )
        if all(form.reason.startswith(FOREIGN) for form in self.forms):
            return (
                "edgebuild's kernels are int8: quantize the float model to int8, e.g. edgebuild "
                "build model.keras --data set.npz"
            )
        ways = {form.kind: form.instead for form in self.forms}
        if not any(ways.values()):
            needs = all(form.reason.startswith(NEEDS) for form in self.forms)
            change = "change the model to what is needed and export it again; " if needs else ""
            return f"{change}{supported}"
        if len(ways) > 1:
            return f"change the model as said above, and export it again; {supported}"
        ((kind, way),) = ways.items()
        if way.startswith("use "):
            return f"{way} instead of {kind} in the model, train and export it again; {supported}"
        return f"{way}; {supported}"

    def reasons(self) -> list[str]:
        """Return one short sentence for each thing that is unsupported; empty where nothing is."""
        return [
            *((self.summary(),) if self.is_float else ()),
            *self.problems,
            *self.contradictions,
            *(form.lines()[0] for form in self.forms),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        return asdict(self)


@dataclass
class FormGroups:
    """Collects operators that have no kernel into forms, in order of first appearance."""

    _found: dict[tuple[str, str, str, str], list[Place]] = field(default_factory=dict)

    def add(self, node: Node, reason: str) -> None:
        """Add one operator and why it has no kernel."""
        place = Place(node.op.source_index, node.name, keras_layer(node.name))
        form = (node.kind, formats(node), reason, _in_tflite_micro(node, reason))
        self._found.setdefault(form, []).append(place)

    def forms(self) -> tuple[RefusedForm, ...]:
        """Return the forms."""
        return tuple(
            RefusedForm(
                *(kind, types, reason, tuple(places)),
                origin(kind).keras,
                origin(kind).instead,
                kind in RESOLVER_METHODS,
                micro,
            )
            for (kind, types, reason, micro), places in self._found.items()
        )


def _in_tflite_micro(node: Node, reason: str) -> str:
    """Return what is known of TFLite Micro and this operator, a key of ``MICRO``."""
    if node.kind not in RESOLVER_METHODS:
        return "absent"
    if not known_to_run(node):
        return "operator"
    tensors = [t for t in (*node.inputs, *node.outputs) if t is not None]
    odd = any(t.is_variable or t.sparse for t in tensors) or not all(t.elements for t in tensors)
    return "supported" if reason == NO_KERNEL and not odd else "formats"


def formats(node: Node) -> str:
    """Return an operator's number formats: ``int8, int32 -> int8``."""
    return f"{_types(node.inputs) or 'nothing'} -> {_types(node.outputs) or 'nothing'}"


def _types(tensors: Iterable[Tensor | None]) -> str:
    """Return the types in order; many equal ones behind each other as ``12 x int8``."""
    words = [str(t.dtype) + (" per channel" if _per_channel(t) else "") for t in tensors if t]
    runs = [(word, len(list(run))) for word, run in groupby(words)]
    return ", ".join(
        f"{count} x {word}" if count > _SPELLED else ", ".join([word] * count)
        for word, count in runs
    )


def _per_channel(tensor: Tensor) -> bool:
    return tensor.quantization is not None and tensor.quantization.per_channel
