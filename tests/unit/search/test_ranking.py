"""Which outcomes are chosen where budgets limit more than costs."""

from __future__ import annotations

from edgebuild.budget import Budget
from edgebuild.search.problem import Outcome
from edgebuild.search.ranking import best_of, fitting, missed
from edgebuild.search.study import outcome_from_json


def outcome(quality, similarity=None, error=None):
    return Outcome((), 1, flash_bytes=100, quality=quality, measure="similarity to the original",
                   similarity=similarity, error_increase=error)  # fmt: skip


def test_a_candidate_that_loses_more_than_budgets_allow_is_not_chosen():
    budget = Budget(flash_bytes=200, min_similarity=0.9, max_error_increase=0.1)
    unlike, wrong, good = outcome(0.99, 0.8, 0.0), outcome(0.98, 0.95, 0.5), outcome(0.9, 0.95, 0.1)
    assert best_of((unlike, wrong, good), budget) is good
    assert best_of((unlike, wrong), budget) is None
    assert fitting((unlike, wrong, good), budget) == [unlike, wrong, good]
    assert best_of((unlike, wrong, good), Budget(flash_bytes=200)) is unlike
    assert missed(unlike, budget) == "it has similarity 0.8000 of at least 0.9"
    assert missed(wrong, budget) == "it has error increase 50.0% of at most 0.1"
    assert missed(good, budget) == "it meets every limit"


def test_what_is_not_known_keeps_no_limit():
    classified = outcome(0.9, 1.0)
    assert classified.lost(Budget(max_error_increase=0.1)) == [
        "error increase unknown of at most 0.1"
    ]
    assert classified.lost(Budget()) == []


def test_outcomes_come_back_from_their_json():
    given = outcome(0.9, 0.8, 0.1)
    assert outcome_from_json(given.to_json()) == given
