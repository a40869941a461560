"""A recipe: compression passes in order, as text, as JSON and as objects.

``prune:ratio=0.5,by=macs,epochs=10`` is one step; further steps follow after a comma:
``prune:ratio=0.3,prune:ratio=0.2,criterion=taylor``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgebuild.compress.base import Pass, check_order
from edgebuild.compress.blocks import RemoveBlocks
from edgebuild.compress.cluster import Cluster
from edgebuild.compress.distill import Distill
from edgebuild.compress.huffman import Huffman
from edgebuild.compress.l0 import L0
from edgebuild.compress.low_rank import LowRank
from edgebuild.compress.map_edgetpu import MapEdgeTpu
from edgebuild.compress.prune import Prune
from edgebuild.compress.quantize import Quantize
from edgebuild.compress.scale import Scale
from edgebuild.compress.sparsify import Sparsify
from edgebuild.errors import InputError, nearest
from edgebuild.files import atomic_write
from edgebuild.limits import read_json
from edgebuild.profile import Optimize

_KINDS_OF_PASS = (
    *(Prune, L0, RemoveBlocks, LowRank, Scale, Sparsify, Cluster, Distill),
    *(MapEdgeTpu, Quantize, Huffman),
)
PASSES: dict[str, type[Any]] = {kind.name: kind for kind in _KINDS_OF_PASS}
"""Every pass by its name; its fields are its options."""

SCHEMA = 1
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


def untrained(step: Pass) -> Pass:
    """Return ``step`` without its training and with the cheapest rounding: it makes the same shape,
    so that what the result costs is known in seconds."""
    if step.name == "quantize":
        changes: dict[str, Any] = {"epochs": 0, "rounding": "nearest", "samples": 16}
    else:
        free = (("epochs", 0), ("steps", 1), ("fit", "off"))
        changes = {name: value for name, value in free if hasattr(step, name)}
    return dataclasses.replace(step, **changes)  # type: ignore[type-var]


def parse_recipe(text: str) -> tuple[Pass, ...]:
    """Return the steps that ``text`` names; InputError with the nearest valid name."""
    steps: list[tuple[str, dict[str, str]]] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, option = word.partition(":")
        if "=" not in name:  # a value may hold a colon
            steps.append((name.strip(), {}))
            word = option.strip()
        if not word or not steps:
            if word:
                raise InputError(f"recipe '{text}': '{word}' does not follow a pass", hint=_usage())
            continue
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"recipe '{text}': '{word}' has no value", hint=_usage())
        name, options = steps[-1]
        key = key.strip()
        if key in options:
            raise InputError(
                f"recipe '{text}': {name} has {key} twice",
                hint=f"set it once, or begin another step: {name}:{key}={value.strip()}",
            )
        options[key] = value.strip()
    if not steps:
        raise InputError("the recipe is empty", hint=_usage())
    return _ordered([make_pass(name, options) for name, options in steps])


class Recipe(NamedTuple):
    """Passes, and what a search found them with: a seed (None for a recipe's text), the tool that
    compiled (``edgebuild.toolchain.choice``; empty where it is not known), and what kernels were
    chosen for."""

    steps: tuple[Pass, ...]
    seed: int | None = None
    tool: str = ""
    optimize: Optimize = Optimize.BALANCED


def read_recipe(given: str, folder: Path) -> Recipe:
    """Return the recipe that ``given`` names.

    It is a recipe's text, or the path (below ``folder``) of a ``.json`` file that ``write_recipe``
    wrote. Files that passes read are looked up in ``folder``, or beside the recipe's file.
    """
    if not given.endswith(".json"):
        return Recipe(_with_files_below(folder, parse_recipe(given)))
    path = folder / given
    try:
        content = read_json(path)
        rows, seed, tool = content["recipe"], content["seed"], content.get("tool", "")
        optimize = Optimize(content.get("optimize", Optimize.BALANCED))
        known = type(seed) is int and seed >= 0 and isinstance(tool, str)
        if content["schema"] != SCHEMA or not rows or not known:
            raise ValueError("not a recipe of this edgebuild")
        return Recipe(_with_files_below(path.parent, recipe_from_json(rows)), seed, tool, optimize)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is not a recipe: {error}"[:300], hint=_usage()) from error


def recipe_files(steps: Sequence[Pass]) -> dict[str, Path]:
    """Return the files that passes read, by words for each."""
    return {
        f"{step.name} {number}: {option}": Path(getattr(step, option))
        for number, step in enumerate(steps, 1)
        for option in _file_options(step)
    }


def _file_options(step: Pass) -> list[str]:
    """Return the options of a pass that name a file, which its fields' metadata tell."""
    fields = dataclasses.fields(step)  # type: ignore[arg-type]
    return [f.name for f in fields if f.metadata.get("file") and getattr(step, f.name)]


def _with_files_below(folder: Path, steps: Sequence[Pass]) -> tuple[Pass, ...]:
    """Return ``steps`` with relative files looked up in ``folder``."""

    def found(step: Pass) -> Pass:
        changes = {
            option: str(folder / Path(getattr(step, option)).expanduser())
            for option in _file_options(step)
        }
        return dataclasses.replace(step, **changes)  # type: ignore[type-var]

    return tuple(found(step) for step in steps)


def write_recipe(
    path: Path, steps: Sequence[Pass], seed: int, way: tuple[str, str] | None = None
) -> None:
    """Write a recipe file, which ``--compress`` takes; ``way``: its tool, and what kernels were
    chosen for."""
    content = {"schema": SCHEMA, "seed": seed, "recipe": recipe_to_json(steps)}
    if way is not None and way[0]:
        content |= dict(zip(("tool", "optimize"), way, strict=True))
    atomic_write(path, json.dumps(content, indent=1) + "\n")


def make_pass(name: str, options: Mapping[str, Any]) -> Pass:
    """Return one pass; option values may be text."""
    if name not in PASSES:
        raise InputError(f"unknown pass '{name[:60]}'{nearest(name, PASSES)}", hint=_usage())
    kind = PASSES[name]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values = {}
    for key, value in options.items():
        if key not in fields:
            raise InputError(
                f"{name}: unknown option '{key[:60]}'{nearest(key, fields)}",
                hint=f"the options of {name} are {', '.join(fields)}",
            )
        values[key] = _value(name, key, value, fields[key].default)
    try:
        made: Pass = kind(**values)
    except InputError as error:
        if error.hint:
            raise
        raise InputError(error.message, details=error.details, hint=_defaults(name)) from None
    return made


def _defaults(name: str) -> str:
    """Return the options of a pass that have a default, as they are written."""
    known = dataclasses.fields(PASSES[name])
    given = [
        f"{field.name}={field.default}"
        for field in known
        if isinstance(field.default, (bool, int, float, str)) and field.default != ""
    ]
    options = f"by default {', '.join(given)}; " if given else ""
    return f"{options}docs/compression.md has all options of {name}"


def recipe_to_json(steps: Sequence[Pass]) -> list[dict[str, Any]]:
    """Return steps as plain JSON values."""
    return [{"pass": step.name, **dataclasses.asdict(step)} for step in steps]  # type: ignore[call-overload]


def recipe_from_json(value: Sequence[Mapping[str, Any]]) -> tuple[Pass, ...]:
    """Return the steps that ``recipe_to_json`` gave."""
    return _ordered(
        [make_pass(row["pass"], {k: v for k, v in row.items() if k != "pass"}) for row in value]
    )


def _ordered(steps: Sequence[Pass]) -> tuple[Pass, ...]:
    """Return ``steps``; InputError when one cannot follow another, before hours of training."""
    names = [step.name for step in steps]
    for position, name in enumerate(names):
        check_order(name, names[:position])
    return tuple(steps)


def _value(name: str, key: str, value: Any, default: Any) -> Any:
    """Return ``value`` as what the option's default is."""
    kind = type(default)
    try:
        if kind is bool and isinstance(value, str):
            if value.lower() not in (*_TRUE, *_FALSE):
                raise ValueError
            return value.lower() in _TRUE
        known = (str, int, float) if kind is float else (str, kind)
        if not isinstance(value, known) or isinstance(value, bool) != (kind is bool):
            raise ValueError
        if kind is float and isinstance(value, str) and value.endswith("%"):
            made = float(value[:-1]) / 100
        else:
            made = kind(value)
        if kind is float and not math.isfinite(made):
            raise ValueError
        return made
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{name}: {key}={str(value)[:60]} is not {_KINDS.get(kind, 'valid')}",
            hint=_defaults(name),
        ) from error


_KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}


def _usage() -> str:
    return f"--compress prune:ratio=0.5,epochs=10; passes: {', '.join(PASSES)}"
