"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR over NHWC images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from edgebuild.graph import DType, Node
from edgebuild.ops import movement as move
from edgebuild.ops.base import Case, Constraint, KernelCall, Operator, Shape
from edgebuild.ops.cases import constant, one_op
from edgebuild.targets import CpuFeatures

_MAX_SIDE = 32767
_ONE = 1 << 10  # fraction of a coordinate in RESIZE_BILINEAR
_MODES: tuple[tuple[str, dict[str, bool]], ...] = (
    ("plain", {}),
    ("corners", {"align_corners": True}),
    ("centers", {"half_pixel_centers": True}),
)
_SIZES = (
    ("double", (2, 3, 4, 3), (6, 8)),
    ("half", (1, 6, 8, 2), (3, 4)),
    ("uneven", (1, 5, 7, 4), (8, 3)),
    ("same", (1, 3, 4, 2), (3, 4)),
    ("to_one", (1, 4, 5, 2), (1, 1)),
    ("from_one", (1, 1, 1, 3), (3, 2)),
)


def _size_ok(node: Node) -> bool:
    if not move.is_constant(node.optional_input(1)):
        return False
    size = move.values(node, 1)
    return node.input(1).shape == (2,) and all(
        1 <= s <= _MAX_SIDE for s in (*size, *node.input(0).shape[1:3])
    )


class _Resize(Operator):
    """What both share: the geometry."""

    most_operands = 2
    constraints: ClassVar[tuple[Constraint, ...]] = (
        Constraint("the input has 4 dimensions (NHWC)", lambda n: len(n.input(0).shape) == 4),
        Constraint(
            f"the size is a constant of two int32, and all sides are 1 to {_MAX_SIDE}", _size_ok
        ),
    )

    def output_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the one NHWC output shape."""
        batches, _, _, channels = node.input(0).shape
        height, width = move.values(node, 1)
        return ((batches, height, width, channels),)

    def geometry(self, node: Node) -> dict[str, object]:
        """Return the parameters that both kernels begin with."""
        batches, in_h, in_w, _ = node.input(0).shape
        out_h, out_w = move.values(node, 1)
        return {"batches": batches, "in_h": in_h, "in_w": in_w, "out_h": out_h, "out_w": out_w}

    def case(
        self, name: str, shape: Shape, size: tuple[int, int], attrs: dict[str, bool], dtype: DType
    ) -> Case:
        """Return a case."""
        return one_op(
            name,
            self.kind,
            [move.operand(shape, dtype), constant(size, dtype=DType.INT32)],
            [move.operand((shape[0], *size, shape[3]), dtype)],
            {"align_corners": False, "half_pixel_centers": False, **attrs},
        )

    def cases(self) -> Iterable[Case]:
        """Yield larger, smaller and equal sizes in every mode."""
        for size_name, shape, size in _SIZES:
            for mode, attrs in _MODES:
                yield self.case(f"{size_name}_{mode}", shape, size, attrs, DType.INT8)
        yield self.case("large_centers", (1, 3, 2, 1), (50, 71), _MODES[2][1], DType.INT8)


class ResizeNearestNeighbor(_Resize):
    """Which pixel is nearest is computed in float32, as TFLite does, when code is generated."""

    kind = "RESIZE_NEAREST_NEIGHBOR"
    dtypes = (DType.INT8, DType.INT16, DType.FLOAT32)
    constraints = (move.same_dtype(max_rank=4, dtypes=dtypes), *_Resize.constraints)

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Pick rows and columns."""
        x = inputs[0]
        assert x is not None
        rows, columns = _nearest(node)
        return (x[:, rows][:, :, columns],)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel."""
        rows, columns = _nearest(node)
        data = node.input(0)
        return KernelCall(
            "eb_resize_nearest",
            "resize/resize.h",
            ("resize/resize_nearest.c",),
            "eb_resize_nearest_params",
            {
                **self.geometry(node),
                "pixel": data.shape[3] * data.dtype.itemsize,
                "rows": rows,
                "columns": columns,
            },
        )

    def cases(self) -> Iterable[Case]:
        """Yield also the other types, and both modes together."""
        yield from super().cases()
        both = {"align_corners": True, "half_pixel_centers": True}
        yield self.case("both_modes", (1, 4, 5, 2), (7, 9), both, DType.INT8)
        for dtype in self.dtypes:
            yield self.case(str(dtype), (1, 2, 3, 2), (5, 4), {}, dtype)


class ResizeBilinear(_Resize):
    """Between four pixels, at coordinates of 10 bits."""

    kind = "RESIZE_BILINEAR"
    constraints = (
        move.same_dtype(max_rank=4, dtypes=(DType.INT8,)),
        *_Resize.constraints,
        Constraint(
            "not both `align_corners` and `half_pixel_centers`",
            lambda n: not (n.attrs.get("align_corners") and n.attrs.get("half_pixel_centers")),
        ),
        Constraint(
            "no output pixel lies outside the input when the scale is rounded to 10 bits",
            lambda n: all(_coordinates(n, i)[0].max() < n.input(0).shape[i + 1] for i in range(2)),
        ),
    )

    def reference(self, node: Node, inputs: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Follow TFLite's ResizeBilinearInteger."""
        x = inputs[0]
        assert x is not None
        y0, y1, share = _coordinates(node, 0)
        tall = _between(x[:, y0], x[:, y1], share.reshape(1, -1, 1, 1))
        x0, x1, share = _coordinates(node, 1)
        total = _between(tall[:, :, x0], tall[:, :, x1], share.reshape(1, 1, -1, 1))
        magnitude = (np.abs(total) + (1 << 19)) >> 20
        return ((np.sign(total) * magnitude).astype(np.int8),)

    def kernel(self, node: Node, cpu: CpuFeatures) -> KernelCall:
        """Return the portable kernel."""
        scale_h, offset_h = _scale(node, 0)
        scale_w, offset_w = _scale(node, 1)
        return KernelCall(
            "eb_resize_bilinear_s8",
            "resize/resize.h",
            ("resize/resize_bilinear_s8.c",),
            "eb_resize_bilinear_params",
            {
                **self.geometry(node),
                "channels": node.input(0).shape[3],
                "scale_h": scale_h,
                "offset_h": offset_h,
                "scale_w": scale_w,
                "offset_w": offset_w,
            },
        )


def _nearest(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """Return the input's row for each output row, and likewise columns, as int16."""
    corners = bool(node.attrs.get("align_corners"))
    offset = np.float32(0.5 if node.attrs.get("half_pixel_centers") else 0.0)
    tables = []
    for length, size in zip(node.input(0).shape[1:3], move.values(node, 1), strict=True):
        fewer = 1 if corners and size > 1 else 0
        scale = np.float32(length - fewer) / np.float32(size - fewer)
        at = (np.arange(size, dtype=np.float32) + offset) * scale
        whole = np.floor(at.astype(np.float64) + 0.5) if corners else np.floor(at)
        tables.append(np.minimum(whole, length - 1).astype(np.int16))
    return tables[0], tables[1]


def _scale(node: Node, side: int) -> tuple[int, int]:
    """Return scale and offset of the height (0) or the width (1) in 1/1024 of an input pixel."""
    length, size = node.input(0).shape[side + 1], move.values(node, 1)[side]
    if node.attrs.get("align_corners") and size > 1:
        length, size = length - 1, size - 1
    scale = (_ONE * length + size // 2) // size
    return scale, (scale // 2 - _ONE // 2 if node.attrs.get("half_pixel_centers") else 0)


def _coordinates(node: Node, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both neighbours of each output coordinate and the share of the second in 1/1024."""
    length, size = node.input(0).shape[side + 1], move.values(node, 1)[side]
    scale, offset = _scale(node, side)
    at = np.maximum(np.arange(size) * scale + offset, 0)
    return at // _ONE, np.minimum((at + _ONE - 1) // _ONE, length - 1), at % _ONE


def _between(low: np.ndarray, high: np.ndarray, share: np.ndarray) -> np.ndarray:
    return low.astype(np.int64) * (_ONE - share) + high.astype(np.int64) * share
