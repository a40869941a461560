"""Arguments of a public function, checked against its signature before it runs."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from edgebuild.errors import InputError, nearest
from edgebuild.files import explained

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_LONGEST = 4096
"""Characters of a string: as many as the longest path has."""


def checked(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return ``function`` with arguments that are checked against its annotations.

    A call raises InputError, which names the argument, for one that is unknown, missing, given
    twice or of a wrong type, and for a string that is empty, too long or has characters that no
    path can have. NumPy's numbers become Python's, and paths strings. The annotations are unions of
    classes, ``Mapping``, ``Sequence`` and protocols that can be checked when the program runs. A
    file operation of ``function`` that fails is an EdgebuildError, as on the command line.
    """
    signature = inspect.signature(function)
    name = function.__name__

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        given = _bound(name, signature, args, kwargs)
        hints = _hints(function)
        plain = {key: _checked(name, key, value, hints[key]) for key, value in given.items()}
        with explained():
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


def check_fields(name: str, key: str, value: Any) -> None:
    """Check the fields of a dataclass, the argument ``key`` of function ``name``, as arguments."""
    for field, hint in typing.get_type_hints(type(value)).items():
        _checked(name, f"{key}.{field}", getattr(value, field), hint)


def _checked(name: str, key: str, value: Any, hint: Any) -> Any:
    plain = _path(value) if _takes_paths(hint) else value
    if not matches(plain, hint):
        raise InputError(f"{name}(): '{key}' must be {in_words(hint)}, not {_given(value)}")
    for text in _texts(plain):
        if wrong := _wrong_text(text, of_path=_takes_paths(hint)):
            raise InputError(f"{name}(): '{key}' {wrong}")
    return _plain(plain, hint)


def _takes_paths(hint: Any) -> bool:
    return any(typing.get_origin(one) is os.PathLike for one in typing.get_args(hint))


def _path(value: Any) -> Any:
    """Return what is a path as a string; any other value, and what is no path of text, as bytes are
    that are not what ``value`` has to be."""
    if not isinstance(value, os.PathLike) or isinstance(value, type):
        return value
    try:
        return os.fspath(value)
    except Exception:  # whatever the object's own code raises
        return b""


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in a value, and in the lists and mappings that it consists of."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _texts(item)


def _wrong_text(text: str, *, of_path: bool) -> str:
    """Return what is wrong with a string, in words that follow the argument's name."""
    if not text:
        return "must not be empty"
    if len(text) > _LONGEST:
        return f"must have at most {_LONGEST:,} characters, not {len(text):,}"
    if "\0" in text:
        return f"must not contain a NUL character: {_given(text)}"
    try:
        # A name that is no UTF-8 is a path too; Python has its bytes as single surrogates.
        os.fsencode(text) if of_path else text.encode()
    except UnicodeEncodeError:
        return f"must be text that has a UTF-8 form, not {_given(text)}"
    return ""


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
        number = isinstance(value, kind) and not isinstance(value, bool)
        return number and (hint is int or _finite(value))
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


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond what a float holds
        return False


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
