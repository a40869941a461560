import numpy as np
import pytest

from edgebuild.ops.fixed_point import multiply_by_quantized_multiplier, quantize_multiplier
from edgebuild.ops.single_rounding import BITS, LEVELS, single_rounding, thresholds


def two_instructions(acc, fraction, multiplier, bits):
    high = (256 * acc.astype(np.int64) + fraction) * multiplier >> 32
    return np.clip((high - (128 << bits)) >> bits, -128, 127)


def tflite(acc, multiplier, shift):
    return np.clip(multiply_by_quantized_multiplier(acc, multiplier, shift) - 128, -128, 127)


@pytest.mark.parametrize("seed", range(20))
def test_every_accumulator_in_reach_comes_out_as_tflite_scales_it(seed):
    rng = np.random.default_rng(seed)
    multiplier, shift = quantize_multiplier(float(np.exp(rng.uniform(np.log(1e-4), np.log(0.1)))))
    low, high = -int(rng.integers(0, 200_000)), int(rng.integers(1, 300_000))
    found = single_rounding(
        np.array([multiplier]), np.array([-shift]), (np.array([low]), np.array([high]))
    )
    assert found is not None
    acc = np.arange(low, high + 1, dtype=np.int32)
    fraction, single = (int(value) for value in found[0])
    assert (two_instructions(acc, fraction, single, BITS) == tflite(acc, multiplier, shift)).all()


@pytest.mark.parametrize("real", [0.4, 0.11, 0.003, 1e-5])
def test_thresholds_are_the_least_accumulators_that_reach_a_level(real):
    multiplier, shift = quantize_multiplier(real)
    reached = thresholds(np.array([multiplier]), np.array([-shift]))[0]
    for acc, expected in ((reached, LEVELS), (reached - 1, LEVELS - 1)):
        scaled = multiply_by_quantized_multiplier(acc.astype(np.int32), multiplier, shift)
        assert (scaled == expected).all() if expected is LEVELS else (scaled <= expected).all()


def test_dead_channels_and_those_out_of_reach():
    ends = np.array([-10, -10]), np.array([9000, 9000])
    multiplier, shift = quantize_multiplier(0.01)
    both = np.array([multiplier, 0]), np.array([-shift, 0])
    found = single_rounding(*both, ends)
    assert found is not None and found[1].tolist() == [0, 0] and found[0, 1] > 0
    # A left shift, a scale above 1/8, an accumulator of more than 23 bits.
    assert single_rounding(np.array([multiplier] * 2), np.array([-1, 3]), ends) is None
    large = quantize_multiplier(0.13)
    assert single_rounding(np.array([large[0]]), np.array([-large[1]]), ([-10], [9000])) is None
    far = np.array([-10, -10]), np.array([9000, 1 << 23])
    assert single_rounding(np.array([multiplier] * 2), np.array([-shift] * 2), far) is None
