"""Random functional Keras models, and every compression pass on them: a result whose integers are
TFLite Micro's, or a refusal in words. Anything else is a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import edgebuild
from edgebuild.errors import EdgebuildError, Exit
from tests.random_pairs import RECIPES, recipe_of

pytestmark = pytest.mark.keras

ROOT = Path(__file__).resolve().parents[2]
TOGETHER = 12
IN_CI, NIGHTLY = 60, 500
_TIMEOUT_S = 1500


def groups(first: int, last: int, *marks: pytest.MarkDecorator) -> list[object]:
    """Return parameters for pairs of those numbers, several to a process."""
    starts = range(first, last, TOGETHER)
    return [pytest.param(range(s, min(s + TOGETHER, last)), marks=marks, id=f"{s}") for s in starts]


def compressed(pairs: range, folder: Path) -> list[dict[str, str]]:
    """Return what came of each pair, in one process that has TensorFlow."""
    arguments = [sys.executable, "-m", "tests.random_pairs", str(folder), *map(str, pairs)]
    with (folder / "log").open("wb") as log:
        found = subprocess.run(
            arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, timeout=_TIMEOUT_S, check=True
        )
    return [json.loads(line) for line in found.stdout.splitlines()]


def built(path: Path, folder: Path) -> str:
    """Build for a Cortex-M4 and run it; return what kept it from that, nothing where it equals
    TFLite Micro."""
    try:
        report = edgebuild.build(path, target="cortex-m4", out=folder)
    except EdgebuildError as error:
        # Formats such as float16 are made, but a Cortex-M4 has no kernels for them.
        assert error.exit_code in (Exit.BAD_INPUT, Exit.CHECK_FAILED), error
        return error.message
    assert report.comparison is not None and report.comparison.compared_bytes > 0
    assert report.comparison.different_bytes == 0, report.comparison.first_divergence
    return ""


def in_words(error: dict[str, str]) -> bool:
    """Return whether a refusal is for the user to act on, or says that the converter failed."""
    raw = ("Traceback", "Error: ", "report this", "damaged")
    is_ours = error["kind"] in ("InputError", "ModelError")
    is_converter = error["words"].startswith("TensorFlow's converter failed to make")
    return (is_ours or is_converter) and not any(w in error["words"] for w in raw)


@pytest.mark.parametrize("pairs", [*groups(0, IN_CI), *groups(IN_CI, NIGHTLY, pytest.mark.slow)])
def test_pairs(tmp_path, monkeypatch, pairs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgebuild.pipeline.plan.cache_dir", lambda: tmp_path / "cache")
    outcomes = compressed(pairs, tmp_path)
    assert [row["pair"] for row in outcomes] == list(pairs)
    refused = 0
    for row in outcomes:
        label = f"pair {row['pair']}, {row['recipe']}"
        assert row["result"] != "failed", f"{label}: {row['words']}"
        if row["result"] == "refused":
            assert in_words(row), f"{label}: {row['words']}"
            refused += 1
            continue
        why = built(tmp_path / f"{row['pair']}.tflite", tmp_path / "out")
        refused += bool(why)
    assert refused <= len(pairs) // 2  # a suite of refusals would prove nothing


def test_every_pass_is_put_on_models_at_least_five_times():
    names = [recipe_of(pair).split(":")[0].split(",")[0] for pair in range(IN_CI)]
    counted = Counter(names)
    counted["huffman"] += sum(recipe_of(pair).endswith("huffman") for pair in range(IN_CI))
    from edgebuild.compress.recipe import PASSES

    assert set(PASSES) <= set(counted) and min(counted[name] for name in PASSES) >= 5
    assert len(RECIPES) == len(PASSES)
