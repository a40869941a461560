"""Operator tables: data in ``data/*.json``, stated in the vocabulary's words.

A table is ``{"source", "notes", "shared": {name: [entry...]}, "ops": {"ABS CEIL": [entry...]}}``.
An entry is a name of ``shared``, a constraint ``[word, argument...]``, or
``{"must": constraint, "below": level, "from": level, "where": constraint}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import edgebuild.delegates.words_of_delegates
import edgebuild.delegates.words_of_gpu  # noqa: F401, the imports register words
from edgebuild.delegates.vocabulary import WORDS, Setting, Word, level_name
from edgebuild.errors import InternalError
from edgebuild.graph import Node

_DATA = Path(__file__).parent / "data"
_HUGE = 1 << 62


@dataclass(frozen=True)
class Constraint:
    """One limit: a word with its arguments, and where it applies.

    It holds from feature level ``since`` to below ``until``, and only for operators that keep
    ``where``. ``sentence`` is the user's reason and a row of ``docs/delegates.md``.
    """

    word: Word
    arguments: Mapping[str, Any]
    since: int = 0
    until: int = _HUGE
    where: Constraint | None = None

    @property
    def sentence(self) -> str:
        """The limit in words."""
        text = self.word.sentence(self.arguments)
        if self.where is not None:
            text = f"where {_as_fact(self.where.sentence)}, {text}"
        if self.until != _HUGE:
            text += f", before {level_name(self.until)}"
        elif self.since:
            text += f", from {level_name(self.since)} on"
        return text

    def holds(self, node: Node, setting: Setting) -> bool:
        """True where the operator keeps the limit, or the limit does not apply."""
        if not self.since <= setting.level < self.until:
            return True
        try:
            if self.where is not None and not self.where.holds(node, setting):
                return True
            return self.word.holds(node, setting, **self.arguments)
        except (KeyError, IndexError):
            return False  # an input, a dimension or an option that the word speaks of is not there


@dataclass(frozen=True)
class Table:
    """A delegate's operators with their constraints, and where all that is from."""

    name: str
    source: str
    notes: tuple[str, ...]
    ops: Mapping[str, tuple[Constraint, ...]]

    def reason(self, node: Node, setting: Setting) -> str:
        """Return why the delegate refuses ``node`` in words; empty where it takes it."""
        constraints = self.ops.get(node.kind)
        if constraints is None:
            return f"{self.name} has no {node.kind}"
        broken = (c.sentence for c in constraints if not c.holds(node, setting))
        return "; ".join(dict.fromkeys(broken))


@cache
def load_raw(name: str) -> dict[str, Any]:
    """Return ``data/<name>.json`` as it is."""
    data: dict[str, Any] = json.loads((_DATA / f"{name}.json").read_text())
    return data


@cache
def load_table(name: str) -> Table:
    """Return the table ``data/<name>.json``; InternalError where it uses unknown words."""
    raw = load_raw(name)
    shared = raw.get("shared", {})
    ops: dict[str, tuple[Constraint, ...]] = {}
    for kinds, entries in raw["ops"].items():
        constraints = tuple(_constraints(entries, shared, f"{name}.json: {kinds}"))
        for kind in kinds.split("|"):
            if kind in ops:
                raise InternalError(f"{name}.json: {kind} is there twice")
            ops[kind] = constraints
    return Table(raw["name"], raw["source"], tuple(raw["notes"]), ops)


def _constraints(
    entries: Iterable[Any], shared: Mapping[str, Any], where: str
) -> Iterable[Constraint]:
    for entry in entries:
        if isinstance(entry, str):
            if entry not in shared:
                raise InternalError(f"{where}: 'shared' has no '{entry}'")
            yield from _constraints(shared[entry], shared, f"{where}: {entry}")
        elif isinstance(entry, list):
            yield _constraint(entry, where)
        else:
            condition = entry.get("where")
            plain = _constraint(entry["must"], where)
            yield Constraint(
                plain.word,
                plain.arguments,
                entry.get("from", 0),
                entry.get("below", _HUGE),
                _constraint(condition, where) if condition else None,
            )


def _constraint(parts: list[Any], where: str) -> Constraint:
    name, *values = parts
    word = WORDS.get(name)
    if word is None or len(values) != len(word.parameters):
        raise InternalError(f"{where}: {parts} is not in the vocabulary")
    return Constraint(word, dict(zip(word.parameters, values, strict=True)))


def _as_fact(sentence: str) -> str:
    """Return a requirement as the condition of another one."""
    for must, fact in (
        (" must be ", " is "),
        (" must have ", " has "),
        (" must not be ", " is not "),
    ):
        sentence = sentence.replace(must, fact)
    return sentence
