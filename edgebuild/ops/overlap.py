"""How far a kernel's output may reach into the memory of its input.

A kernel works in steps, in the order of its output, and later steps never read before a certain
byte. So the output may begin some bytes below the input and overwrite it as it is used up: no write
overtakes a read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgebuild.graph import Node
from edgebuild.ops.base import Overlap, Window

NO_LEAD = -(1 << 40)
"""The lead of a kernel that reads nothing after its first write."""

NOTHING = Overlap(NO_LEAD)
"""That of a layer without outputs: its kernel is larger than the image."""


def by_pixels(node: Node, w: Window, pixels: int, *, buffered: bool) -> Overlap:
    """Return the overlap of a kernel that computes ``pixels`` of an output row at a time.

    ``buffered``: it has read all that a step needs before the step's first write.
    """
    if not node.output.elements:
        return NOTHING
    y, x = np.arange(w.out_h)[:, np.newaxis], np.arange(0, w.out_w, pixels)
    written = y * w.out_w + np.minimum(x + pixels, w.out_w)
    return Overlap(_least(node, written, _first_read(node, w, y, x), buffered))


def by_tiles(node: Node, w: Window, rows: int, columns: int, together: int) -> Overlap:
    """Return the overlap of a kernel that computes tiles of ``rows`` x ``columns`` outputs, and of
    ``together`` of them, of any rows and images, reads all before the first write."""
    if not node.output.elements:
        return NOTHING
    y, x = np.arange(0, w.out_h, rows)[:, np.newaxis], np.arange(0, w.out_w, columns)
    written = (np.minimum(y + rows, w.out_h) - 1) * w.out_w + np.minimum(x + columns, w.out_w)
    ends, reads = _all_images(node, written, _first_read(node, w, y, x))
    starts = np.arange(0, ends.size, together)
    last = np.maximum.reduceat(ends, starts)
    return Overlap(_lead(last, np.minimum.reduceat(reads, starts), buffered=True))


def by_groups(node: Node, w: Window, pixels: int, *, buffered: bool) -> Overlap:
    """Return the overlap of a kernel that computes ``pixels`` of an image at a time, of any rows.

    ``buffered``: it has read all that a step needs before the step's first write.
    """
    if not node.output.elements:
        return NOTHING
    y, x = np.arange(w.out_h)[:, np.newaxis], np.arange(w.out_w)
    first = np.arange(0, w.out_h * w.out_w, pixels)
    read = np.minimum.reduceat(_first_read(node, w, y, x).reshape(-1), first)
    written = np.minimum(first + pixels, w.out_h * w.out_w)
    return Overlap(_least(node, written, read, buffered))


def by_run(node: Node, step: int, *, buffered: bool) -> Overlap:
    """Return the overlap of a 1x1 kernel that computes ``step`` pixels at a time, of any rows."""
    if not node.output.elements:
        return NOTHING
    pixels = node.output.elements // node.output.shape[-1]
    first = np.arange(0, pixels, step)
    written = np.minimum(first + step, pixels) * node.output.shape[-1]
    return Overlap(_lead(written, first * node.input(0).shape[-1], buffered))


def by_rows(node: Node, w: Window) -> Overlap:
    """Return the overlap of a kernel that computes an output row at a time, from rows that it reads
    once, before the first write of the first output row under which they lie."""
    if not node.output.elements:
        return NOTHING
    y = np.arange(w.out_h)[:, np.newaxis]
    kept = max(0, w.kernel_h - w.stride_h) * (y > 0)
    read = _first_read(node, w, y, np.array([0]), kept)
    return Overlap(_least(node, (y + 1) * w.out_w, read, buffered=True))


def by_channels(node: Node, w: Window, rows: int = 1, kept: int = 0) -> Overlap:
    """Return the overlap of a depthwise kernel that takes a few channels through the whole image,
    ``rows`` output rows at a time, and reads all that these need before it writes.

    From the second step on, the first ``kept`` rows under it are kept from the step before. Each
    channel overwrites itself alone: input and output lie whole pixels apart.
    """
    if not node.output.elements:
        return NOTHING
    y = np.arange(0, w.out_h, rows)[:, np.newaxis]
    written = np.minimum(y + rows, w.out_h) * w.out_w
    read = _first_read(node, w, y, np.array([0]), kept * (y > 0))
    return Overlap(max(0, _least(node, written, read, buffered=True)), node.input(0).shape[3])


def by_bands(ends: Sequence[int], reads: Sequence[int], *, in_step: bool) -> Overlap:
    """Return the overlap of a step in bands, each of which has written up to a byte of ``ends`` and
    reads nothing before one of ``reads``; ``in_step``: its last kernel reads the input, too, row by
    row as it writes."""
    lead = _lead(ends, np.asarray(reads), buffered=True)
    return Overlap(max(0, lead) if in_step else lead)


def _first_read(
    node: Node, w: Window, y: np.ndarray, x: np.ndarray, kept: np.ndarray | int = 0
) -> np.ndarray:
    """Return the first pixel, [y, x], that is read for an output pixel but ``kept`` rows."""
    _, in_h, in_w, _ = node.input(0).shape
    row = np.clip(y * w.stride_h - w.pad_top + kept, 0, in_h)
    return np.asarray(row * in_w + np.clip(x * w.stride_w - w.pad_left, 0, in_w))


def _least(node: Node, written: np.ndarray, read: np.ndarray, buffered: bool) -> int:
    """Return the lead over all images of pixels that are ``written`` and ``read`` in the first."""
    return _lead(*_all_images(node, written, read), buffered)


def _all_images(node: Node, written: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes [steps] of pixels that are ``written`` and ``read`` in the first image, in
    all."""
    batches, in_h, in_w, in_c = node.input(0).shape
    _, out_h, out_w, out_c = node.output.shape
    image = np.arange(batches)[:, np.newaxis]
    ends = (written.reshape(1, -1) + image * (out_h * out_w)) * out_c
    reads = (read.reshape(1, -1) + image * (in_h * in_w)) * in_c
    return ends.reshape(-1), reads.reshape(-1)


def _lead(written: np.ndarray | Sequence[int], read: np.ndarray, buffered: bool) -> int:
    """Return by how many bytes the writes of any step go beyond the first byte that is read later:
    in the step too, unless ``buffered``. ``written`` and ``read`` are in the order of the steps."""
    ends = np.asarray(written).reshape(-1)
    later = np.minimum.accumulate(read.reshape(-1)[::-1])[::-1]
    if not buffered:
        return int(np.max(ends - later))
    if len(ends) == 1:
        return NO_LEAD
    return int(np.max(ends[:-1] - later[1:]))
