"""Pairs of source and compiled models, six of them public, and what is known of them."""

import json
from functools import cache

from edgebuild.coral.package import CUSTOM_OP
from edgebuild.coral.tables import flexbuffer_map, root
from edgebuild.tflite.reader import read_tflite_file
from tests.conftest import facts_path

PAIRS = (
    "dense_256",
    "split_concat",
    "keras_lstm_mnist_ptq",
    "mobilenet_v1_0.25_128_quant",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "movenet_single_pose_lightning_ptq",
)


@cache
def graph_of(folder, name, *, compiled=False):
    """Return a pair's source or compiled model."""
    suffix = "_edgetpu" if compiled else ""
    return read_tflite_file(folder / f"{name}{suffix}.tflite")


def truth_path(folder):
    """Return the file that says what the compiler did with the pairs in ``folder``."""
    own = folder / "truth.json"
    return own if own.exists() else facts_path() / "coral_compiled_truth.json"


@cache
def truth(folder):
    """Return {name: what the compiler did}."""
    text = truth_path(folder).read_text()
    return {pair["model"].removesuffix(".tflite"): pair for pair in json.loads(text)["pairs"]}


def parameter_blocks(folder, name):
    """Return the sizes of the blocks that the compiled model loads into tiles, in order.

    The parameter-caching program has one load per block; the third of its 128-bit words holds where
    the block begins in the stream, counted in 64 bytes from 1.
    """
    graph = graph_of(folder, name, compiled=True)
    options = next(op.attrs["custom_options"] for op in graph.ops if op.kind == CUSTOM_OP)
    several = root(root(flexbuffer_map(options)["4"]).content(1))
    caching = next(p for p in map(root, several.contents(0)) if p.integer(13, "<h") == 1)
    stream = caching.tables(5)[0].content(0)
    words = [int.from_bytes(stream[i : i + 16], "little") for i in range(0, len(stream), 16)]
    begins = [(w >> 64) & 0xFFFF for w in words if w >> 80 == 0x10001 and w & _LOAD == _LOAD_IS]
    ends = [*begins[1:], len(caching.content(6)) // 64 + 1]
    return [64 * (end - begin) for begin, end in zip(begins, ends, strict=True)]


_LOAD = (1 << 64) - 1
_LOAD_IS = 0x0480 << 48
