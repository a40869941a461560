"""gemmlowp's fixed-point functions on Python integers: what build-time tables are made of.

``Qi.f`` is an int32 with ``i`` integer and ``f = 31 - i`` fractional bits. Constants and steps are
those of gemmlowp's ``fixedpoint.h``; every result is exact to the bit.
"""

from __future__ import annotations

from edgebuild.ops.fixed_point import INT32_MAX, INT32_MIN

ONE = INT32_MAX
"""1.0 in Q0.31, as near as it gets."""


def multiply(a: int, b: int) -> int:
    """Return the saturating rounding doubling high product; integer bits add up."""
    if a == b == INT32_MIN:
        return INT32_MAX
    return (a * b + (1 << 30)) >> 31


def divide_by_pot(x: int, exponent: int) -> int:
    """Return ``x / 2**exponent``, halves rounded away from zero."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


def saturate(x: int) -> int:
    """Return ``x`` held within int32."""
    return max(INT32_MIN, min(INT32_MAX, x))


def shift_left(x: int, bits: int) -> int:
    """Return ``x * 2**bits``, saturated."""
    return saturate(x << bits)


def exp_on_negative_values(a: int, integer_bits: int) -> int:
    """Return exp(a) in Q0.31 for ``a <= 0`` with ``integer_bits``."""
    if a == 0:
        return ONE
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    part = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_0(shift_left(part, integer_bits))
    remainder = part - a
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for exponent, factor in zip(range(-2, 5), factors, strict=True):
        if integer_bits > exponent and remainder & (1 << (fraction_bits + exponent)):
            result = multiply(result, factor)
    return result


def _exp_between_minus_quarter_and_0(a: int) -> int:
    """Taylor series of degree 4 around -1/8; Q0.31."""
    constant, third = 1895147668, 715827883
    x = a + (1 << 28)
    x2 = multiply(x, x)
    x3 = multiply(x2, x)
    x4_over_4 = divide_by_pot(multiply(x2, x2), 2)
    tail = divide_by_pot(multiply(x4_over_4 + x3, third) + x2, 1)
    return saturate(constant + multiply(constant, x + tail))


def _reciprocal_of_half(half: int) -> int:
    """Return 1 / ``half`` (Q0.31, at least 0.5) in Q2.29 by three Newton-Raphson steps."""
    x = 1515870810 + multiply(half, -1010580540)
    for _ in range(3):
        error = (1 << 29) - multiply(half, x)
        x = x + shift_left(multiply(x, error), 2)
    return x


def _half_sum(a: int, b: int) -> int:
    total = a + b
    return (total + 1) // 2 if total >= 0 else -((1 - total) // 2)


def one_over_one_plus(a: int) -> int:
    """Return 1 / (1 + a) for ``a`` in [0, 1), Q0.31."""
    return shift_left(_reciprocal_of_half(_half_sum(a, ONE)), 1)


def logistic(a: int, integer_bits: int) -> int:
    """Return 1 / (1 + exp(-a)) in Q0.31."""
    if a == 0:
        return 1 << 30
    positive = one_over_one_plus(exp_on_negative_values(-abs(a), integer_bits))
    return positive if a > 0 else ONE - positive


def tanh(a: int, integer_bits: int) -> int:
    """Return tanh(a) in Q0.31."""
    if a == 0:
        return 0
    e = exp_on_negative_values(-abs(a), integer_bits + 1)  # the same bits, read as twice the value
    x = _reciprocal_of_half(_half_sum(e, ONE)) - (1 << 29)
    positive = shift_left(x, 2)
    return positive if a > 0 else -positive
