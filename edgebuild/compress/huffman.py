"""Entropy-coded weights for storage: sparse positions and shared values as Huffman codes.

Of a model that is quantized, the numbers that its ``.tflite`` stores.

The packed form is little-endian::

    "EBH2"  u32 variables, then for each:
      u16 bytes of its path, path in UTF-8;  u8 rank, u32 for each dimension
      u8 kind: 0 raw float32 values | 1 coded | 2 raw numbers | 3 bytes coded | 4 sparse bytes
      2, 3, 4: u8 place of the dtype in _DTYPES, then
              2: the numbers; 3: their bytes as a code block
              4: u32 bytes that are not zero, gaps before them and they as code blocks
      coded:  u32 stored weights;  u16 codebook size (0: weights are raw), float32 codebook
              gaps as a code block;  indices as a code block, or raw float32 weights
    code block: u32 symbols;  u16 range, a bit for each symbol below it: whether it has a code;
              6 bits for each code, its length;  u32 bytes, the codes' bits

Gaps are the zeros before each stored weight, in the order of the flattened variable (Han et al.
2016); 255 stands for 255 zeros without a weight behind them. Codes are canonical. Bits begin at the
most significant one of each byte, and each row of them at a byte of its own.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgebuild.compress.base import Context, State
from edgebuild.compress.costs import model_cost
from edgebuild.compress.ptq.artifact import constant_bytes, constants
from edgebuild.errors import InputError

_MAGIC = b"EBH2"
_ESCAPE = 255
_LENGTH_BITS = 6
_RAW, _CODED, _NUMBERS, _BYTES, _SPARSE = range(5)
_DTYPES = ("<i1", "<u1", "<i2", "<i4", "<i8", "<f2", "<f4")
_MAX_WEIGHTS = 1 << 26


@dataclass(frozen=True)
class Huffman:
    """Store the weights entropy-coded beside the build, and report the real bytes.

    It changes no weight and comes last. It pays after sparsify and cluster.
    """

    name: ClassVar[str] = "huffman"

    def apply(self, state: State, context: Context) -> tuple[State, tuple[str, ...]]:
        """Return ``state`` itself, and what its weights take."""
        packed = len(pack_model(state))
        plain = model_cost(state.model).bytes
        note = f"stored in {packed:,} B, float32 takes {plain:,} B: {plain / packed:.1f}x"
        if state.flatbuffer is not None:
            fixed = constant_bytes(state.flatbuffer)
            note += f"; the quantized numbers {fixed:,} B: {fixed / packed:.1f}x"
        return state, (note,)


def pack_model(state: State) -> bytes:
    """Return all of a model's weights in packed form: a quantized model's stored constants by
    tensor (``t3``), else the Keras model's variables by path."""
    if state.flatbuffer is not None:
        return pack(constants(state.flatbuffer))
    return pack({v.path: np.asarray(v, np.float32) for v in state.model.weights})


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays in packed form; ``unpack`` gives exactly them back."""
    parts = [_MAGIC, struct.pack("<I", len(arrays))]
    for path, array in arrays.items():
        name = path.encode()
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        parts += [struct.pack("<H", len(name)), name, shape]
        if array.dtype == np.float32:
            flat = np.ascontiguousarray(array, "<f4").ravel()
            forms = [bytes((_RAW,)) + flat.tobytes(), bytes((_CODED,)) + _pack_weights(flat)]
        else:
            forms = _number_forms(array)
        parts.append(min(forms, key=len))
    return b"".join(parts)


def _number_forms(array: np.ndarray) -> list[bytes]:
    """Return the forms that integers and half floats can have."""
    dtype = array.dtype.newbyteorder("<").str.replace("|", "<")
    flat = np.frombuffer(np.ascontiguousarray(array, dtype).tobytes(), np.uint8)
    gaps, places = _gaps(flat)
    sparse = struct.pack("<I", len(places)) + encode(gaps) + encode(flat[places])
    forms = {_NUMBERS: flat.tobytes(), _BYTES: encode(flat), _SPARSE: sparse}
    return [bytes((kind, _DTYPES.index(dtype))) + body for kind, body in forms.items()]


def _unpack_numbers(reader: _Reader, kind: int, size: int) -> np.ndarray:
    place = reader.number("<B")
    if place >= len(_DTYPES):
        raise InputError("packed weights are damaged: an unknown type")
    dtype = np.dtype(_DTYPES[place])
    count = size * dtype.itemsize
    if kind == _NUMBERS:
        return np.frombuffer(reader.take(count), dtype)
    if kind == _BYTES:
        flat = _decode(reader, count)
        if len(flat) != count:
            raise InputError("packed weights are damaged: too few codes")
    else:
        stored = reader.number("<I")
        places = _places(_decode(reader, count))
        values = _decode(reader, count)
        if len(places) != stored or len(values) != stored or np.any(places >= count):
            raise InputError("packed weights are damaged: positions do not fit")
        flat = np.zeros(count, np.int64)
        flat[places] = values
    if np.any(flat > _ESCAPE):
        raise InputError("packed weights are damaged: no byte")
    return np.frombuffer(flat.astype(np.uint8).tobytes(), dtype)


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays that were packed; InputError for anything else."""
    reader = _Reader(content)
    if reader.take(4) != _MAGIC:
        raise InputError("not packed weights: they begin with EBH2")
    arrays = {}
    for _ in range(reader.number("<I")):
        path = reader.take(reader.number("<H")).decode(errors="replace")
        shape = tuple(reader.number("<I") for _ in range(reader.number("<B")))
        size = int(np.prod(shape, dtype=object)) if shape else 1
        # Also where one dimension is zero NumPy wants the others to be small.
        if len(shape) > 8 or np.prod([max(1, d) for d in shape], dtype=object) > _MAX_WEIGHTS:
            raise InputError(f"packed weights: '{path[:60]}' has {size:,} values")
        kind = reader.number("<B")
        if kind == _RAW:
            flat = np.frombuffer(reader.take(4 * size), "<f4")
        elif kind == _CODED:
            flat = _unpack_weights(reader, size)
        else:
            flat = _unpack_numbers(reader, kind, size)
        arrays[path] = flat.reshape(shape)
    return arrays


def encode(symbols: np.ndarray) -> bytes:
    """Return symbols 0..65534 as a code block."""
    used, counts = np.unique(symbols, return_counts=True)
    lengths = code_lengths(counts.tolist())
    codes = _canonical(lengths)
    known = np.zeros(int(used[-1]) + 1 if len(used) else 0, np.uint8)
    known[used] = 1
    rows = np.unpackbits(np.array(lengths, np.uint8)[:, np.newaxis], axis=1)[:, -_LENGTH_BITS:]
    table = np.packbits(known).tobytes() + np.packbits(rows).tobytes()
    words = [format(code, f"0{n}b") for code, n in zip(codes, lengths, strict=True)]
    place = np.searchsorted(used, symbols)
    text = "".join(words[i] for i in place.tolist())
    bits = np.frombuffer(text.encode(), np.uint8) - ord("0")
    stored = np.packbits(bits).tobytes()
    head = struct.pack("<IH", len(symbols), len(known))
    return head + table + struct.pack("<I", len(stored)) + stored


def code_lengths(counts: list[int]) -> list[int]:
    """Return the Huffman code's length for each symbol; ties go to the earlier symbol."""
    if len(counts) < 2:
        return [1] * len(counts)
    heap = [(count, i, [i]) for i, count in enumerate(counts)]
    heapq.heapify(heap)
    lengths = [0] * len(counts)
    for order in range(len(counts), 2 * len(counts) - 1):
        first, _, left = heapq.heappop(heap)
        second, _, right = heapq.heappop(heap)
        for i in (*left, *right):
            lengths[i] += 1
        heapq.heappush(heap, (first + second, order, left + right))
    return lengths


def _canonical(lengths: list[int]) -> list[int]:
    """Return codes in the order of (length, position)."""
    codes = [0] * len(lengths)
    code = previous = 0
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        code <<= lengths[i] - previous
        previous = lengths[i]
        codes[i] = code
        code += 1
    return codes


def _pack_weights(flat: np.ndarray) -> bytes:
    # Minus zero is a value of its own: what comes back is the same bytes.
    stream, places = _gaps(flat.view("<u4"))
    values = flat[places]
    codebook, indices = np.unique(values.view("<u4"), return_inverse=True)
    shared = len(codebook) < 1 << 12 and 4 * len(codebook) < len(values)
    head = struct.pack("<IH", len(values), len(codebook) if shared else 0)
    if not shared:
        return head + encode(stream) + values.tobytes()
    return head + codebook.tobytes() + encode(stream) + encode(indices)


def _gaps(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gaps before numbers that are not zero, with escapes, and their places."""
    places = np.flatnonzero(flat)
    gaps = np.diff(places, prepend=-1) - 1
    escapes = gaps // _ESCAPE
    stream = np.full(len(gaps) + int(escapes.sum()), _ESCAPE)
    stream[np.arange(len(gaps)) + np.cumsum(escapes)] = gaps % _ESCAPE
    return stream, places


def _places(stream: np.ndarray) -> np.ndarray:
    """Return the places that gaps with escapes lead to."""
    steps = np.where(stream == _ESCAPE, _ESCAPE, stream + 1)
    return (np.cumsum(steps) - 1)[stream != _ESCAPE]


def _unpack_weights(reader: _Reader, size: int) -> np.ndarray:
    count, known = reader.number("<I"), reader.number("<H")
    codebook = np.frombuffer(reader.take(4 * known), "<f4")
    places = _places(_decode(reader, size))
    if known:
        indices = _decode(reader, size)
        if np.any(indices >= known):
            raise InputError("packed weights are damaged: an index is not in the codebook")
        values = codebook[indices]
    else:
        values = np.frombuffer(reader.take(4 * count), "<f4")
    if len(places) != count or len(values) != count or np.any(places >= size):
        raise InputError("packed weights are damaged: positions do not fit")
    flat = np.zeros(size, "<f4")
    flat[places] = values
    return flat


def _decode(reader: _Reader, most: int) -> np.ndarray:
    """Return the symbols of a code block of at most 2 * ``most`` + 1 symbols."""
    count, used = reader.number("<I"), np.flatnonzero(reader.bits(reader.number("<H")))
    if count > 2 * most + 1 or (count and not len(used)):
        raise InputError("packed weights are damaged: too many codes")
    rows = reader.bits(_LENGTH_BITS * len(used)).reshape(-1, _LENGTH_BITS)
    lengths = (rows @ (1 << np.arange(_LENGTH_BITS)[::-1])).tolist()
    if 0 in lengths:
        raise InputError("packed weights are damaged: a code has no length")
    codes = zip(lengths, _canonical(lengths), strict=True)
    symbols = dict(zip(codes, used.tolist(), strict=True))
    stored = reader.take(reader.number("<I"))
    found: list[int] = []
    bits = np.unpackbits(np.frombuffer(stored, np.uint8)).tolist()
    code = length = 0
    for bit in bits:
        if len(found) == count:
            break
        code, length = code << 1 | bit, length + 1
        if (symbol := symbols.get((length, code))) is not None:
            found.append(symbol)
            code = length = 0
    if len(found) != count:
        raise InputError("packed weights are damaged: the codes end too early")
    return np.array(found, np.int64)


class _Reader:
    """Takes bytes from the front; InputError when there are too few."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count > len(self._content) - self._at:
            raise InputError("packed weights are cut off")
        self._at += count
        return self._content[self._at - count : self._at]

    def bits(self, count: int) -> np.ndarray:
        """Return the next ``count`` bits, and leave the rest of their last byte."""
        packed = np.frombuffer(self.take(-(-count // 8)), np.uint8)
        return np.unpackbits(packed, count=count).astype(int)

    def number(self, form: str) -> int:
        """Return the next number of a ``struct`` format."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])
