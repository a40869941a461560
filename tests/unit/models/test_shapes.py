"""Open dimensions are settled by the user, but for the batch."""

from __future__ import annotations

import pytest

from edgebuild.errors import InputError
from edgebuild.models.shapes import BATCH_NOTE, Declared, settle

IMAGE = Declared("image", (None, None, None, 3))
VECTOR = Declared("vector", (None, 7))
FIXED = Declared("fixed", (2, 7))


def test_an_open_batch_is_one_and_said():
    assert settle("m", [VECTOR], {}) == (((1, 7),), (BATCH_NOTE,))


def test_what_is_fixed_stays():
    assert settle("m", [FIXED], {}) == (((2, 7),), ())
    assert settle("m", [FIXED], {"fixed": (2, 7)}) == (((2, 7),), ())


def test_shapes_are_given_by_name_or_to_the_only_input():
    assert settle("m", [IMAGE, FIXED], {"image": (1, 8, 9, 3)})[0] == ((1, 8, 9, 3), (2, 7))
    assert settle("m", [IMAGE], {"": (1, 8, 9, 3)})[0] == ((1, 8, 9, 3),)
    assert settle("m", [Declared("x", None)], {"": (1, 8)})[0] == ((1, 8),)


@pytest.mark.parametrize(
    ("inputs", "given", "words"),
    [
        ([IMAGE], {}, "input 'image' has dynamic dimensions: ?,?,?,3"),
        ([Declared("x", None)], {}, "has dynamic dimensions: ?"),
        ([IMAGE], {"imag": (1, 8, 8, 3)}, "is not an input; did you mean 'image'"),
        ([IMAGE, VECTOR], {"": (1, 8, 8, 3)}, "is not an input"),
        ([IMAGE], {"image": (1, 8, 8, 1)}, "does not fit the model's ?,?,?,3"),
        ([IMAGE], {"image": (1, 8, 8)}, "does not fit"),
        ([IMAGE], {"image": (4, 8, 8, 3)}, "a batch of 4"),
        ([FIXED], {"fixed": (1, 7)}, "does not fit the model's 2,7"),
    ],
)
def test_refused(inputs, given, words):
    with pytest.raises(InputError) as error:
        settle("m", inputs, given)
    assert words in error.value.message


def test_all_that_is_open_is_asked_for_at_once():
    with pytest.raises(InputError) as error:
        settle("m", [IMAGE, Declared("mask", (1, None))], {})
    assert error.value.details == ("input 'mask' too: 1,?",)
    assert "--input-shape image=1,?,?,3 --input-shape mask=1,?" in error.value.hint
