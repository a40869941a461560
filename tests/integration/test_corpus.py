"""``check`` and ``build`` say the same of models of all kinds, and build what was built before.

A part of the corpus in CI, all of it in the nightly run: ``tests/corpus``.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

import pytest

from tests.corpus.files import tflite_cases
from tests.corpus.verdicts import disagreements, verdict

BEFORE = Path(__file__).parents[1] / "corpus" / "before.json"
"""Verdicts of ``build`` at commit e07ba38, with the hash of each file."""

PARTS = 40
SHORT = range(0, PARTS, 10)
"""The parts that CI runs, eleven models each."""


@cache
def tflite():
    return tflite_cases()


@cache
def before():
    return json.loads(BEFORE.read_text())


def hold(cases, folder):
    """Fail with everything that is wrong of ``cases``."""
    wrong = []
    for case in cases:
        place = folder / case.name
        place.mkdir()
        check, build = (verdict(verb, case, place) for verb in ("check", "build"))
        wrong += [f"{case.name}: {sentence}" for sentence in disagreements(check, build)]
        earlier = before().get(case.name, {"code": None, "sha256": ""})
        same = earlier["sha256"] in ("", hashlib.sha256(case.content).hexdigest()[:16])
        if earlier["code"] == 0 and same and build.code != 0:
            wrong.append(f"{case.name}: built before, now {build.code}: {build.refusal}")
    assert not wrong, "\n".join(wrong)


def test_there_are_enough():
    names = {case.name for case in tflite()}
    assert len(names) == len(tflite()) >= 400
    kept = [case for case in tflite() if before().get(case.name, {}).get("sha256")]
    assert len(kept) >= 300


@pytest.mark.parametrize("part", SHORT)
def test_check_says_what_build_says(tmp_path, part):
    hold(tflite()[part::PARTS], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", [part for part in range(PARTS) if part not in SHORT])
def test_check_says_what_build_says_of_all(tmp_path, part):
    hold(tflite()[part::PARTS], tmp_path)


@pytest.mark.slow
@pytest.mark.keras
def test_check_says_what_build_says_of_keras_models(tmp_path):
    from tests.corpus.keras_models import keras_cases

    hold(keras_cases(), tmp_path)
