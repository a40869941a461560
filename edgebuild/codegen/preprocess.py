"""What the generated library offers to prepare an input: ``<name>_preprocess``.

It takes the values that the original model takes, in float32, and writes the input's integers.
"""

from __future__ import annotations

from typing import Any

from edgebuild.codegen.names import c_float, preprocess_function
from edgebuild.errors import InputError
from edgebuild.graph import Graph
from edgebuild.models.preprocessing import Preprocessing, Step

_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_ROW = 8


def preprocess_functions(
    graph: Graph, preprocessing: Preprocessing, name: str
) -> list[dict[str, Any]]:
    """Return for each input that is prepared what the templates need: the function's name (with
    the input's number where the model has several inputs), its steps and the input's numbers.

    Where the input comes by rows, the function prepares one; InputError where rows are scaled in
    unlike ways.
    """
    found = []
    for position, steps in sorted(preprocessing.steps.items()):
        tensor = graph.input_tensors[position]
        function = preprocess_function(name, position, len(graph.inputs))
        count = tensor.elements // (tensor.shape[1] if graph.input_by_rows else 1)
        if any(count % len(step.values) for step in steps):
            raise InputError(
                f"{graph.name}: --input-by rows: the model's own scaling of input '{tensor.name}' "
                "is not the same for each row",
                hint="leave --input-by rows out, or scale by channel",
            )
        found.append(
            {
                "name": function,
                "input": position,
                "count": count,
                "ctype": tensor.dtype.c,
                "scale": c_float(tensor.scale),
                "zero_point": tensor.zero_point,
                "low": -(1 << (tensor.dtype.bits - 1)),
                "high": (1 << (tensor.dtype.bits - 1)) - 1,
                "steps": [_step(step, number, function) for number, step in enumerate(steps)],
                "text": " ".join(_text(step) for step in steps),
            }
        )
    return found


def _step(step: Step, number: int, function: str) -> dict[str, Any]:
    words = [c_float(float(value)) for value in step.values]
    array = f"{function}_{step.kind}{number}"
    return {
        "operator": _OPERATORS[step.kind],
        "array": array if len(words) > 1 else "",
        "length": len(words),
        "lines": [", ".join(words[i : i + _ROW]) + "," for i in range(0, len(words), _ROW)],
        "operand": f"{array}[i % {len(words)}U]" if len(words) > 1 else words[0],
    }


def _text(step: Step) -> str:
    """Return a step as people read it: ``- 3.5``, or where there are several numbers how many."""
    if len(step.values) == 1:
        return f"{_OPERATORS[step.kind]} {float(step.values[0]):.9g}"
    return f"{_OPERATORS[step.kind]} one of {len(step.values)} numbers"
