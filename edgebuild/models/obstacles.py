"""What keeps TensorFlow's converter from a model, in words. For the child process.

Each cause was found by experiment with TensorFlow 2.21 and Keras 3.15. What is not known stays
what it is: a converter that failed, with its own words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgebuild.errors import EdgebuildError, ModelError, ToolError

_LOOPS = ("While", "StatelessWhile")
_ASSIGNMENTS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
_SHOWN = 5
_MISSING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_DIAGNOSTIC = re.compile(r"^\S.*:\d+:\d+: error: (.+)$", re.MULTILINE)
_UNROLL = (
    "build the model again with unroll=True in these layers and take over the weights "
    "(new.set_weights(model.get_weights())), so that no loop is left"
)


CONVERTER_HINT = (
    "the model itself runs, so this is a limit of the converter: try another version of "
    "TensorFlow, or remove layers until it converts"
)


@dataclass(frozen=True)
class Danger:
    """What a converter that crashes may have stumbled over: words that go on after "while", and
    what to try."""

    doing: str
    hint: str


def refuse_state(graph: Any, model: Any) -> None:
    """Raise ModelError for a model that keeps something in variables between calls.

    ``graph`` is a TensorFlow graph of ``model``, a Keras model or SavedModel.
    """
    layers = _layers(graph, model, _ASSIGNMENTS)
    if layers:
        raise ModelError(
            f"the model keeps state in variables between calls, which a .tflite cannot: {layers}",
            hint="save it with stateful=False and unroll=True; where the state has to last, make "
            "it an input and an output (return_state=True, initial_state=[...])",
        )


def danger(graph: Any, model: Any) -> Danger | None:
    """Return what makes the converter crash when it calibrates ``model``, None where nothing that
    is known does."""
    layers = _layers(graph, model, _LOOPS)
    if not layers:
        return None
    return Danger(f"calibrating a model with {layers}, whose loop it cannot calibrate", _UNROLL)


def converter_error(error: Exception, wanted: str, graph: Any, model: Any) -> EdgebuildError:
    """Return the error for what the converter says when it cannot make ``wanted``."""
    text = str(error)
    missing = dict.fromkeys(_MISSING.findall(text))
    if missing:
        return ModelError(
            f"TFLite has no operator for {', '.join(missing)}",
            details=[
                f"{kind}: in {_layers(graph, model, (kind,))}" for kind in [*missing][:_SHOWN]
            ],
            hint="replace these layers by others, or take them out of the model and compute them "
            "in the program that calls it",
        )
    first, *rest = reasons(text) or [type(error).__name__]
    return ToolError(
        f"TensorFlow's converter failed to make a {wanted} model: {first}",
        details=rest[:4],
        hint=CONVERTER_HINT,
    )


def reasons(text: str) -> list[str]:
    """Return the lines of a converter's message that give a reason: compiler diagnostics come with
    the place in Python from which TensorFlow was called, which tells nothing of the model."""
    found = [match[1] for match in _DIAGNOSTIC.finditer(text)]
    lines = found or [line.strip() for line in text.splitlines() if line.strip()]
    return [line[:200] for line in dict.fromkeys(lines)]


def _layers(graph: Any, model: Any, kinds: tuple[str, ...]) -> str:
    """Return in words which layers operators of such kinds are in; nothing where there are none."""
    known = _known_layers(model)
    found: dict[str, None] = {}
    for name in _nodes(graph, kinds):
        found[_layer_of(name, known)] = None
    shown = [*found][:_SHOWN]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(shown) + more


def _nodes(graph: Any, kinds: tuple[str, ...]) -> Iterator[str]:
    definition = graph.as_graph_def()
    for nodes in (definition.node, *(f.node_def for f in definition.library.function)):
        yield from (node.name for node in nodes if node.op in kinds)


def _known_layers(model: Any) -> Mapping[str, str]:
    """Return {name: class} of the layers of a Keras model and of the models nested in it."""
    found = getattr(model, "_flatten_layers", None)
    layers = () if found is None else found(include_self=False)
    return {x.name: type(x).__name__ for x in layers if not hasattr(x, "_nodes_by_depth")}


def _layer_of(node: str, known: Mapping[str, str]) -> str:
    """Return the layer that a node belongs to: the first part of its name that is one's (a
    ``Bidirectional`` holds others), with or without the number that a repeated name gets."""
    parts = node.split("/")
    for part in parts:
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in known:
                return f"{known[name]} '{name}'"
    return f"'{'/'.join(parts[:-1]) or node}'"
