"""Nothing that a model says can leave its place in generated C."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.codegen.names import c_float, c_identifier, c_int, c_string, renamed
from edgebuild.errors import InputError
from edgebuild.resources import resource_dir


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("My Net-2", "my_net_2"),
        ("2fast", "model_2fast"),
        ("int", "model_int"),
        ("eb", "model_eb"),
        ("EB", "model_eb"),
        ("eb_math", "model_eb_math"),
        ("EB ARENA", "model_eb_arena"),
        ("ebola", "ebola"),
        ("main", "model_main"),
        ("virtual", "model_virtual"),
        ("sem", "model_sem"),
        ("mtx", "model_mtx"),
        ("pthread_mutex", "model_pthread_mutex"),
        ("stdint", "model_stdint"),
        ("constexpr", "model_constexpr"),
        ("stdint2", "stdint2"),
        ("../../etc/passwd", "etc_passwd"),
        ('a";system("rm")', "a_system_rm"),
        ("x" * 100, "x" * 40),
    ],
)
def test_identifier(name, identifier):
    assert c_identifier(name) == identifier


def test_a_name_that_is_taken_is_explained():
    assert renamed("StdInt") == (
        "the C code is called model_stdint: stdint would hide the header stdint.h"
    )
    assert "a word of C or C++" in renamed("int")
    assert renamed("EB") == (
        "the C code is called model_eb: eb is edgebuild's own prefix, or begins with it"
    )
    assert renamed("sem") == "the C code is called model_sem: sem has functions of C or POSIX"
    assert renamed("My Net-2") == ""


ENDINGS = ("init", "run", "input", "output", "inputs", "outputs", "model", "set_bank", "preprocess")
MACROS = ("ARENA_ALIGN", "ARENA_BYTES", "INTERFACE_VERSION", "INPUT_COUNT", "LAYER_COUNT")


def test_no_model_takes_a_name_of_the_runtime_or_the_firmware():
    folder = resource_dir("firmware")
    headers = [path for part in ("app", "runtime") for path in (folder / part).rglob("*.h")]
    texts = [path.read_text() for path in headers]
    words = set(re.findall(r"[A-Za-z]\w*", re.sub(r"(?s)/\*.*?\*/", "", "".join(texts))))
    assert {"eb_model", "EB_ARENA_ALIGN"} <= words
    for word in words:
        for ending in (*ENDINGS, *MACROS):
            stem = word.removesuffix(f"_{ending}")
            if stem != word:
                name = c_identifier(stem)
                assert f"{name.upper() if ending in MACROS else name}_{ending}" not in words


def test_identifier_needs_a_letter():
    with pytest.raises(InputError, match="no letter or digit"):
        c_identifier("\u2603 --")


@given(st.text())
def test_strings_stay_strings(text):
    literal = c_string(text)
    assert literal[0] == literal[-1] == '"'
    assert not set(literal[1:-1]) & set('"\\\n?%')
    assert len(literal) <= 66


def test_smallest_int():
    assert c_int(-(2**31)) == "(-2147483647 - 1)"
    assert c_int(-5) == "-5"


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_are_exact(value):
    assert np.float32(float.fromhex(c_float(value)[:-1])) == np.float32(value)
