"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


# A shell that runs the suite in the background has it ignore Ctrl-C, and so its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_path() -> Path:
    """Return the folder of shared models and data; it may be absent."""
    return Path(os.environ.get("EDGEBUILD_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real models and data sets; skips where it is absent."""
    path = shared_path()
    if not (path / "models" / "mlperf_tiny").is_dir():
        pytest.skip(f"no MLPerf Tiny models in {path}")
    return path
