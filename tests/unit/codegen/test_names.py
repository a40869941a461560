"""Nothing that a model says can leave its place in generated C."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.codegen.names import c_float, c_identifier, c_int, c_string, renamed
from edgebuild.errors import InputError


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("My Net-2", "my_net_2"),
        ("2fast", "model_2fast"),
        ("int", "model_int"),
        ("eb_math", "model_eb_math"),
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
    assert renamed("My Net-2") == ""


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
