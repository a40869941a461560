"""What every compression pass takes and gives.

A pass is a frozen dataclass whose fields are its options. It maps a State to a State and never
changes the model that it was given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from edgebuild.compress.splits import Split
from edgebuild.errors import InputError
from edgebuild.targets import CpuFeatures

Progress = Callable[[str], None]
"""Told in a few words what is going on."""


@dataclass(frozen=True, eq=False)
class State:
    """A Keras model on its way, with what earlier passes promised of its weights.

    Both mappings are by the variable's ``path`` and have its shape. ``masks`` are True where a
    weight lives and False where it stays zero. In ``clusters`` weights of equal number (0, 1, ...)
    share one value; -1 is a weight of its own, and a masked weight is -1 too. ``flatbuffer`` is the
    finished ``.tflite`` once the numbers are fixed (``quantize``): ``model`` is then what it was
    made of, and what is shipped is ``flatbuffer``.
    """

    model: Any
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    clusters: Mapping[str, np.ndarray] = field(default_factory=dict)
    flatbuffer: bytes | None = None

    def replace(self, **changes: Any) -> State:
        """Return a copy with other fields."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Cost:
    """What a model costs: numbers of one inference, and the stored ``bytes`` of its constants
    (4 for each parameter until the model is quantized)."""

    parameters: int
    nonzero: int
    macs: int
    bytes: int = 0


@dataclass(frozen=True)
class Quality:
    """How good a model is on the validation split: higher is better, 1 is perfect.

    ``measure`` says what ``value`` is: ``accuracy``, ``R2`` (coefficient of determination, of
    labels that are values), ``accuracy and R2`` (the mean over outputs of both kinds), ``agreement
    with the original`` (share of equal classes), or ``similarity to the original`` (1 -
    noise-to-signal ratio of the outputs).
    ``metrics`` are the user's own, where there are labels.
    """

    value: float
    measure: str
    samples: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Context:
    """What a pass works with.

    ``validation`` is what choices are made on; the test set is not here. ``teacher`` is the
    original (or another) model, never changed. ``setup`` is ``edgebuild.compress.setup``'s.
    ``checkpoints`` is a folder that survives a kill, None to keep nothing. ``trust`` says whether
    model files may run code.
    """

    train: Split
    validation: Split
    teacher: Any
    setup: Any
    features: CpuFeatures = field(default_factory=CpuFeatures)
    seed: int = 0
    checkpoints: Path | None = None
    trust: bool = False
    progress: Progress = lambda _: None


@dataclass(frozen=True, eq=False)
class PassResult:
    """What a pass made of a model and what that did to cost and quality."""

    state: State
    changed: bool
    notes: tuple[str, ...]
    cost: tuple[Cost, Cost]
    quality: tuple[Quality, Quality]


@dataclass(frozen=True)
class CompressionStep:
    """What one pass did, for the report. Cost and quality (on the validation split) are before and
    after."""

    name: str
    options: Mapping[str, Any]
    notes: tuple[str, ...]
    cost: tuple[Cost, Cost]
    quality: tuple[Quality, Quality]


def step_from_json(row: Mapping[str, Any]) -> CompressionStep:
    """Return the step whose fields ``row`` holds as plain JSON values."""
    before, after = (Cost(**cost) for cost in row["cost"])
    first, second = (Quality(**quality) for quality in row["quality"])
    return CompressionStep(
        row["name"], row["options"], tuple(row["notes"]), (before, after), (first, second)
    )


class Pass(Protocol):
    """One compression pass; ``name`` is what recipes call it."""

    name: ClassVar[str]

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the compressed state, and notes for the user: what was done, layer by layer.

        InputError when an option cannot be right for this model. Returning ``state`` itself means
        that nothing was changed.
        """
        ...


def check_order(step: str, before: Collection[str]) -> None:
    """Refuse a pass that cannot follow those ``before``: after quantize the numbers are fixed, and
    huffman packs what is finished."""
    if "huffman" in before:
        raise InputError(
            f"huffman must come after {step}"
            if step != "huffman"
            else "huffman may occur only once",
            hint="huffman must come last: it packs the weights of the finished model",
        )
    if "quantize" in before and step != "huffman":
        raise InputError(
            f"quantize must come after {step}"
            if step != "quantize"
            else "quantize may occur only once",
            hint="only huffman may follow quantize",
        )


def run_pass(step: Pass, state: State, context: Context) -> PassResult:
    """Apply one pass and measure before and after. InputError for a pass that cannot follow."""
    from edgebuild.compress.costs import state_cost
    from edgebuild.compress.quality import state_quality

    def measured(of: State) -> Quality:
        return state_quality(of, context.validation, context.teacher, context.setup.metrics)

    check_order(step.name, () if state.flatbuffer is None else ("quantize",))
    before = measured(state)  # a metric that fails does so before hours of training
    after, notes = step.apply(state, context)
    cost = state_cost(state), state_cost(after)
    return PassResult(after, after is not state, notes, cost, (before, measured(after)))
