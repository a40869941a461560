"""Fixtures of the integration tests."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.cli.main import run
from tests.phone.fixtures import adb_server, phone_build, phones  # noqa: F401
from tests.small import small_model
from tests.unit.compress.conftest import blobs, keras, trained  # noqa: F401
from tests.unit.coral.conftest import (  # noqa: F401
    coral_dir,
    made_coral_dir,
    public_coral_dir,
)
from tests.unit.coral.test_compiler import stand_in  # noqa: F401


@pytest.fixture
def place(trained, tmp_path, monkeypatch):  # noqa: F811
    """A folder with a trained model, its data and an empty cache of trainings; work is there.

    ``net.keras``, ``data.npz`` (labels and a slice), ``blind.npz`` (inputs alone).
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgebuild.pipeline.plan.cache_dir", lambda: tmp_path / "cache")
    trained.save(tmp_path / "net.keras")
    x, y = blobs(600, seed=5)
    part = np.where(np.arange(600) % 5 == 0, "fifth", "rest")
    np.savez(tmp_path / "data.npz", x=x, y=y, slice_part=part)
    np.savez(tmp_path / "blind.npz", x=x)
    return tmp_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with ``small.tflite``, which is also the current one."""
    (tmp_path / "small.tflite").write_bytes(small_model())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(capsys, monkeypatch):
    """Run ``edgebuild`` in 80 columns; return exit code, output and errors."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments):
        code = run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
