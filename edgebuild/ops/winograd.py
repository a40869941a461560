"""Winograd's tiles of 3x3 kernels in exact integers (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016), as every kernel of them has them.

F(4x4, 3x3) takes 36 products for 144. The transform of the weights has fractions of 24 in each
direction; in integers of 16 bits the sums are 576 times too large, modulo 2**32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Form:
    """One way of tiling: ``tile`` x ``tile`` outputs of a 3x3 kernel with a ``stride``.

    ``transform`` [points, 9] makes the points of a filter. Accumulators up to ``reach`` come out
    exactly, of sums that are ``factor`` times as large modulo 2**32.
    """

    stride: int
    tile: int
    transform: np.ndarray
    factor: int
    reach: int

    @property
    def points(self) -> int:
        """Points of a tile."""
        return len(self.transform)

    def transformed(self, weights: np.ndarray, channels: int, depth: int) -> np.ndarray:
        """Return the points of weights int8 [out_c, 9, in_c]: int16 [out_c, points, in_c], with
        zeros up to multiples of ``channels`` and ``depth``."""
        points = np.einsum("pt,otc->opc", self.transform, weights.astype(np.int64))
        fill = ((0, -len(points) % channels), (0, 0), (0, -points.shape[2] % depth))
        return np.pad(points, fill).astype("<i2")


_ROWS_4 = np.array([[3, 0, 0], [4, 4, 4], [4, -4, 4], [1, 2, 4], [1, -2, 4], [0, 0, 3]])
FOUR = Form(stride=1, tile=4, transform=np.kron(_ROWS_4, _ROWS_4), factor=576, reach=2**25)

_EVEN = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1]])  # at 0, 1 and infinity
_PARTS = (_EVEN, np.array([[0, 1, 0], [0, 1, 0]]))  # of even rows or columns, of odd ones
STRIDE_2 = Form(
    stride=2,
    tile=2,
    transform=np.array(
        [np.kron(r[i], c[j]) for i in (0, 1) for j in (0, 1) for r in _PARTS for c in _PARTS]
        + [np.kron(r[i], _EVEN[2]) for i in (0, 1) for r in _PARTS]
        + [np.kron(_EVEN[2], c[j]) for j in (0, 1) for c in _PARTS]
        + [np.kron(_EVEN[2], _EVEN[2])]
    ),
    factor=1,
    reach=2**30,
)
