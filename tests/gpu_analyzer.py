"""What the GPU compatibility analyzer of an old TensorFlow says; run by that TensorFlow's Python.

    PYTHON tests/gpu_analyzer.py < models      models on stdin, each behind its length

For each model a line of JSON goes out: the messages by operator, ``{"0": "Not supported op ..."}``.
It imports nothing of edgebuild, as its Python has none.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import sys

_NODES = re.compile(r"Subgraph#0 has GPU delegate compatibility issues at nodes ([\d, ]+)")
_MESSAGE = re.compile(r"GPU COMPATIBILITY WARNING: (.*)")


def analyze(model: bytes) -> dict[str, str]:
    """Return the analyzer's message for each operator that the GPU delegate would refuse."""
    import tensorflow as tf

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        tf.lite.experimental.Analyzer.analyze(model_content=model, gpu_compatibility=True)
    found = _NODES.search(text.getvalue())
    positions = [p.strip() for p in found[1].split(",")] if found else []
    messages = _MESSAGE.findall(text.getvalue())[: len(positions)]
    return dict(zip(positions, messages, strict=True))


def main() -> None:
    """Answer for every model on stdin."""
    import tensorflow as tf

    sys.stdout.write(f"version {tf.__version__}\n")
    stream = sys.stdin.buffer
    while header := stream.read(8):
        answer = analyze(stream.read(struct.unpack("<Q", header)[0]))
        sys.stdout.write(f"ans {json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
