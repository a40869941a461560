"""Removal in steps: shares that end at 1, and fine-tuning after each step."""

from __future__ import annotations

import pytest

from edgebuild.compress import prune, sparsify
from edgebuild.compress.base import State
from edgebuild.compress.gradual import epochs_after, share_after


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"),
    [(3, 30, [10, 10, 30]), (4, 5, [1, 1, 1, 5]), (4, 2, [1, 1, 1, 2]), (3, 0, [0, 0, 0])],
)
def test_every_step_has_epochs(steps, epochs, expected):
    assert [epochs_after(step, steps, epochs) for step in range(1, steps + 1)] == expected


def test_most_goes_at_first():
    shares = [share_after(step, 3) for step in range(4)]
    assert shares[0] == 0.0 and shares[-1] == 1.0
    assert shares[1] > shares[2] - shares[1] > shares[3] - shares[2] > 0.0


@pytest.mark.keras
@pytest.mark.parametrize("module", [prune, sparsify])
def test_passes_fine_tune_after_each_step(trained, context, monkeypatch, module):
    seen = []

    def fine_tune(state, context, *, epochs, near=False):
        seen.append(epochs)
        return state

    monkeypatch.setattr(module, "fine_tune", fine_tune)
    step = {prune: prune.Prune, sparsify: sparsify.Sparsify}[module](steps=3, epochs=2)
    step.apply(State(trained), context)
    assert seen == [1, 1, 2]
