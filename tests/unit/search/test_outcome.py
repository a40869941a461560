"""Costs against limits, the Pareto front, the effort of a search."""

import dataclasses

import numpy as np
import pytest

from edgebuild.budget import Budget
from edgebuild.compress.splits import Split
from edgebuild.search.attempts import Effort
from edgebuild.search.problem import Outcome
from edgebuild.search.ranking import best_of, pareto

from .formulas import problem


def test_pareto_keeps_what_nothing_beats():
    a = Outcome((), 1, flash_bytes=10, ram_bytes=10, latency_us=1.0, quality=0.9)
    worse = dataclasses.replace(a, flash_bytes=11)
    smaller = dataclasses.replace(a, flash_bytes=5, quality=0.8)
    untrained = dataclasses.replace(a, quality=None)
    assert pareto([worse, smaller, a, untrained, a]) == (a, smaller)
    assert best_of([worse, smaller, a, untrained], Budget()) == a
    assert best_of([a], Budget(flash_bytes=9)) is None


def test_effort_follows_the_size_of_the_data_set():
    small = Effort().for_samples(300, 16)
    large = Effort().for_samples(50_000, 128)
    assert (small.short_epochs, small.epochs) == (17, 100)
    assert (large.short_epochs, large.epochs) == (1, 11)
    assert Effort(epochs=3, short_epochs=2).for_samples(300, 16).epochs == 3


def test_excess_is_a_share_of_the_limit():
    outcome = Outcome((), 0, flash_bytes=110, ram_bytes=50)
    found = outcome.excess(Budget(flash_bytes=100, ram_bytes=100, latency_us=1.0))
    assert found == pytest.approx({"flash": 0.1, "ram": -0.5, "latency": 1.0})
    assert Outcome((), 0, too_large="no").excess(Budget()) == {"link": 1.0}


def test_tables_of_softmax_are_expected_to_become_those_of_the_original():
    """A candidate that fits only with shorter tables is trained all the same."""
    flat = Outcome((), 0, flash_bytes=1000, table_bytes=400)
    assert flat.settled(None) is flat
    assert flat.settled(300).flash_bytes == 900
    assert flat.settled(500).flash_bytes == 1000
    assert flat.settled(0).fits(Budget(flash_bytes=600))


def test_labels_of_further_outputs_are_part_of_the_problem():
    """A study that is resumed is that of the same labels, on the same outputs."""
    x, y = np.zeros((20, 4), np.float32), np.arange(20.0)

    def key(first, more):
        split = Split((x,), first, more=more)
        return dataclasses.replace(problem(), train=split, validation=split).key

    keys = [key(y, {}), key(None, {1: y}), key(None, {2: y}), key(y, {1: y}), key(y, {1: y + 1})]
    assert len(set(keys)) == len(keys)
    assert key(y, {1: y}) == keys[3] and key(y, {2: y, 1: 2 * y}) == key(y, {1: 2 * y, 2: y})
