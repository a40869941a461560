"""Fixtures of the Coral tests."""

import pytest

from tests.conftest import shared_path


@pytest.fixture(scope="session")
def coral_dir():
    """The folder of compiled pairs; skips where it is absent."""
    path = shared_path() / "models" / "coral"
    if not path.is_dir():
        pytest.skip(f"no compiled Edge TPU models in {path}")
    return path
