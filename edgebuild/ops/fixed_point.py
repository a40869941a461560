"""TFLite's fixed-point arithmetic, on NumPy int32 arrays, bit for bit.

The formulas are those of gemmlowp as TFLite Micro uses them (double rounding), the same that
CMSIS-NN computes; ``firmware/runtime/edgebuild/common/eb_math.h`` is their C twin.
"""

from __future__ import annotations

import math

import numpy as np

from edgebuild.graph import Tensor

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return (multiplier, shift) with ``real ~= multiplier * 2**(shift - 31)``.

    The multiplier is in [2**30, 2**31), or 0 where ``real`` is 0 or too small to matter.
    A positive shift is to the left.
    """
    if real == 0.0:
        return 0, 0
    mantissa, shift = math.frexp(real)
    multiplier = int(_round_half_away(mantissa * (1 << 31)))
    if multiplier == 1 << 31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return INT32_MAX, 30
    return multiplier, shift


def quantize_multipliers(reals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int32 arrays (multipliers, shifts) for an array of real multipliers."""
    pairs = [quantize_multiplier(float(r)) for r in np.ravel(reals)]
    return (
        np.array([p[0] for p in pairs], np.int32),
        np.array([p[1] for p in pairs], np.int32),
    )


def multiply_by_quantized_multiplier(
    x: np.ndarray, multiplier: np.ndarray | int, shift: np.ndarray | int
) -> np.ndarray:
    """Return int32 ``x * multiplier * 2**(shift - 31)``, rounded twice as gemmlowp does.

    ``multiplier`` and ``shift`` broadcast against ``x``.
    """
    shift = np.asarray(shift, np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = (np.asarray(x, np.int64) << left).astype(np.int32)
    high = saturating_rounding_doubling_high_mul(shifted, np.asarray(multiplier, np.int32))
    return rounding_divide_by_pot(high, right)


def saturating_rounding_doubling_high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """Return the int32 high half of ``2*a*b``, rounded; saturated where both are INT32_MIN."""
    a64, b64 = np.broadcast_arrays(np.asarray(a, np.int64), np.asarray(b, np.int64))
    product = a64 * b64
    result = (product + (1 << 30)) >> 31
    return np.minimum(result, INT32_MAX).astype(np.int32)


def rounding_divide_by_pot(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """Return int32 ``x / 2**exponent``, halves rounded away from zero."""
    x64 = np.asarray(x, np.int64)
    exponent = np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x64 < 0)
    return ((x64 >> exponent) + ((x64 & mask) > threshold)).astype(np.int32)


def activation_range(activation: str, output: Tensor) -> tuple[int, int]:
    """Return the quantized (min, max) of a fused activation on an integer ``output``."""
    info = np.iinfo(output.dtype.numpy)
    low, high = int(info.min), int(info.max)

    def quantize(real: float) -> int:
        # TFLite divides and rounds in float32.
        return output.zero_point + int(
            _round_half_away(float(np.float32(real) / np.float32(output.scale)))
        )

    if activation in ("RELU", "RELU6"):
        low = max(low, quantize(0.0))
    if activation == "RELU6":
        high = min(high, quantize(6.0))
    if activation == "RELU_N1_TO_1":
        low, high = max(low, quantize(-1.0)), min(high, quantize(1.0))
    return low, high


def _round_half_away(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)
