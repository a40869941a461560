"""What ``check`` and ``build`` say of each model of the corpus.

``python -m tests.corpus.verdicts FILE`` writes the exit code and the first sentence of ``build``
for all of them: what built before a change has to build after it.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild.cli.main import run
from tests.corpus.files import Case, tflite_cases
from tests.corpus.keras_models import keras_cases


@dataclass(frozen=True)
class Verdict:
    """The exit code of a command, the first sentence of its refusal, and what ``--json`` says."""

    code: int
    refusal: str
    answer: dict[str, Any]


def verdict(command: str, case: Case, folder: Path) -> Verdict:
    """Return what ``command`` says of ``case``; its file is written to ``folder``."""
    model = folder / f"model.{case.suffix}"
    model.write_bytes(case.content)
    flags = [*case.flags, *(("--data", case.data) if case.data else ())]
    if command == "build":
        flags += ["--no-search", "--no-cache", "--samples", "2", "--out", str(folder / "build")]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([command, str(model), "--target", case.target, *flags, "--json"])
    answer = json.loads(out.getvalue())
    return Verdict(code, _refusal(answer), answer)


def _refusal(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return str(answer["error"]["message"])
    (report,) = answer.get("reports", [answer])
    missed = [v["budget"] for v in report.get("violations", ())]
    return f"misses {', '.join(missed)}" if missed else ""


def all_cases() -> list[Case]:
    """Return the whole corpus."""
    return [*tflite_cases(), *keras_cases()]


def main(path: Path, most_s: float = math.inf) -> bool:
    """Record what ``build`` says, going on where an earlier run stopped; return whether all is."""
    found = json.loads(path.read_text()) if path.exists() else {}
    begun = time.monotonic()
    for case in all_cases():
        if case.name in found:
            continue
        if time.monotonic() - begun > most_s:
            return False
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            said = verdict("build", case, Path(folder))
        found[case.name] = {"code": said.code, "refusal": said.refusal.replace(folder, "")}
        print(f"{time.monotonic() - start:5.1f} s  {case.name}: {said.code} {said.refusal[:100]}")
        sys.stdout.flush()
        path.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    return True


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "80")
    sys.exit(not main(Path(sys.argv[1]), *map(float, sys.argv[2:])))
