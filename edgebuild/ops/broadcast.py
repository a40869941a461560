"""Broadcasting of two operands as a nest of at most four loops."""

from __future__ import annotations

import numpy as np

from edgebuild.ops.base import Shape

MAX_LOOPS = 4


def broadcast_shape(a: Shape, b: Shape) -> Shape | None:
    """Return NumPy's broadcast shape, or None when the shapes do not broadcast."""
    try:
        return tuple(int(d) for d in np.broadcast_shapes(a, b))
    except ValueError:
        return None


def loops(a: Shape, b: Shape) -> list[tuple[int, int, int]] | None:
    """Return (count, stride of a, stride of b) of each loop, outermost first, neighbours merged.

    Strides are in elements, 0 where an operand is broadcast. None when the shapes do not broadcast.
    """
    out = broadcast_shape(a, b)
    if out is None:
        return None
    rank = len(out)
    nest: list[tuple[int, int, int]] = []
    strides = [_strides((1,) * (rank - len(s)) + tuple(s)) for s in (a, b)]
    for axis in range(rank):
        if out[axis] == 1:
            continue
        loop = (out[axis], strides[0][axis], strides[1][axis])
        if nest and all(nest[-1][i] == loop[0] * loop[i] for i in (1, 2)):
            loop = (nest.pop()[0] * loop[0], loop[1], loop[2])
        nest.append(loop)
    return nest or [(1, 0, 0)]


def _strides(shape: Shape) -> list[int]:
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(0 if length == 1 else step)
        step *= length
    return strides[::-1]


def loop_params(a: Shape, b: Shape) -> dict[str, tuple[int, ...]]:
    """Return the fields of ``eb_broadcast``."""
    nest = loops(a, b)
    assert nest is not None
    nest = [(1, 0, 0)] * (MAX_LOOPS - len(nest)) + nest
    return {
        "count": tuple(n for n, _, _ in nest),
        "stride0": tuple(s for _, s, _ in nest),
        "stride1": tuple(s for _, _, s in nest),
    }
