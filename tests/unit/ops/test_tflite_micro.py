"""The table of TFLite Micro's operators is what the tflite-micro package registers."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

from edgebuild.graph import Graph, Op
from edgebuild.ops.cases import activation, one_op
from edgebuild.ops.tflite_micro import RESOLVER_METHODS
from edgebuild.tflite import schema
from edgebuild.tflite.writer import write_tflite

ABSENT = "RANGE"

CHILD = """
import json, sys
from tflite_micro.python.tflite_micro import runtime
for line in sys.stdin:
    try:
        runtime.Interpreter.from_bytes(bytes.fromhex(json.loads(line)), arena_size=1 << 16)
    except RuntimeError:
        pass
    print("next", file=sys.stderr, flush=True)
"""


def two_ops(kind: str) -> Graph:
    """Return a model of one operator of ``kind`` and one that TFLite Micro does not have: it looks
    all up before it prepares any, so that none is run with operands that are not its own."""
    graph = one_op("ask", "RELU", [activation((1, 4))], [activation((1, 4))]).graph
    tensors = {**graph.tensors, 2: dataclasses.replace(activation((1, 4)), index=2)}
    return graph.replace(
        tensors=tensors, outputs=(2,), ops=(Op(kind, (0,), (1,)), Op(ABSENT, (1,), (2,)))
    )


def test_the_table_is_what_the_package_has():
    kinds = [kind for kind in schema.enum_values("BuiltinOperator") if kind != "CUSTOM"]
    kinds += [kind for kind in RESOLVER_METHODS if kind.startswith("CUSTOM")]
    models = [write_tflite(two_ops(kind)).hex() for kind in kinds]
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input="\n".join(map(json.dumps, models)) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    logs = done.stderr.split("next\n")
    assert done.returncode == 0 and len(logs) == len(kinds) + 1, done.stderr[-500:]
    found = {kind for kind, log in zip(kinds, logs, strict=False) if f"'{ABSENT}'" in log}
    # The host's package is built without the Ethos-U driver.
    assert found - {ABSENT} == set(RESOLVER_METHODS) - {"CUSTOM ethos-u"}
    refused = [log for kind, log in zip(kinds, logs, strict=False) if kind not in found]
    assert all("Didn't find op" in log or "Failed to get registration" in log for log in refused)
