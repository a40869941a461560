"""Removal in steps: much at first, little at the end, with fine-tuning after each."""

from __future__ import annotations


def share_after(step: int, steps: int) -> float:
    """Return the share of what is to go that is gone after ``step``, from 1 to ``steps``: cubic
    (Zhu and Gupta 2017)."""
    return 1.0 - (1.0 - step / steps) ** 3


def epochs_after(step: int, steps: int, epochs: int) -> int:
    """Return how many epochs of fine-tuning follow ``step``: all ``epochs`` the last, a share of
    them each before, at least one; none where ``epochs`` is 0."""
    return epochs if step == steps or not epochs else max(1, epochs // steps)
