"""A narrower or shallower network of the same design, trained from the beginning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from edgebuild.compress.base import Context, State
from edgebuild.compress.blocks import removable_blocks
from edgebuild.compress.channels import channel_map
from edgebuild.compress.groups import Group, groups_of
from edgebuild.compress.rebuild import copy_layer, copy_weights, rebuild
from edgebuild.compress.surgery import bypass, remove_channels
from edgebuild.compress.training import fine_tune
from edgebuild.errors import InputError


@dataclass(frozen=True)
class Scale:
    """Multiply width and depth, draw new weights, train.

    Where nothing is scaled the model stays as it is, its weights too.

    Args:
        width: the share of its channels that every layer keeps, above 0, at most 1.
        depth: the share of removable blocks that stay, 0 to 1; spread evenly over the network.
        epochs: of training, from labels and the teacher.
        multiple: channels of a layer are a multiple of this; 0 takes what the target's kernels like
            (4 with the DSP extension, else 1).
    """

    name: ClassVar[str] = "scale"

    width: float = 1.0
    depth: float = 1.0
    epochs: int = 20
    multiple: int = 0

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if not 0.0 < self.width <= 1.0:
            raise InputError(f"scale: width {self.width:g} must be above 0 and at most 1")
        if not 0.0 <= self.depth <= 1.0:
            raise InputError(f"scale: depth {self.depth:g} is not between 0 and 1")
        if min(self.epochs, self.multiple) < 0:
            raise InputError("scale: epochs and multiple are at least 0")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return the scaled model, trained anew, and what each layer has."""
        shallow, gone = self._shallower(State(state.model))
        channels = channel_map(shallow.model)
        multiple = self.multiple or (4 if context.features.dsp else 1)
        removed, narrower = set[int](), dict[str, str]()
        for group in groups_of(channels):
            left = _left(group, self.width, multiple)
            removed |= set(group.channels[left:])
            if left < group.count:
                for name, positions in zip(group.layers, group.positions, strict=True):
                    narrower[name] = (
                        f"{name}: {group.count * positions} to {left * positions} channels"
                    )
        scaled = remove_channels(shallow, channels, frozenset(removed))
        if scaled.model is state.model:
            return state, ("nothing is scaled",)
        fresh = State(with_new_weights(scaled.model, context.seed))
        notes = [f"{name} removed" for name in gone]
        return fine_tune(fresh, context, epochs=self.epochs), (*notes, *narrower.values())

    def _shallower(self, state: State) -> tuple[State, list[str]]:
        """Return the model without some blocks, and their names."""
        blocks = removable_blocks(state.model)
        count = len(blocks) - round(len(blocks) * self.depth)
        chosen = [blocks[(2 * i + 1) * len(blocks) // (2 * count)] for i in range(count)]
        gone = []
        for wanted in chosen:
            for block in removable_blocks(state.model):
                if block.layers == wanted.layers:
                    state = bypass(state, block.end, block.begin)
                    gone.append(block.name)
                    break
        return state, gone


def with_new_weights(model: Any, seed: int) -> Any:
    """Return a copy of ``model`` whose weights come from its layers' initializers.

    Layers that do not learn (a normalization of inputs by known statistics) keep theirs.
    """
    import keras

    keras.utils.set_random_seed(seed)
    fresh, pairs = rebuild(model, copy_layer)
    copy_weights(pair for pair in pairs if not _learns(pair[0]))
    return fresh


def _learns(layer: Any) -> bool:
    return bool(layer.trainable_weights) or type(layer).__name__ == "BatchNormalization"


def _left(group: Group, width: float, multiple: int) -> int:
    """Return how many channels of a group stay: the nearest multiple, and at least one."""
    step = group.step(multiple)
    return min(group.count, max(1, round(group.count * width / step)) * step)
