"""How often each basic block ran, by layer, and pieces of unicorn's stream of blocks."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_ADDRESS = np.uint64(0xFFFF_FFFF)
_SIZE_SHIFT = np.uint64(32)
_TAKEN_BIT = np.uint64(1 << 63)
_CHUNK = 1 << 20
_WINDOW = 1 << 13
_WINDOWS = 4
"""Pieces that are kept of each layer, and blocks in each."""


@dataclass(frozen=True)
class Block:
    """A basic block as it ran: ``taken`` when the next one did not follow it in memory."""

    address: int
    size: int
    taken: bool


@dataclass
class Segment:
    """What ran from the end of one layer to the end of the next, or inside the layer hook.

    ``windows`` are pieces of the stream, as ``address | size << 32``.
    """

    layer: int | None = None
    counts: Counter[int] = field(default_factory=Counter)
    windows: list[np.ndarray] = field(default_factory=list)

    def blocks(self) -> list[tuple[Block, int]]:
        """Return each block and how often it ran."""
        return [
            (Block(key & 0xFFFF_FFFF, (key >> 32) & 0x7FFF_FFFF, bool(key >> 63)), count)
            for key, count in self.counts.items()
        ]


class BlockTrace:
    """Records blocks as cheaply as Python can and counts them in bulk.

    ``hook_address`` is ``eb_layer_done``, or None. What runs in there, up to its return, belongs to
    no layer and is kept in ``hook``.
    """

    def __init__(self, hook_address: int | None, max_blocks: int) -> None:
        self.segments = [Segment()]
        self.hook = Segment()
        self.total_blocks = 0
        self.exhausted = False
        self._hook_address = hook_address
        self._max_blocks = max_blocks
        self._buffer = array("Q")
        self._carry: int | None = None
        self._layers: list[tuple[int, int]] = []
        self._closed = 0
        self._return_to: int | None = None

    def on_block(self) -> Callable[..., None]:
        """Return the callback for every block; it stays tiny on purpose."""
        buffer, append, flush = self._buffer, self._buffer.append, self._flush_full

        def callback(uc: Any, address: int, size: int, _user: object) -> None:
            append(address | size << 32)
            if len(buffer) >= _CHUNK:
                flush(uc)

        return callback

    def layer_done(self, layer: int, return_to: int) -> None:
        """Note that ``eb_layer_done(layer)`` was entered and returns to ``return_to``."""
        self._layers.append((layer, return_to & ~1))

    def finish(self) -> None:
        """Count what is left; the last block ends in a taken branch, the return."""
        self._flush()
        if self._carry is not None:
            codes = np.array([self._carry], np.uint64)
            self._count(codes, np.ones(1, bool))
            self._carry = None

    def _flush_full(self, uc: Any) -> None:
        self._flush()
        if self.total_blocks > self._max_blocks:
            self.exhausted = True
            uc.emu_stop()

    def _flush(self) -> None:
        codes = np.array(self._buffer, np.uint64)
        del self._buffer[:]
        if not len(codes):
            return
        if self._carry is not None:
            codes = np.concatenate([np.array([self._carry], np.uint64), codes])
        self._carry = int(codes[-1])
        addresses = codes & _ADDRESS
        taken = addresses[1:] != addresses[:-1] + (codes[:-1] >> _SIZE_SHIFT)
        self._count(codes[:-1], taken)

    def _count(self, codes: np.ndarray, taken: np.ndarray) -> None:
        """Split the stream at the layer hook's entries and returns, and count each part."""
        self.total_blocks += len(codes)
        addresses = codes & _ADDRESS
        keys = codes | np.where(taken, _TAKEN_BIT, np.uint64(0))
        entries = np.empty(0, np.intp)
        if self._hook_address is not None:
            entries = np.flatnonzero(addresses == np.uint64(self._hook_address))
        position = 0
        while position < len(codes):
            if self._return_to is None:
                later = entries[np.searchsorted(entries, position) :]
                end = int(later[0]) if len(later) else len(codes)
                _add(self.segments[-1], keys[position:end])
                if len(later):
                    self.segments[-1].layer, self._return_to = self._layers[self._closed]
                    self._closed += 1
                    self.segments.append(Segment())
            else:
                returns = np.flatnonzero(addresses[position:] == np.uint64(self._return_to))
                end = position + int(returns[0]) if len(returns) else len(codes)
                _add(self.hook, keys[position:end])
                if len(returns):
                    self._return_to = None
            position = end


def _add(segment: Segment, keys: np.ndarray) -> None:
    if len(segment.windows) < _WINDOWS:
        segment.windows += _windows(keys)
    values, counts = np.unique(keys, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        segment.counts[value] += count


def _windows(keys: np.ndarray) -> list[np.ndarray]:
    """Return pieces that lie evenly in ``keys``, or all of them."""
    last = len(keys) - _WINDOW
    starts = np.linspace(0, last, _WINDOWS, dtype=int).tolist() if last > 0 else [0]
    return [keys[start : start + _WINDOW] & ~_TAKEN_BIT for start in starts]
