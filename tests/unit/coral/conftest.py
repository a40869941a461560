"""Fixtures of the Coral tests."""

from pathlib import Path

import pytest

from tests.conftest import ORIGINS, models_path
from tests.unit.coral.made_pairs import write_pairs


@pytest.fixture(scope="session")
def public_coral_dir() -> Path:
    """The folder of public pairs of source and compiled models; skips where it is absent."""
    path = models_path() / "coral"
    if not path.is_dir():
        pytest.skip(f"no public Edge TPU models in {path} (EDGEBUILD_MODELS)")
    return path


@pytest.fixture(scope="session")
def made_coral_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pairs that the suite makes itself."""
    path = tmp_path_factory.mktemp("coral") / "pairs"
    write_pairs(path)
    return path


@pytest.fixture(params=[pytest.param("made"), ORIGINS[1]])
def coral_dir(request: pytest.FixtureRequest) -> Path:
    """A folder with ``dense_256`` and ``split_concat``, each with its compiled model."""
    found: Path = request.getfixturevalue(f"{request.param}_coral_dir")
    return found
