"""The oracle's child process: runs one model through ``tflite-micro``. Not imported by edgebuild.

It is started by its path, reads ``job.json`` in the folder that it is given and leaves its outputs
there as raw files, so that a model that crashes TFLite Micro's C++ code ends this process only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Run the job in ``folder``: inputs from ``in<i>``, outputs to ``out<i>`` and ``tensor<i>``."""
    import numpy as np
    from tflite_micro.python.tflite_micro import runtime

    job = json.loads((folder / "job.json").read_text())
    kind = runtime.InterpreterConfig
    interpreter = runtime.Interpreter.from_bytes(
        Path(job["model"]).read_bytes(),
        arena_size=job["arena_bytes"],
        intrepreter_config=kind.kPreserveAllTensors
        if job["tensors"]
        else kind.kAllocationRecording,
    )
    _say("ready")
    inputs = [
        np.memmap(folder / f"in{i}", spec["dtype"], "r", shape=(job["samples"], *spec["shape"]))
        if job["samples"] and all(spec["shape"])
        else np.zeros((job["samples"], *spec["shape"]), spec["dtype"])
        for i, spec in enumerate(job["inputs"])
    ]
    outputs = [folder / f"out{i}" for i in range(job["outputs"])]
    tensors = {index: folder / f"tensor{index}" for index in job["tensors"]}
    for path in (*outputs, *tensors.values()):
        path.touch()
    for sample in range(job["samples"]):
        if job["reset"]:
            interpreter.reset()
        for i, array in enumerate(inputs):
            interpreter.set_input(np.array(array[sample]), i)
        interpreter.invoke()
        for i, path in enumerate(outputs):
            _append(path, interpreter.get_output(i))
        for index, path in tensors.items():
            _append(path, interpreter.GetTensor(index, 0)["tensor_data"])
    if job["allocations"]:
        interpreter.print_allocations()
    _say("done")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _append(path: Path, array: Any) -> None:
    # Opened each time: a model may have more outputs than a process may have open files.
    with path.open("ab") as file:
        file.write(array.tobytes())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        sys.exit(f"oracle: {type(error).__name__}: {error}")
