"""Outputs that are computed once for the same model and data."""

from __future__ import annotations

import numpy as np
import pytest

from edgebuild.models.recent import Recent


def test_the_same_is_computed_once_and_cannot_be_changed():
    recent, calls = Recent(), []

    def outputs() -> tuple[np.ndarray, ...]:
        calls.append(1)
        return (np.arange(3),)

    x = np.zeros((2, 3), np.float32)
    first = recent.get(b"m", [x], outputs)
    assert recent.get(b"m", [x.copy()], outputs) is first and len(calls) == 1
    with pytest.raises(ValueError, match="read-only"):
        first[0][0] = 7
    for model, array in ((b"n", x), (b"m", x + 1), (b"m", x.T), (b"m", x.astype(np.float64))):
        recent.get(model, [array], outputs)
    assert len(calls) == 5
    recent.get(b"m", [x], outputs)  # four others have come since
    assert len(calls) == 6
