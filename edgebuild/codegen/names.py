"""Identifiers and literals of generated C; the only way a model's names get into it."""

from __future__ import annotations

import re
import string
import struct

from edgebuild.errors import InputError

_LANGUAGE = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept
    const const_cast consteval constexpr constinit continue co_await co_return co_yield decltype
    default delete do double dynamic_cast else enum explicit export extern false float for friend
    goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq
    private protected public register reinterpret_cast requires restrict return short signed sizeof
    static static_assert static_cast struct switch template this thread_local throw true try typedef
    typeid typename typeof typeof_unqual union unsigned using virtual void volatile wchar_t while
    xor xor_eq main
"""
_SYSTEM = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
    stdarg stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath
    threads time uchar wchar wctype
    alloca dirent dlfcn elf endian fcntl features malloc memory netdb poll pthread sched semaphore
    strings syslog termios unistd
    arm_acle arm_bf16 arm_cde arm_fp16 arm_mve arm_neon arm_sme arm_sve cpuid stdfix unwind
"""
_KEYWORDS = frozenset(_LANGUAGE.split())
"""Of C23 and C++23, and the function that every program has."""

_HEADERS = frozenset(_SYSTEM.split())
"""Headers of C, POSIX and compilers that ``<name>.h`` would hide: the folder of the library comes
before theirs when its files are compiled."""

_FUNCTIONS = frozenset({"aio", "cnd", "fanotify", "inotify", "mtx", "sem", "svc"})
"""``<name>_init`` or ``<name>_run`` is a function of C or POSIX."""

_OWN = "eb"
"""The prefix of all that the runtime and the firmware define: types, functions, files, macros."""

_MAX_LENGTH = 40
_LITERAL = frozenset(string.ascii_letters + string.digits + " _-/.:;()[]+=")


def preprocess_function(name: str, position: int, inputs: int) -> str:
    """Return the C function that prepares the input at ``position``, of ``inputs``, of a model."""
    return f"{name}_preprocess{position if inputs > 1 else ''}"


def c_identifier(name: str) -> str:
    """Return ``name`` as a lower-case C identifier: ``"My Net-2"`` becomes ``"my_net_2"``.

    A word of the language and the name of a header get ``model_`` in front (``"stdint"``), as do
    names that begin with a digit or with edgebuild's own prefix, and those whose functions C or
    POSIX has (``"sem"``: ``sem_init``).
    """
    identifier = _plain(name)
    if not identifier:
        raise InputError(
            f"'{name[:80]}' has no letter or digit from which the C code could take its name",
            hint="--name my_model",
        )
    return f"model_{identifier}" if _taken(identifier) else identifier


def renamed(name: str) -> str:
    """Return why C code is not called ``name``, a sentence; empty where it is, or nearly so."""
    identifier = _plain(name)
    reason = _taken(identifier) if identifier else ""
    return f"the C code is called model_{identifier}: {identifier} {reason}" if reason else ""


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:_MAX_LENGTH].strip("_")


def _taken(identifier: str) -> str:
    if identifier in _KEYWORDS:
        return "is a word of C or C++"
    if identifier in _HEADERS:
        return f"would hide the header {identifier}.h"
    if identifier[0].isdigit():
        return "begins with a digit"
    if identifier == _OWN or identifier.startswith(f"{_OWN}_"):
        return "is edgebuild's own prefix, or begins with it"
    if identifier in _FUNCTIONS or identifier.startswith("pthread_"):
        return "has functions of C or POSIX"
    return ""


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
