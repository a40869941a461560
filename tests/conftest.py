"""Fixtures that the whole suite shares."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from importlib import metadata, util
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent


# A shell that runs the suite in the background has it ignore Ctrl-C, and so its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def models_path() -> Path:
    """Return the folder of public models: ``mlperf_tiny/`` and ``coral/``; it may be absent."""
    return Path(os.environ.get("EDGEBUILD_MODELS", ROOT.parent / "shared" / "models"))


def facts_path() -> Path:
    """Return the folder of what was measured with public models; it may be absent."""
    return models_path().parent / "facts"


ORIGINS = (
    pytest.param("made", marks=pytest.mark.keras),
    pytest.param("public", marks=pytest.mark.models),
)
"""Where the four MLPerf Tiny models come from: the suite makes some of the same shapes, others are
public."""

NIGHTLY_PUBLIC = (
    ORIGINS[0],
    pytest.param("public", marks=(pytest.mark.models, pytest.mark.slow)),
)
"""The same for long tests, which take the public models in nightly runs alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that needs public models without saying so: CI would never run it."""
    for item in items:
        needs = "public_coral_dir" in getattr(item, "fixturenames", ())
        if needs and item.get_closest_marker("models") is None:
            raise pytest.UsageError(f"{item.nodeid} needs public models: mark it as such")


@pytest.fixture(scope="session", params=ORIGINS)
def mlperf_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of the MLPerf Tiny models, made ones and public ones; skips where those are
    absent."""
    if request.param == "made":
        return made_models()
    path = models_path() / "mlperf_tiny"
    if not path.is_dir():
        pytest.skip(f"no public models in {path} (EDGEBUILD_MODELS)")
    return path


@cache
def made_models() -> Path:
    """Return the folder of the made models, which is filled once for each version of what makes
    them."""
    if util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed (pip install edgebuild[keras])")
    source = (ROOT / "tests" / "made_models.py").read_bytes()
    version = f"tensorflow {metadata.version('tensorflow')}, keras {metadata.version('keras')}"
    key = hashlib.sha256(source + version.encode()).hexdigest()[:16]
    folder = ROOT / "build" / "made_models" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker makes them, the others wait
        if not folder.is_dir():
            staged = folder.with_suffix(".new")
            shutil.rmtree(staged, ignore_errors=True)
            make = [sys.executable, "-m", "tests.made_models", str(staged)]
            subprocess.run(make, cwd=ROOT, check=True, capture_output=True, timeout=900)
            staged.rename(folder)
    return folder
