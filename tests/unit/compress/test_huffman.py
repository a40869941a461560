"""Packed weights come back bit for bit, are as small as they should be, and survive damage."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays
from hypothesis.strategies import sampled_from

from edgebuild.compress.huffman import code_lengths, encode, pack, unpack
from edgebuild.errors import InputError


def same(a, b):
    return a.keys() == b.keys() and all(
        a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


@settings(max_examples=60)
@given(arrays(np.float32, array_shapes(max_dims=4, max_side=9)))
def test_any_array(array):
    assert same(unpack(pack({"a/kernel": array})), {"a/kernel": array})


def test_sparse_shared_weights():
    rng = np.random.default_rng(0)
    values = np.array([-0.5, -0.25, 0.25, 0.5], np.float32)[rng.integers(0, 4, (300, 100))]
    weights = {
        "k": np.where(rng.random((300, 100)) < 0.05, values, 0).astype(np.float32),
        "long": np.zeros(100_000, np.float32),
        "b": rng.normal(size=100).astype(np.float32),
        "minus": np.array([-0.0, 0.0, 1.0], np.float32),
    }
    weights["long"][[0, 700, 99_999]] = 1.0
    packed = pack(weights)
    assert same(unpack(packed), weights)
    # 1,500 weights of 2 bits with gaps of about 6 bits, 400 bytes of biases
    assert len(packed) < 1_500 * 8 / 8 + 400 + 1_200


@settings(max_examples=60)
@given(
    sampled_from(["<i1", "<u1", "<i2", "<i4", "<i8", "<f2"]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(max_dims=4, max_side=9))
    )
)
def test_any_numbers(array):
    again = unpack(pack({"t3": array}))
    assert same(again, {"t3": array}) and again["t3"].dtype == array.dtype


def test_sparse_integers():
    rng = np.random.default_rng(0)
    weights = np.where(rng.random((64, 100)) < 0.1, rng.integers(-8, 8, (64, 100)), 0)
    packed = pack({"t1": weights.astype(np.int8)})
    assert same(unpack(packed), {"t1": weights.astype(np.int8)})
    assert len(packed) < 640 * (4 + 5.5) / 8 + 150


def test_lengths_are_optimal():
    counts = [45, 13, 12, 16, 9, 5]  # Cormen et al., Introduction to Algorithms, 16.3
    assert code_lengths(counts) == [1, 3, 3, 3, 4, 4]
    assert code_lengths([7]) == [1] and code_lengths([]) == []


def test_entropy_is_reached():
    rng = np.random.default_rng(0)
    symbols = rng.geometric(0.3, 20_000).clip(max=60)
    share = np.bincount(symbols) / len(symbols)
    entropy = -np.sum(share[share > 0] * np.log2(share[share > 0]))
    assert entropy <= 8 * len(encode(symbols)) / len(symbols) < entropy + 0.15


def test_damage_is_an_error_or_other_weights():
    rng = np.random.default_rng(0)
    array = np.where(rng.random((40, 30)) < 0.1, rng.choice([1.0, 2.0], (40, 30)), 0)
    packed = pack({"k": array.astype(np.float32), "q": array.astype(np.int8)})
    chance = random.Random(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(packed)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            unpack(bytes(damaged))
        except InputError:
            refused += 1
    assert refused > 100
    for length in range(0, len(packed), 7):
        with pytest.raises(InputError):
            unpack(packed[:length])
