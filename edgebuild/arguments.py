"""Arguments of a public function, checked against its signature before it runs."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from edgebuild.errors import InputError, nearest

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return ``function`` with arguments that are checked against its annotations.

    A call raises InputError, which names the argument, for one that is unknown, missing, given
    twice or of a wrong type. NumPy's numbers become Python's. The annotations are unions of
    classes, ``Mapping``, ``Sequence`` and protocols that can be checked when the program runs.
    """
    signature = inspect.signature(function)
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        given = _bound(name, signature, args, kwargs)
        hints = _hints(function)
        plain = {key: _checked(name, key, value, hints[key]) for key, value in given.items()}
        return function(**plain)  # type: ignore[call-arg]

    return call


def _bound(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    known = list(signature.parameters)
    for key in kwargs:
        if key not in known:
            guess = nearest(key, known) or f"; arguments: {', '.join(known)}"
            raise InputError(f"{name}() has no argument '{key[:60]}'{guess}")
    required = [k for k, p in signature.parameters.items() if p.default is p.empty]
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        positional = [k for k, p in signature.parameters.items() if p.kind != p.KEYWORD_ONLY]
        missing = [
            k for k in required[len(args) :] if k not in kwargs and k not in known[: len(args)]
        ]
        if missing:
            raise InputError(f"{name}() needs the argument '{missing[0]}'") from error
        if len(args) > len(positional):
            extra = known[len(positional)] if len(known) > len(positional) else "its options"
            raise InputError(
                f"{name}() takes '{extra}' and what follows by name", hint=f"{extra}=..."
            ) from error
        raise InputError(f"{name}(): {error}") from error


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function)


def _checked(name: str, key: str, value: Any, hint: Any) -> Any:
    if not matches(value, hint):
        raise InputError(f"{name}(): '{key}' must be {in_words(hint)}, not {_given(value)}")
    return _plain(value, hint)


def matches(value: Any, hint: Any) -> bool:
    """Return whether ``value`` is what the annotation ``hint`` says."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, part) for part in inner)
    if hint is type(None) or hint is None:
        return value is None
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and _each(value, inner)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            matches(k, inner[0]) and matches(v, inner[1]) for k, v in value.items()
        )
    if origin is not None and issubclass(origin, Sequence):
        ordered = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        return ordered and all(matches(item, inner[0]) for item in value)
    # A class is no object of its own kind, whatever methods it has.
    return isinstance(value, origin or hint) and not isinstance(value, type)


def _each(values: Sequence[Any], hints: Sequence[Any]) -> bool:
    return all(matches(value, hint) for value, hint in zip(values, hints, strict=True))


def _plain(value: Any, hint: Any) -> Any:
    """Return NumPy's numbers as Python's."""
    parts = typing.get_args(hint) or (hint,)
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral) and int in parts:
        return int(value)
    if isinstance(value, numbers.Real) and float in parts:
        return float(value)
    return value


_WORDS: dict[Any, str] = {
    str: "a string",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    os.PathLike: "a path",
    type(None): "None",
}


def say(kind: type, words: str) -> None:
    """Have messages call the class ``kind`` what ``words`` say."""
    _WORDS[kind] = words


def in_words(hint: Any) -> str:
    """Return an annotation as people say it: ``a string, a path or None``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = list(dict.fromkeys(in_words(part) for part in inner))
        return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
    if origin is tuple:
        return f"a tuple ({', '.join(in_words(part) for part in inner)})"
    if origin in (None, os.PathLike):
        return _WORDS.get(origin or hint) or f"a {getattr(hint, '__name__', hint)}"
    if issubclass(origin, Mapping):
        return f"a dictionary from {in_words(inner[0])} to {in_words(inner[1])}"
    return f"a list, each {in_words(inner[0])}"


def _given(value: Any) -> str:
    if value is None:
        return "None"
    try:
        shown = repr(value)
    except Exception:  # whatever the object's own code raises
        shown = "?"
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{_WORDS.get(type(value)) or f'a {type(value).__name__}'} ({shown})"
