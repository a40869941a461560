"""The example: train, build through edgebuild.toml, judge accuracy, build again from the cache."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from edgebuild.budget import Budget
from edgebuild.report.model import report_from_json
from tests.conftest import ROOT

pytestmark = pytest.mark.keras

EXAMPLE = ROOT / "examples" / "digits"
TARGETS = ["cortex-m0plus", "cortex-m4", "cortex-m7"]


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in ``folder``."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def edgebuild(folder: Path, *arguments: str) -> str:
    """Run ``edgebuild`` in ``folder``; return what it prints. It must succeed."""
    done = python(folder, "-m", "edgebuild", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A copy of the example whose model was trained for a shorter time."""
    for package in ("tensorflow", "sklearn"):
        if util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    folder = tmp_path_factory.mktemp("digits")
    shutil.copy(EXAMPLE / "edgebuild.toml", folder)
    script = (EXAMPLE / "train.py").read_text()
    assert script.count("epochs=40") == 1
    (folder / "train.py").write_text(script.replace("epochs=40", "epochs=8"))
    done = python(folder, "train.py")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("digits.keras: test accuracy 0.9")
    return folder


@pytest.fixture(scope="module")
def built(trained):
    """The example built for one target; a short training may cost more accuracy."""
    text = edgebuild(trained, "build", "--target", "cortex-m4", "--max-accuracy-drop", "3%")
    value = json.loads((trained / "build/digits-cortex-m4/report.json").read_text())
    return text, value


def test_the_build(built):
    text, value = built
    assert text.startswith("digits for cortex-m4: fits\n")
    assert "accuracy on 450 samples: float 9" in text
    report = report_from_json(value)
    assert report.to_json() == value and report.passed
    assert report.comparison.equal and report.comparison.samples == 8
    assert report.accuracy.samples == 450
    accuracy = [
        figure.value
        for figure in (
            report.accuracy.float_baseline,
            report.accuracy.int8_reference,
            report.accuracy.shipped,
        )
    ]
    assert all(0.9 < value <= 1 for value in accuracy)
    assert max(accuracy) - min(accuracy) <= 0.03
    assert report.metrics.accuracy_drop.value == pytest.approx(accuracy[0] - accuracy[2])


def test_budgets_come_from_the_project_and_the_flag(built):
    budget = report_from_json(built[1]).budget
    assert budget == Budget(48 * 1024, 16 * 1024, 60_000.0, 0.03)


def test_a_second_build_is_a_cache_hit(trained, built):
    again = edgebuild(trained, "build", "--target", "cortex-m4", "--max-accuracy-drop", "3%")
    assert "(cached: nothing changed since the last build)" in " ".join(again.split())
    text = edgebuild(
        *(trained, "build", "--target", "cortex-m4", "--max-accuracy-drop", "3%", "--json")
    )
    (value,) = json.loads(text)["reports"]
    assert value.pop("cached") is True and value == built[1]


def test_plain_build_builds_every_target(trained):
    text = edgebuild(trained, "build", "--json", "--max-accuracy-drop", "3%")
    reports = json.loads(text)["reports"]
    assert [report["target"]["name"] for report in reports] == TARGETS
    assert all(report["passed"] for report in reports)
    # The same model on each: what differs is what the core makes of it.
    for name in TARGETS:
        assert (trained / f"build/digits-{name}/firmware.elf").is_file()
    models = {(trained / f"build/digits-{n}/model.tflite").read_bytes() for n in TARGETS}
    assert len(models) == 1
