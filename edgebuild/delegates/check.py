"""The one way to ask for a compatibility: by target; and what a user forbids of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

from edgebuild.delegates.base import Compatibility
from edgebuild.delegates.customs import with_unknown_customs
from edgebuild.delegates.edgetpu import refuse_compiled
from edgebuild.errors import InputError, InternalError
from edgebuild.graph import Graph
from edgebuild.graph.contradictions import refuse_contradictions
from edgebuild.targets import Delegate, TargetProfile
from edgebuild.units import quoted

_MODULES = {
    "xnnpack": "edgebuild.delegates.xnnpack",
    "gpu": "edgebuild.delegates.gpu",
    "nnapi": "edgebuild.delegates.nnapi",
    "npu": "edgebuild.delegates.npu",
    "edgetpu": "edgebuild.delegates.edgetpu",
}
"""By ``Delegate.kind``, the module whose ``check(graph, delegate)`` answers."""

_PARTITIONS = re.compile(r"partitions:(\d{1,6})")


def check_compatibility(graph: Graph, target: TargetProfile) -> Compatibility:
    """Return what the target's delegate makes of ``graph``, as the ``.tflite`` file has it.

    Raises:
        ModelError: the file contradicts itself.
        InputError: the model was compiled for the Edge TPU.
    """
    if target.delegate is None:
        raise InternalError(f"target {target.name} has no delegate")
    refuse_contradictions(graph, where=graph.name)
    refuse_compiled(graph)
    module = import_module(_MODULES[target.delegate.kind])
    answer: Callable[[Graph, Delegate], Compatibility] = module.check
    found = with_unknown_customs(graph, answer(graph, target.delegate))
    if not graph.others:
        return found
    note = f"{len(graph.others)} further subgraphs of the model are not examined"
    return dataclasses.replace(found, notes=(*found.notes, note))


@dataclass(frozen=True)
class FailOn:
    """What a user forbids: any operator on the CPU, or more than so many delegated partitions."""

    fallback: bool = False
    partitions: int | None = None

    def refusals(self, found: Compatibility) -> tuple[str, ...]:
        """Return a sentence for each thing that is forbidden and happens."""
        if not found.known and (self.fallback or self.partitions is not None):
            return (f"{found.summary()}: no promise is possible",)
        sentences = []
        if self.fallback and found.fallbacks:
            first = found.fallbacks[0]
            sentences.append(
                f"{len(found.fallbacks)} operators fall back to the CPU, the first of them "
                f"{first.kind} (operator {first.position}): {first.reason}"
            )
        if self.partitions is not None and found.delegated_partitions > self.partitions:
            sentences.append(
                f"{found.delegate} runs the model in {found.delegated_partitions} partitions, "
                f"at most {self.partitions} are allowed"
            )
        return tuple(sentences)


def parse_fail_on(words: Iterable[str]) -> FailOn:
    """Return what ``fallback`` and ``partitions:N`` forbid, each word or several with commas.

    The last ``partitions:N`` counts. InputError for any other word.
    """
    found = FailOn()
    for word in (part.strip() for text in words for part in text.split(",")):
        match = _PARTITIONS.fullmatch(word)
        if word == "fallback":
            found = FailOn(True, found.partitions)
        elif match:
            found = FailOn(found.fallback, int(match[1]))
        else:
            raise InputError(f"unknown --fail-on {quoted(word)}", hint="fallback, or partitions:N")
    return found
