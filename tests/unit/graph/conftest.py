"""Fixtures of the graph's tests."""

from tests.unit.coral.conftest import public_coral_dir  # noqa: F401
