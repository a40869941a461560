"""Structured pruning: filters, channels, neurons and recurrent units that are really removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgebuild.compress.base import Context, State
from edgebuild.compress.channels import channel_map
from edgebuild.compress.gradual import epochs_after, share_after
from edgebuild.compress.groups import (
    Group,
    LayerRule,
    check_names,
    groups_of,
    idle_rules,
    layer_ratios,
    parse_layers,
    prunable_groups,
)
from edgebuild.compress.measures import COSTS
from edgebuild.compress.reconstruct import FITS, nearer, reconstruct, wanted
from edgebuild.compress.selection import Selection, Start
from edgebuild.compress.surgery import remove_channels
from edgebuild.compress.training import fine_tune
from edgebuild.compress.worth import CRITERIA, layer_sensitivities
from edgebuild.errors import InputError, nearest

__all__ = ["Prune", "layer_ratios", "layer_sensitivities", "prunable_groups"]

MEASURES = ("channels", *COSTS)


@dataclass(frozen=True)
class Prune:
    """Remove the channels that matter least.

    Args:
        ratio: how much of ``by`` is to go, 0 to 1. Near 1 it leaves the least there can be.
        by: ``channels`` of each layer alike; or, from whichever layers lose least, the original's
            ``macs``, ``parameters``, ``bytes`` of int8 weights, ``cycles``, or ``ram`` (the most
            bytes of int8 activations alive at once: taken from the layers where that is).
        criterion: what a channel is worth: ``l1`` or ``l2`` norm of its weights, ``bn_scale`` (its
            batch normalization's factor), ``taylor`` (how much the loss changes without it, or the
            outputs where there are no labels: first order, Molchanov et al. 2019) or ``random`` (a
            control).
        steps: remove in so many steps, with fine-tuning after each.
        epochs: of fine-tuning after the last step; each step before has a share of it, at least
            one.
        multiple: keep a multiple of so many channels in each layer; 0 takes what the target's
            kernels like (4 with the DSP extension, else 1).
        layers: ``conv1:0.5+conv2:12`` removes half of conv1's channels and leaves 12 of conv2's,
            ``conv3:0`` keeps conv3; the others follow ``ratio``. Names alone (``conv*+fc``) leave
            all other layers as they are.
        sensitivity: how strongly layers are spared whose half removal costs much quality (measured
            on the validation split): 0 not at all, 1 in proportion. For all but ``channels``.
        fit: see ``Sparsify``.
    """

    name: ClassVar[str] = "prune"

    ratio: float = 0.5
    by: str = "channels"
    criterion: str = "taylor"
    steps: int = 1
    epochs: int = 5
    multiple: int = 0
    layers: str = ""
    sensitivity: float = 0.0
    fit: str = "auto"

    def __post_init__(self) -> None:
        """Refuse options that cannot be right."""
        if not 0.0 <= self.ratio < 1.0:
            raise InputError(f"prune: ratio {self.ratio:g} must be at least 0 and below 1")
        if self.by not in MEASURES:
            raise InputError(f"prune: unknown measure '{self.by}'{nearest(self.by, MEASURES)}")
        if self.criterion not in CRITERIA:
            raise InputError(
                f"prune: unknown criterion '{self.criterion}'{nearest(self.criterion, CRITERIA)}"
            )
        if self.fit not in FITS:
            raise InputError(f"prune: fit is one of {', '.join(FITS)}, not '{self.fit[:60]}'")
        if self.steps < 1 or self.epochs < 0 or self.multiple < 0 or self.sensitivity < 0:
            raise InputError(
                "prune: steps is at least 1; epochs, multiple and sensitivity at least 0"
            )
        parse_layers(self.layers, where="prune")

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Remove channels, fine-tune, return the smaller model and what each layer lost."""
        rules = parse_layers(self.layers, where="prune")
        check_names(rules, [layer.name for layer in state.model.layers], where="prune")
        first = channel_map(state.model)
        start = Start.of(self, state, context)
        now, short = state, ""
        for step in range(1, self.steps + 1):
            choice = Selection(self, rules, now, context)
            removed = choice.removed(start, share_after(step, self.steps))
            short = choice.shortfall(start, removed)
            least = choice.least(removed)
            smaller = remove_channels(now, choice.channels, least)
            if least and wanted(self.fit, context):
                smaller = reconstruct(now, smaller, context, choice.channels, least)
            now = fine_tune(smaller, context, epochs=epochs_after(step, self.steps, self.epochs))
            if not context.train.labels:
                now = nearer(smaller, now, context)
        sizes = {name: len(ids) for name, ids in channel_map(now.model).outputs.items()}
        gone = [name for name, ids in first.outputs.items() if sizes[name] < len(ids)]
        lost = [f"{name}: {len(first.outputs[name])} to {sizes[name]} channels" for name in gone]
        groups = groups_of(first)
        idle = tuple(idle_rules(rules, groups, gone))
        notes = (*first.notes, *filter(None, [short]), *idle)
        if not lost:
            why = "" if idle or short else self._why_nothing(groups, rules, context)
            return state, (*notes, f"nothing could be removed{why}")
        return now, (*notes, *lost)

    def _why_nothing(
        self, groups: Sequence[Group], rules: Sequence[LayerRule], context: Context
    ) -> str:
        """Return the reason for the note that nothing could be removed."""
        multiple = self.multiple or (4 if context.features.dsp else 1)
        if not groups:
            return ": no layer has channels that can be removed"
        if not any(group.removable(group.count, multiple) for group in groups):
            return f": no layer has more than {multiple:,} channels, so none can be removed"
        if all(rule.ratio == 0.0 for rule in rules) and self.ratio == 0.0:
            return ": ratio=0 removes nothing"
        return f": ratio={self.ratio:g} is less than a layer can lose"
