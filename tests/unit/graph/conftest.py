"""Fixtures of the graph's tests."""

from tests.unit.coral.conftest import coral_dir  # noqa: F401
