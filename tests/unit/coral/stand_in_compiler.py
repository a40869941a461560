#!/usr/bin/env python3
"""Stands in for edgetpu_compiler, which is not to be had: takes its options, and replays pairs of
source and compiled models. STAND_IN says what goes wrong, STAND_IN_MODELS where the pairs are, and
STAND_IN_TRUTH what the compiler said of each.

Any other model fails, as nothing but the real compiler can compile one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

MODELS = Path(os.environ["STAND_IN_MODELS"])
TROUBLE = os.environ.get("STAND_IN", "")
ALL_SUPPORTED = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of \
the model will instead run on the CPU, which is slower. If possible, consider updating your model \
to use only operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: {on}
Number of operations that will run on CPU: {off}"""


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", "--show_operations", action="store_true")
    parser.add_argument("-a", "--enable_multiple_subgraphs", action="store_true")
    parser.add_argument("-m", "--min_runtime_version", type=int, choices=range(10, 15))
    parser.add_argument("-t", "--timeout_sec", type=int, default=180)
    parser.add_argument("-o", "--out_dir", default=".")
    parser.add_argument("models", nargs="+")
    return parser.parse_args()


def size(count):
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= factor:
            return f"{count / factor:.2f}{unit}"
    return f"{count:.2f}B"


def known_pair(model):
    data = Path(model).read_bytes()
    for source in MODELS.glob("*.tflite"):
        if not source.stem.endswith("_edgetpu") and source.read_bytes() == data:
            return source
    return None


def fail(words):
    print("Compilation child process completed within timeout period.")
    print(words)
    sys.exit(1)


def block(model, output, pair, truth, shown):
    on, off = truth["mapped"], truth["remaining_on_cpu"]
    lines = [
        f"Input model: {model}",
        f"Input size: {size(pair.stat().st_size)}",
        f"Output model: {output}",
        f"Output size: {size(pair.with_name(pair.stem + '_edgetpu.tflite').stat().st_size)}",
        f"On-chip memory used for caching model parameters: {size(truth['param_bytes_cached'])}",
        "On-chip memory remaining for caching model parameters: 6.50MiB",
        "Off-chip memory used for streaming uncached model parameters: "
        + size(truth["param_bytes_streamed"]),
        "Number of Edge TPU subgraphs: 1",
        f"Total number of operations: {sum(on.values()) + sum(off.values())}",
        f"Operation log: {Path(model).stem}_edgetpu.log",
    ]
    if off:
        lines.append(ALL_SUPPORTED.format(on=sum(on.values()), off=sum(off.values())))
    if shown:
        lines += ["", f"{'Operator':<30} {'Count':<10} Status", ""]
        lines += [f"{kind:<30} {count:<10} Mapped to Edge TPU" for kind, count in on.items()]
        status = "More than one subgraph is not supported"
        lines += [f"{kind:<30} {count:<10} {status}" for kind, count in off.items()]
    return "\n".join(lines)


def main():
    given = options()
    print("Edge TPU Compiler version 16.0.384591198")
    print(f"Started a compilation timeout timer of {given.timeout_sec} seconds.", flush=True)
    if TROUBLE == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(os.environ["STAND_IN_PID"]).write_text(str(child.pid))
        time.sleep(600)
    if TROUBLE == "large":
        fail("Compilation failed due to large activation tensors in model.")
    if TROUBLE == "version":
        print("ERROR: Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'")
        print(f"Invalid model: {given.models[0]}")
        print("Model could not be parsed")
        return 1
    facts = json.loads(Path(os.environ["STAND_IN_TRUTH"]).read_text())
    truths = {pair["model"]: pair for pair in facts["pairs"]}
    blocks = []
    for model in given.models:
        pair = known_pair(model)
        if pair is None:
            fail("Compilation failed!")
        output = Path(given.out_dir) / f"{Path(model).stem}_edgetpu.tflite"
        compiled = pair.with_name(f"{pair.stem}_edgetpu.tflite")
        if TROUBLE == "wrong":
            compiled = pair.with_name("split_concat_edgetpu.tflite")
        data = pair.read_bytes() if TROUBLE == "source" else compiled.read_bytes()
        if TROUBLE == "damaged":
            data = data.replace(b"DWN1", b"NWD1")
        if TROUBLE == "truncated":
            data = data[: len(data) // 2]
        if TROUBLE != "missing":
            output.write_bytes(data)
        blocks.append(block(model, output, pair, truths[pair.name], given.show_operations))
    if TROUBLE == "silent":
        return 0
    print(f"\nModel{'s' * (len(blocks) > 1)} compiled successfully in 231 ms.\n")
    print("\n\n".join(blocks))
    print("Compilation child process completed within timeout period.\nCompilation succeeded! ")
    return 0


sys.exit(main())
