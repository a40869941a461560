"""What LiteRT itself delegates to XNNPACK, asked in a child process that may crash.

Run as a program it is that child: models come on stdin, each behind its length, and for each a
line of JSON goes out: a list of booleans, one for each operator, or null where LiteRT refuses.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Sequence

CRASHED = "crashed"
_TIMEOUT_S = 300.0


def ask(models: Sequence[bytes]) -> list[list[bool] | str | None]:
    """Return for each model which operators LiteRT delegates, None where it refuses to load it.

    A model on which LiteRT crashes is ``CRASHED``, and the others are asked again.
    """
    answers: list[list[bool] | str | None] = []
    while len(answers) < len(models):
        packed = b"".join(struct.pack("<Q", len(m)) + m for m in models[len(answers) :])
        done = subprocess.run(
            [sys.executable, __file__],
            input=packed,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        answers += [
            json.loads(line[4:]) for line in done.stdout.splitlines() if line[:4] == b"ans "
        ]
        if len(answers) < len(models):
            if done.returncode >= 0:
                raise AssertionError(done.stderr.decode()[-2000:])
            answers.append(CRASHED)
    return answers


def delegated(model: bytes) -> list[bool] | None:
    """Return which operators of ``model`` a DELEGATE node runs; None where LiteRT refuses."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=model)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError):
        return None
    nodes = interpreter._get_ops_details()
    made = {int(i) for n in nodes if n["op_name"] == "DELEGATE" for i in n["outputs"]}
    operators = [n for n in nodes if n["op_name"] != "DELEGATE"]
    return [bool(made) and _runs_inside(interpreter, node, made) for node in operators]


def _runs_inside(interpreter: object, node: dict, made: set[int]) -> bool:
    """A tensor that lives inside a delegate has no memory in the interpreter."""
    for output in map(int, node["outputs"]):
        if output in made:
            return True
        try:
            interpreter.get_tensor(output)  # type: ignore[attr-defined]
        except ValueError:
            return True
    return False


def main() -> None:
    """Answer for every model on stdin."""
    stream = sys.stdin.buffer
    while header := stream.read(8):
        answer = delegated(stream.read(struct.unpack("<Q", header)[0]))
        sys.stdout.write(f"ans {json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
