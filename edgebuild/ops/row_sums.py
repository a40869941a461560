"""What kernels share that sum a whole image, some rows at a time."""

from __future__ import annotations

from collections.abc import Mapping

from edgebuild.graph import Tensor
from edgebuild.ops.base import KernelCall

MOST_SUMMED = 1 << 23
"""So many values of int8 surely have a sum that fits int32."""


def row_sums_call(
    source: str,
    image: Tensor,
    band: tuple[int, bool, bool],
    output: Mapping[str, object],
) -> KernelCall:
    """Return the call of ``source`` for rows of ``image``: of ``band``, how many, and whether they
    are the first and the last. ``output`` are the parameters of what becomes of the sums."""
    folder, name = source.split("/")
    _, _, width, channels = image.shape
    rows, first, last = band
    return KernelCall(
        f"eb_{name}",
        f"{folder}/{folder}.h",
        (f"{source}.c",),
        f"eb_{name.removesuffix('_s8')}_params",
        {
            "rows": {
                "pixels": rows * width,
                "channels": channels,
                "first": first,
                "last": last,
            },
            **output,
        },
        scratch_bytes=4 * channels,
    )
