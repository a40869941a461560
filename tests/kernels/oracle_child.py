"""Run many one-operator models through tflite-micro in one process: reads and writes a pickle."""

from __future__ import annotations

import pickle
import sys


def main() -> None:
    """Read [(model bytes, samples)] from stdin, write [outputs or error text] to stdout."""
    from tflite_micro.python.tflite_micro import runtime

    jobs = pickle.loads(sys.stdin.buffer.read())
    answers = []
    for model, samples in jobs:
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 20)
            outputs = []
            for sample in samples:
                for index, array in enumerate(sample):
                    interpreter.set_input(array, index)
                interpreter.invoke()
                count = len(sample) and _output_count(model)
                outputs.append([interpreter.get_output(i) for i in range(count)])
            answers.append(outputs)
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(pickle.dumps(answers))


def _output_count(model: bytes) -> int:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(model, 0).Subgraphs(0).OutputsLength()


if __name__ == "__main__":
    main()
