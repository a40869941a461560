"""LiteRT for the stand-ins: ``info MODEL`` prints its tensors, ``run MODEL DATA`` computes."""

import os
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Answer one request; LiteRT's own messages go nowhere."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=sys.argv[2])
    interpreter.allocate_tensors()
    details = {
        "input": interpreter.get_input_details(),
        "output": interpreter.get_output_details(),
    }
    if sys.argv[1] == "info":
        for kind, tensors in details.items():
            names = signature_names(interpreter, f"{kind}s")
            for d in tensors:
                shape = ",".join(str(n) for n in d["shape"])
                nbytes = int(np.prod(d["shape"])) * np.dtype(d["dtype"]).itemsize
                dtype = np.dtype(d["dtype"]).name.upper()
                print(kind, dtype, nbytes, shape, names.get(d["index"], ""))
        return
    data = Path(sys.argv[3]).read_bytes()
    for d in details["input"]:
        count = int(np.prod(d["shape"]))
        value = np.frombuffer(data, d["dtype"], count).reshape(d["shape"])
        data = data[value.nbytes :]
        interpreter.set_tensor(d["index"], value)
    assert not data, "inputs are too large"
    interpreter.invoke()
    outputs = [interpreter.get_tensor(d["index"]).tobytes() for d in details["output"]]
    Path(sys.argv[3]).write_bytes(b"".join(outputs))


def signature_names(interpreter: object, kind: str) -> dict[int, str]:
    """Return the names in the first signature by tensor index."""
    for signature in interpreter._get_full_signature_list().values():  # type: ignore[attr-defined]
        return {index: name for name, index in signature[kind].items()}
    return {}


main()
