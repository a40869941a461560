"""Removal of whole blocks: residual branches, and layers whose output has their input's shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import call_macs, model_cost, nodes
from edgebuild.compress.kept import measured
from edgebuild.compress.losses import split_loss
from edgebuild.compress.rebuild import needed_calls
from edgebuild.compress.surgery import bypass
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError, nearest

CRITERIA = ("loss", "loss_per_mac", "random")
_JOINS = {"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"}
_TAILS = {
    *("BatchNormalization", "LayerNormalization", "Activation", "ReLU", "LeakyReLU", "ELU"),
    *("PReLU", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Relu", "Relu6"),
}
"""Layers that belong to the one before them when nothing else reads that one."""


@dataclass(frozen=True, eq=False)
class Block:
    """Layers that may be left out: what reads ``end`` then reads ``begin``, of the same shape.

    ``layers`` are those that then are gone, in order; ``macs`` what they cost.
    """

    layers: tuple[str, ...]
    macs: int
    begin: Any
    end: Any

    @property
    def name(self) -> str:
        """From its first to its last layer."""
        return " to ".join(dict.fromkeys((self.layers[0], self.layers[-1])))


@dataclass(frozen=True)
class RemoveBlocks:
    """Leave out the blocks that matter least, one at a time.

    Args:
        count: how many; as many as there are if there are fewer.
        ratio: instead of a number: until this share of the original's MACs is gone.
        criterion: ``loss`` leaves out the block without which the loss on the validation split is
            least; ``loss_per_mac`` divides what the loss grows by the MACs that are saved;
            ``random`` is a control.
        epochs: of fine-tuning after the last block.
        epochs_between: of fine-tuning after each of the blocks before.
    """

    name: ClassVar[str] = "remove_blocks"

    count: int = 1
    ratio: float = 0.0
    criterion: str = "loss"
    epochs: int = 5
    epochs_between: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"remove_blocks: ratio {self.ratio:g} must be at least 0 and below 1")
        if self.criterion not in CRITERIA:
            raise InputError(
                f"remove_blocks: unknown criterion '{self.criterion}'"
                f"{nearest(self.criterion, CRITERIA)}"
            )
        if min(self.count, self.epochs, self.epochs_between) < 0:
            raise InputError("remove_blocks: count, epochs and epochs_between are at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Leave out blocks, fine-tune, return the shallower model and what is gone."""
        goal = model_cost(context.teacher).macs * (1.0 - self.ratio)
        rng = np.random.default_rng(context.seed)
        now, notes = state, list[str]()
        while self._goes_on(now, len(notes), goal):
            if notes:
                now = fine_tune(now, context, epochs=self.epochs_between)
            blocks = removable_blocks(now.model)
            if not blocks:
                break
            context.progress(f"block {len(notes) + 1}: {len(blocks)} to choose from")
            before = split_loss(context, context.validation, now.model)
            block, loss = self._least(now, blocks, context, rng, before)
            now = bypass(now, block.end, block.begin)
            notes.append(
                f"{block.name} removed: {block.macs:,} MACs, loss {before:.4f} to {loss:.4f}"
            )
        if not notes:
            return state, ("no block was removed",)
        return fine_tune(now, context, epochs=self.epochs), tuple(notes)

    def _goes_on(self, state: State, gone: int, goal: float) -> bool:
        if self.ratio:
            return bool(model_cost(state.model).macs > goal)
        return gone < self.count

    def _least(
        self,
        state: State,
        blocks: Sequence[Block],
        context: Context,
        rng: np.random.Generator,
        before: float,
    ) -> tuple[Block, float]:
        """Return the block that matters least and the loss without it."""

        known = measured("blocks", state, context)

        def loss(block: Block) -> float:
            def measure() -> float:
                without = bypass(state, block.end, block.begin).model
                return split_loss(context, context.validation, without)

            return known.get(" ".join(block.layers), measure)

        if self.criterion == "random":
            block = blocks[int(rng.integers(len(blocks)))]
            return block, loss(block)
        losses = [loss(block) for block in blocks]
        ranks = losses
        if self.criterion == "loss_per_mac":
            ranks = [
                (after - before) / block.macs for after, block in zip(losses, blocks, strict=True)
            ]
        best = int(np.argmin(ranks))
        return blocks[best], losses[best]


def removable_blocks(model: Any) -> list[Block]:
    """Return the blocks of a functional model, none of which has a layer in common with another.

    A block is a branch of a sum (or of another join) beside which the other branch stays; or a
    chain with weights, one input and one output of the same shape, of which nothing is read from
    outside. Branches come before chains and small ones before large ones where they have layers in
    common. Layers whose outputs are the model's stay.
    """
    graph = _Graph(model)
    taken: set[int] = set()
    found: list[_Found] = []
    for block, calls in (*_sorted(graph.branches()), *_sorted(graph.chains())):
        if taken.isdisjoint(calls):
            taken |= calls
            found.append((block, calls))
    return [block for block, _ in sorted(found, key=lambda pair: min(pair[1]))]


_Found = tuple[Block, set[int]]
"""A block and the places of its calls."""


def _sorted(found: Iterable[_Found]) -> list[_Found]:
    return sorted(found, key=lambda pair: (len(pair[1]), min(pair[1])))


class _Graph:
    """The calls of a model, for finding blocks."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._calls = nodes(model)
        self._places = {id(call): place for place, call in enumerate(self._calls)}
        self._maker = {id(t): i for i, call in enumerate(self._calls) for t in call.output_tensors}
        self._readers: dict[int, list[int]] = {}
        for place, call in enumerate(self._calls):
            for tensor in call.input_tensors:
                self._readers.setdefault(id(tensor), []).append(place)
        self._outputs = {id(tensor) for tensor in model.outputs}

    def branches(self) -> Iterator[_Found]:
        """Yield, for each join, the branch that costs most."""
        for call in self._calls:
            if _kind(call) in _JOINS and len(call.input_tensors) == 2:
                end = call.output_tensors[0]
                found = [self._block(begin, end) for begin in call.input_tensors]
                blocks = [pair for pair in found if pair is not None]
                if blocks:
                    yield max(blocks, key=lambda pair: pair[0].macs)

    def chains(self) -> Iterator[_Found]:
        """Yield every pair of tensors between which there is a chain."""
        ends = [call.output_tensors[0] for call in self._calls if call.input_tensors]
        for end in filter(self._whole, ends):
            for call in self._calls[: self._maker[id(end)]]:
                begin = call.output_tensors[0]
                if begin.shape != end.shape or not self._whole(begin):
                    continue
                between = self._between(begin, end)
                found = self._block(begin, end) if between else None
                if found is not None and found[1] == between:
                    yield found

    def _block(self, begin: Any, end: Any) -> _Found | None:
        """Return what is gone when all readers of ``end`` read ``begin``; None where that cannot be
        or saves nothing."""
        same = begin.shape == end.shape and begin.dtype == end.dtype
        if not same or id(end) in self._outputs:
            return None
        needed = needed_calls(self._model, {id(end): begin})
        calls = {place for key, place in self._places.items() if key not in needed}
        macs = sum(call_macs(self._calls[place]) for place in calls)
        if not macs or any(not self._calls[place].input_tensors for place in calls):
            return None
        stay = {self._calls[p].operation.name for p in self._places.values() if p not in calls}
        names = (self._calls[place].operation.name for place in sorted(calls))
        layers = tuple(dict.fromkeys(name for name in names if name not in stay))
        return (Block(layers, macs, begin, end), calls) if layers else None

    def _between(self, begin: Any, end: Any) -> set[int] | None:
        """Return the calls that ``end`` comes of beginning with ``begin``; None where it also comes
        of something else."""
        waiting, found = [end], set()
        while waiting:
            tensor = waiting.pop()
            if tensor is begin:
                continue
            place = self._maker[id(tensor)]
            if not self._calls[place].input_tensors:
                return None
            if place not in found:
                found.add(place)
                waiting += self._calls[place].input_tensors
        return found

    def _whole(self, tensor: Any) -> bool:
        """Return whether no normalization or activation that belongs to it comes after."""
        readers = self._readers.get(id(tensor), [])
        return len(readers) != 1 or _kind(self._calls[readers[0]]) not in _TAILS


def _kind(call: Any) -> str:
    return type(call.operation).__name__
