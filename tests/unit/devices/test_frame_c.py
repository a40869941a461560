"""The firmware's COBS and CRC-32 against the ``cobs`` package and zlib."""

from __future__ import annotations

import ctypes
import subprocess
import zlib

import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from edgebuild.resources import resource_dir
from tests.unit.devices.conftest import host_compiler

GUARD = b"\xa5" * 16
# Few values make long runs without a zero, and many zeros.
CONTENT = st.one_of(
    st.binary(max_size=520),
    st.lists(st.sampled_from((0, 1, 255)), max_size=520).map(bytes),
    st.lists(st.integers(250, 258), max_size=2).map(
        lambda runs: b"\0".join(b"\7" * run for run in runs)
    ),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    out = tmp_path_factory.mktemp("frame") / "frame.so"
    source = resource_dir("firmware") / "app" / "eb_frame.c"
    command = [*host_compiler(), "-O1", "-shared", "-fPIC", source, "-o", out]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(out))
    loaded.eb_crc32.restype = ctypes.c_uint32
    return loaded


@given(CONTENT)
@settings(max_examples=300)
def test_encode(library, content):
    room = len(content) + len(content) // 254 + 1
    buffer = ctypes.create_string_buffer(bytes(room) + GUARD, room + len(GUARD))
    used = library.eb_cobs_encode(content, len(content), buffer)
    assert buffer.raw[:used] == cobs.encode(content)
    assert buffer.raw[room:] == GUARD


def decode(library, encoded):
    buffer = ctypes.create_string_buffer(encoded + GUARD, len(encoded) + len(GUARD))
    used = library.eb_cobs_decode(buffer, len(encoded))
    assert used <= len(encoded) and buffer.raw[len(encoded) :] == GUARD
    return buffer.raw[:used]


@given(CONTENT)
@settings(max_examples=300)
def test_decode(library, content):
    assert decode(library, cobs.encode(content)) == content


@given(CONTENT.map(lambda content: content.replace(b"\0", b"\3")))
@settings(max_examples=300)
def test_decode_takes_and_refuses_what_the_host_does(library, encoded):
    try:
        expected = cobs.decode(encoded)
    except cobs.DecodeError:
        expected = b""
    assert decode(library, encoded) == expected


@given(CONTENT)
def test_crc(library, content):
    assert library.eb_crc32(content, len(content)) == zlib.crc32(content)
