"""Channels that are interchangeable, how many of each kind may go, and what users say of layers."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgebuild.compress.channels import ChannelMap, channel_map
from edgebuild.errors import InputError, nearest
from edgebuild.units import listed

_UNWRITABLE = re.compile(r"[,+:=&\s]")


@dataclass(frozen=True)
class Group:
    """Removable channels that are made by the same layers.

    ``channels`` are their numbers. ``positions`` says, for each of ``layers``, how many of its
    outputs one channel is: 1, or more where channels are tied (the groups of a convolution).
    """

    layers: tuple[str, ...]
    positions: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many channels there are."""
        return len(self.channels)

    @property
    def outputs(self) -> int:
        """How many outputs of the first layer they are."""
        return self.count * self.positions[0]

    def own(self, groups: Sequence[Group]) -> tuple[str, ...]:
        """Return the first of its layers that has no part in another of ``groups``, or nothing."""
        alone = (n for n in self.layers if sum(n in group.layers for group in groups) == 1)
        return tuple(itertools.islice(alone, 1))

    def step(self, multiple: int) -> int:
        """Return of what the number of channels is a multiple so that each layer's outputs are a
        multiple of ``multiple``."""
        return math.lcm(*(multiple // math.gcd(multiple, n) for n in self.positions))

    def removable(self, wanted: int, multiple: int, count: int | None = None) -> int:
        """Return how many of ``wanted`` channels can go of ``count`` (of all that there are): a
        multiple stays, and at least one."""
        total = self.count if count is None else count
        step = self.step(multiple)
        left = -(-max(total - max(wanted, 0), 1) // step) * step
        return total - min(total, left)


def prunable_groups(model: Any) -> list[Group]:
    """Return what structured pruning can make smaller in a functional Keras ``model``."""
    return groups_of(channel_map(model))


def groups_of(channels: ChannelMap, *, least: int = 2) -> list[Group]:
    """Return the groups of at least so many channels, in the order of the layers."""
    makers: dict[int, dict[str, int]] = {}
    for name, ids in channels.outputs.items():
        for channel, count in zip(*np.unique(ids, return_counts=True), strict=True):
            makers.setdefault(int(channel), {})[name] = int(count)
    members: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for channel, layers in makers.items():
        if channel not in channels.fixed:
            members.setdefault(tuple(layers.items()), []).append(channel)
    return [
        Group(tuple(n for n, _ in made), tuple(n for _, n in made), tuple(sorted(ids)))
        for made, ids in members.items()
        if len(ids) >= least
    ]


@dataclass(frozen=True)
class LayerRule:
    """What one word of the option ``layers`` says of the groups that it is about.

    ``pattern`` is a layer's name with ``*`` and ``?``, or several joined by ``&`` for the channels
    that all of them make. ``ratio`` of the channels go, or ``keep`` stay, or neither is said.
    """

    pattern: str
    ratio: float | None = None
    keep: int | None = None

    def place(self, group: Group) -> int | None:
        """Return which of the group's layers the pattern names first, None when it is of others."""
        places = [
            next((i for i, layer in enumerate(group.layers) if _matches(name, layer)), None)
            for name in self.pattern.split("&")
        ]
        return None if None in places else places[0]

    @property
    def silent(self) -> bool:
        """Whether it only names layers."""
        return self.ratio is None and self.keep is None

    def removed(self, group: Group, count: int, multiple: int) -> int:
        """Return how many of the group's first ``count`` channels go in the end."""
        if self.keep is not None:
            positions = group.positions[self.place(group) or 0]
            return max(0, count - max(1, round(self.keep / positions)))
        return group.removable(round(count * (self.ratio or 0.0)), multiple, count)


def rule_of(group: Group, rules: Sequence[LayerRule]) -> LayerRule | None:
    """Return the first rule that is about ``group``."""
    return next((rule for rule in rules if rule.place(group) is not None), None)


def idle_rules(
    rules: Sequence[LayerRule], groups: Sequence[Group], gone: Collection[str]
) -> Iterator[str]:
    """Yield why for each rule that was to remove channels of ``groups`` and is about none of the
    layers that lost some, ``gone``."""
    for rule in rules:
        mine = [group for group in groups if rule_of(group, rules) is rule]
        if rule.ratio == 0.0 or any(name in gone for group in mine for name in group.layers):
            continue
        outputs = [group.count * group.positions[rule.place(group) or 0] for group in mine]
        if not outputs:
            about = any(rule.place(group) is not None for group in groups)
            why = (
                "an earlier entry already decides on its channels"
                if about
                else "its channels cannot be removed"
            )
        elif rule.keep is not None and rule.keep >= max(outputs):
            why = f"it has {max(outputs)} channels, {rule.keep} may stay"
        else:
            why = f"the channels to remove of its {max(outputs)} are fewer than it can lose"
        yield f"layers: nothing is removed from '{rule.pattern}': {why}"


def parse_layers(text: str, *, where: str) -> tuple[LayerRule, ...]:
    """Return the rules of ``conv1:0.5+conv2:12+dense*``; InputError, beginning with ``where``."""
    rules = tuple(_rule(word.strip(), where) for word in text.split("+") if word.strip())
    seen: set[frozenset[str]] = set()
    for rule in rules:
        names = frozenset(rule.pattern.split("&"))
        if names in seen:
            raise InputError(
                f"{where}: layers: '{rule.pattern[:60]}' is there twice",
                hint="name each layer once",
            )
        seen.add(names)
    return rules


def _rule(word: str, where: str) -> LayerRule:
    name, colon, value = word.rpartition(":")
    if not colon:
        return LayerRule(word)
    try:
        if value.isdigit() and int(value) >= 1:
            return LayerRule(name, keep=int(value))
        ratio = float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError:
        ratio = math.nan
    if not 0.0 <= ratio < 1.0:
        raise InputError(
            f"{where}: layers: '{value[:40]}' of '{name[:60]}' is neither a ratio below 1 nor a "
            "number of channels",
            hint="layers=conv1:0.5+conv2:12 removes half of conv1's and leaves 12 of conv2's",
        )
    return LayerRule(name, ratio=ratio)


def check_names(rules: Sequence[LayerRule], names: Iterable[str], *, where: str) -> None:
    """Raise InputError when a rule is about no layer among ``names``."""
    known = list(names)
    for rule in rules:
        for pattern in rule.pattern.split("&"):
            if not any(_matches(pattern, name) for name in known):
                raise InputError(
                    f"{where}: layers: no layer '{pattern[:60]}'{nearest(pattern, known)}",
                    hint=f"the model's layers: {listed(known, 8)}",
                )


def layers_option(groups: Sequence[Group], removed: Sequence[int]) -> str:
    """Return the option ``layers`` that removes so many channels of each group, by what each
    keeps. Empty when nothing goes."""
    words: dict[str, int] = {}
    for group, gone in zip(groups, removed, strict=True):
        if gone > 0:
            names = group.own(groups) or group.layers
            kept = (group.count - gone) * group.positions[group.layers.index(names[0])]
            pattern = "&".join(_UNWRITABLE.sub("?", name) for name in names)
            words.setdefault(pattern, kept)  # the first is what counts
    return "+".join(f"{pattern}:{kept}" for pattern, kept in words.items())


def layer_ratios(original: Any, smaller: Any) -> str:
    """Return the option ``layers`` that gives the model ``original`` the shape of ``smaller``, that
    was pruned from it. Empty when that is all."""
    before, after = channel_map(original), channel_map(smaller)
    groups = groups_of(before)
    left = groups_of(after, least=1)
    removed = []
    for group in groups:
        own = group.own(groups)
        if own:  # what it lost are the group's
            name = own[0]
            lost = len(before.outputs[name]) - len(after.outputs[name])
            removed.append(lost // group.positions[group.layers.index(name)])
        else:
            same = [g for g in left if g.layers == group.layers]
            removed.append(group.count - same[0].count if same else 0)
    return layers_option(groups, removed)


def _matches(pattern: str, name: str) -> bool:
    parts = {"*": ".*", "?": "."}
    regex = "".join(parts.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(regex, name) is not None
