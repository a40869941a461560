"""Nothing that a model says can leave its place in generated Kotlin or Gradle."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgebuild.codegen.kotlin_names import (
    check_package,
    class_name,
    constant_names,
    kotlin_float,
    kotlin_string,
    model_identifier,
    plain_text,
)
from edgebuild.errors import InputError


@pytest.mark.parametrize(
    ("name", "identifier", "cls"),
    [
        ("My Net-2", "my_net_2", "MyNet2"),
        ("fun", "model_fun", "ModelFun"),
        ("string", "model_string", "ModelString"),
        ("array", "array", "ArrayModel"),
        ("r", "r", "RModel"),
        ("build_config", "build_config", "BuildConfigModel"),
        ("byte buffer", "byte_buffer", "ByteBufferModel"),
        ("2fast", "model_2fast", "Model2fast"),
        ('"); x("', "x", "X"),
    ],
)
def test_names_of_a_model(name, identifier, cls):
    assert model_identifier(name) == identifier
    assert class_name(identifier) == cls


def test_constants_are_distinct():
    names = ("x:0", "x/0", "X_0_2", "", "9", "日本", "x:0")
    assert constant_names(names, "INPUT") == (
        *("X_0", "X_0_2", "X_0_2_2", "INPUT_3", "INPUT_9", "INPUT_5", "X_0_3"),
    )


def test_constants_are_not_the_list_of_all():
    """Which stands in the same object."""
    assert constant_names(("all", "ALL", "instance"), "OUTPUT") == (
        *("OUTPUT_ALL", "OUTPUT_ALL_2", "OUTPUT_INSTANCE"),
    )


@given(st.lists(st.text(max_size=60), max_size=20))
def test_constants_are_identifiers(names):
    found = constant_names(names, "T")
    assert len(set(found)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in found)


@given(st.text(max_size=200))
def test_strings_say_exactly_the_text_and_end_where_they_should(text):
    literal = kotlin_string(text)
    inside = literal[1:-1]
    assert literal[0] == literal[-1] == '"'
    assert literal.isascii()
    assert not set(inside) & set('"$\n')
    assert inside.replace("\\u", "").isprintable() or not inside
    codes = inside.encode().decode("unicode_escape").encode("utf-16-be", "surrogatepass")
    assert codes.decode("utf-16-be", "surrogatepass") == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_floats_are_exact(value):
    text = kotlin_float(value)
    assert text.endswith("f")
    assert struct.pack("<f", np.float32(text[:-1])) == struct.pack("<f", value)


@given(st.text())
def test_plain_text_cannot_end_a_comment(text):
    plain = plain_text(text)
    assert not any(bad in plain for bad in ("*/", "/*", "\n", "\r", "<", ">", "`", "|", "\\"))


@pytest.mark.parametrize("package", ["com.example.models", "a.B_2"])
def test_packages(package):
    assert check_package(package) == package


@pytest.mark.parametrize(
    "package", ["single", "com.fun.x", "com..x", "com.2x", 'com."x', "com.x;", "_a.b", "a." * 150]
)
def test_packages_that_are_refused(package):
    with pytest.raises(InputError, match="cannot be the package"):
        check_package(package)
