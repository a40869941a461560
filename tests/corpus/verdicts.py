"""What ``check`` and ``build`` say of each model of the corpus, and where they disagree.

``python -m tests.corpus.verdicts FILE`` writes for each model the exit code and the first sentence
of ``build``, and in what ``check`` differs. What built before a change has to build after it:
``before.json`` has the verdicts of a commit before this corpus.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgebuild.cli.main import run
from tests.corpus.files import Case, tflite_cases
from tests.corpus.keras_models import keras_cases

CALL_US = 6
"""What a prediction may be off by besides 10 %: calls in models that compute next to nothing, and a
row of SOFTMAX, whose time depends on its values."""

ROUGH = 3.0
"""The factor that a prediction which calls itself rough may be off by."""


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
        flags += ["--no-accuracy-gate"]  # noise for data judges nothing
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([command, str(model), "--target", case.target, *flags, "--json"])
    answer = json.loads(out.getvalue())
    return Verdict(code, _refusal(answer), answer)


def _refusal(answer: dict[str, Any]) -> str:
    """Return the first sentence of a refusal, of missed budgets their names."""
    if "error" in answer:
        return str(answer["error"]["message"])
    (said,) = answer.get("reports", [answer])
    missed = [v["budget"] for v in said.get("violations", ())]
    return f"misses {', '.join(missed)}" if missed else "".join(said.get("refusals", ())[:1])


def disagreements(check: Verdict, build: Verdict) -> list[str]:
    """Return in what the two verdicts differ as they must not; empty where they agree."""
    internal = [
        f"{name} exits with 70: {said.refusal}"
        for name, said in (("check", check), ("build", build))
        if said.code == 70
    ]
    if internal:
        return internal
    unsure = bool(check.answer.get("uncertain"))
    if unsure and build.code in (0, 1):
        return [] if "error" in build.answer else _figures(check, build)
    if check.code != build.code:
        return [
            f"check exits with {check.code} ({check.refusal}), "
            f"build with {build.code} ({build.refusal})"
        ]
    said = check.refusal
    if "error" in build.answer and check.answer.get("violations"):  # a build that does not link
        said = f"{check.answer['name']} for {check.answer['target']}: {check.answer['problems'][0]}"
    if said != build.refusal:
        return [f"check says: {said}", f"build says: {build.refusal}"]
    return [] if "error" in build.answer else _figures(check, build)


def _figures(check: Verdict, build: Verdict) -> list[str]:
    """Return the figures that are not those of the build, or do not have it in their bounds."""
    (report,) = build.answer["reports"]
    found = []
    if "arena_bytes" in check.answer:
        arena = report["memory"]["arena"]["value"]
        if check.answer["arena_bytes"] != arena:
            found.append(f"arena {check.answer['arena_bytes']}, not {arena}")
    if "fallbacks" in check.answer:
        for key in ("verdicts", "partitions", "crossing_bytes"):
            if check.answer[key] != report["compatibility"][key]:
                found.append(f"{key} differ")
    other = not _is_predicted(report["toolchain"]) and any(
        "of all but the first is not predicted" in note for note in check.answer["notes"]
    )
    for name, said in check.answer["metrics"].items():
        known = report["metrics"][name]
        if name == "latency_us" and other:
            continue
        if said is None or known is None:
            if (said is None) != (known is None) and "drop" not in name:
                found.append(f"{name}: {said}, not {known}")
            continue
        low, high = (said.get(bound, said["value"]) for bound in ("low", "high"))
        if said["how"] == "predicted":
            share = ROUGH if ", rough (" in said["source"] else 1.1
            low, high = low / share - CALL_US, high * share + CALL_US
        if not low <= known["value"] <= high:
            found.append(f"{name}: {low:,.0f} to {high:,.0f}, not {known['value']:,.0f}")
    return found


def _is_predicted(toolchain: str) -> bool:
    """Return whether latencies are predicted for ``toolchain``: the preferred one at -O2."""
    return toolchain.startswith("zig ") and not toolchain.endswith("-Os")


def all_cases() -> Iterator[Case]:
    """Yield the whole corpus; the Keras models, which TensorFlow makes, come last."""
    yield from tflite_cases()
    yield from keras_cases()


def main(path: Path, most_s: float = math.inf) -> bool:
    """Record the verdicts, going on where an earlier run stopped; return whether all are there."""
    found = json.loads(path.read_text()) if path.exists() else {}
    begun = time.monotonic()
    for case in all_cases():
        if case.name in found:
            continue
        if time.monotonic() - begun > most_s:
            return False
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            check, build = (verdict(verb, case, Path(folder)) for verb in ("check", "build"))
        wrong = disagreements(check, build)
        found[case.name] = {
            "code": build.code,
            "refusal": build.refusal.replace(folder, ""),
            "differ": wrong,
        }
        words = "; ".join(wrong) or "agree"
        print(f"{time.monotonic() - start:5.1f} s  {case.name}: {build.code}, {words}", flush=True)
        path.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")
    return True


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "80")
    sys.exit(not main(Path(sys.argv[1]), *map(float, sys.argv[2:])))
