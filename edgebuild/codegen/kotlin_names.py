"""Identifiers and literals of generated Kotlin and Gradle; a model's names come in only here."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable

from edgebuild.codegen.names import c_identifier
from edgebuild.errors import InputError

# Java's and Kotlin's hard keywords: a package is also a Java package (of the class R).
_KEYWORD_LIST = """
abstract as assert boolean break byte case catch char class const continue default do double else
enum extends false final finally float for fun goto if implements import in instanceof int interface
is long native new null object package private protected public return short static strictfp super
switch synchronized this throw throws transient true try typealias typeof val var void volatile when
while _
"""
_KEYWORDS = frozenset(_KEYWORD_LIST.split())

# Classes that the generated code uses by their short names, and those that Android puts into the
# package of a library (R, BuildConfig, Manifest).
_CLASS_LIST = """
Accelerator Any Array ArrayList AssetManager AutoCloseable Boolean BooleanArray Buffer Build
BuildConfig BuiltinNpuAcceleratorProvider Byte ByteArray ByteArrayOutputStream ByteBuffer ByteOrder
CompatibilityList CompiledModel Context Double Environment Exception FileChannel FileInputStream
FileNotFoundException Float FloatArray GpuDelegate HashMap IllegalStateException Inputs Int IntArray
Interpreter JvmField JvmOverloads JvmStatic LinkageError List Long LongArray Manifest Math
NnApiDelegate Options Outputs Pair R Short String Tensor TensorBuffer Throwable Unit
"""
_CLASSES = frozenset(_CLASS_LIST.split())
_MEMBERS = frozenset({"ALL", "INSTANCE"})
"""What the objects that hold the tensors' constants have besides them."""

_SEGMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MAX_PACKAGE = 200
_SAFE = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-/.:;,()[]+=!?#%&*<>@^|~{}"
)


def model_identifier(name: str) -> str:
    """Return the name of a model's package and asset: ``"My Net-2"`` becomes ``"my_net_2"``."""
    identifier = c_identifier(name)
    return f"model_{identifier}" if identifier in _KEYWORDS else identifier


def class_name(identifier: str) -> str:
    """Return the class for a lower-case identifier: ``"my_net_2"`` becomes ``"MyNet2"``."""
    name = "".join(part[:1].upper() + part[1:] for part in identifier.split("_"))
    return f"{name}Model" if name in _CLASSES else name


def constant_names(names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Return a distinct constant's name for each of ``names``: ``"x:0"`` becomes ``"X_0"``."""
    found: list[str] = []
    for position, name in enumerate(names):
        text = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")[:40].strip("_")
        if not text or not text.isascii():
            text = f"{prefix}_{position}"
        if text[0].isdigit() or text in _MEMBERS:
            text = f"{prefix}_{text}"
        distinct, count = text, 1
        while distinct in found:
            count += 1
            distinct = f"{text}_{count}"
        found.append(distinct)
    return tuple(found)


def check_package(package: str) -> str:
    """Return ``package`` when it can be an Android namespace; InputError otherwise."""
    parts = package.split(".")
    bad = [p for p in parts if not _SEGMENT.fullmatch(p) or p in _KEYWORDS]
    if bad or len(parts) < 2 or len(package) > _MAX_PACKAGE:
        raise InputError(
            f"'{package[:80]}' cannot be the package of an Android library",
            details=["two or more names of letters, digits and '_', none a keyword, with dots"],
            hint="com.example.models",
        )
    return package


def kotlin_string(text: str) -> str:
    """Return ``text`` as a Kotlin string literal of ASCII; it says exactly ``text``."""
    units = text.encode("utf-16-be", "surrogatepass")
    codes = struct.unpack(f">{len(units) // 2}H", units)
    return '"' + "".join(chr(c) if chr(c) in _SAFE else f"\\u{c:04x}" for c in codes) + '"'


def kotlin_float(value: float) -> str:
    """Return a literal that reads back as exactly float32(``value``), which is finite."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    if not math.isfinite(rounded):
        raise InputError(f"{value} is not a number that Kotlin can write")
    text = f"{rounded:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def plain_text(text: str) -> str:
    """Return ``text`` for a comment or a document: characters that could end either become '_'."""
    return "".join(c if c.isalnum() or c in " _-.:;,()[]+=%" else "_" for c in text)[:200]
