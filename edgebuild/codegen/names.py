"""Identifiers and literals of generated C; the only way a model's names get into it."""

from __future__ import annotations

import re
import string
import struct

from edgebuild.errors import InputError

_KEYWORDS = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "and",
        "or",
        "not",
        "xor",
        "bool",
        "class",
        "new",
        "delete",
        "this",
        "true",
        "false",
        "main",
        "alignas",
        "alignof",
        "asm",
        "namespace",
        "operator",
        "private",
        "public",
        "protected",
        "template",
        "try",
        "catch",
    ]
)
_MAX_LENGTH = 40
_LITERAL = frozenset(string.ascii_letters + string.digits + " _-/.:;()[]+=")


def c_identifier(name: str) -> str:
    """Return ``name`` as a lower-case C identifier: ``"My Net-2"`` becomes ``"my_net_2"``."""
    identifier = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:_MAX_LENGTH].strip("_")
    if not identifier:
        raise InputError(
            f"'{name[:80]}' has no letter or digit to name C code after", hint="--name my_model"
        )
    if identifier[0].isdigit() or identifier in _KEYWORDS or identifier.startswith("eb_"):
        identifier = f"model_{identifier}"
    return identifier


def c_string(text: str) -> str:
    """Return ``text`` as a C string literal; characters that could end or escape it become '_'."""
    return '"' + "".join(c if c in _LITERAL else "_" for c in text[:64]) + '"'


def c_int(value: int) -> str:
    """Return an integer constant expression; INT32_MIN has no literal of its own."""
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def c_float(value: float) -> str:
    """Return a float literal that is exactly float32(``value``) (hexadecimal, C99)."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return f"{rounded.hex()}f"
