"""The six pairs of source and compiled models, and what is known of them."""

import json
from functools import cache

from edgebuild.tflite.reader import read_tflite_file

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
    return read_tflite_file(folder / f"{name}{suffix}.tflite", survey=True)


@cache
def truth(folder):
    """Return {name: what the compiler did}."""
    text = (folder.parent.parent / "facts" / "coral_compiled_truth.json").read_text()
    return {pair["model"].removesuffix(".tflite"): pair for pair in json.loads(text)["pairs"]}
