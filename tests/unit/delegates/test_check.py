"""What users forbid a delegate, and how they say it."""

from __future__ import annotations

import dataclasses

import pytest

from edgebuild.delegates.base import compatibility
from edgebuild.delegates.check import FailOn, parse_fail_on
from edgebuild.errors import InputError
from tests.unit.delegates.test_base import chain


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ([], FailOn()),
        (["fallback"], FailOn(fallback=True)),
        (["partitions:2"], FailOn(partitions=2)),
        (["fallback, partitions:1"], FailOn(True, 1)),
        (["partitions:1", "partitions:0"], FailOn(partitions=0)),
    ],
)
def test_words(words, meaning):
    assert parse_fail_on(words) == meaning


@pytest.mark.parametrize("word", ["", "falback", "partitions", "partitions:-1", "partitions:x"])
def test_other_words_are_refused(word):
    with pytest.raises(InputError, match="--fail-on") as caught:
        parse_fail_on([word])
    assert caught.value.hint == "fallback, or partitions:N"


def test_refusals_say_what_happens():
    parted = compatibility(chain(1, 1, 1, 1), "GPU", ["", "no kernel", ""])
    assert FailOn().refusals(parted) == ()
    assert FailOn(partitions=2).refusals(parted) == ()
    assert FailOn(True, 1).refusals(parted) == (
        "1 operators fall back to the CPU, the first of them NEG (operator 1): no kernel",
        "GPU runs the model in 2 partitions, at most 1 are allowed",
    )


def test_a_model_that_is_taken_whole_is_never_refused():
    whole = compatibility(chain(1, 1), "GPU", [""])
    assert FailOn(True, 1).refusals(whole) == ()


def test_what_is_not_known_is_not_promised():
    unknown = dataclasses.replace(compatibility(chain(1, 1), "NPU", ["?"]), known=False)
    assert unknown.summary() == "it is not known yet which of 1 operators the NPU runs"
    assert FailOn().refusals(unknown) == ()
    for forbidden in (FailOn(True), FailOn(partitions=1)):
        (sentence,) = forbidden.refusals(unknown)
        assert sentence.endswith("the NPU runs: no promise is possible")
