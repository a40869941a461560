"""What a training entry may say, and what is refused with the entry's name."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from edgebuild.compress.apply import training_setup
from edgebuild.compress.setup import Distillation, TrainingSetup, call_users
from edgebuild.errors import InputError


def setup_from(folder, text, name):
    (folder / f"{name}.py").write_text(f"def entry():\n    return {text}\n")
    return training_setup(f"{name}:entry", folder)


def test_an_entry_sets_what_it_names(tmp_path):
    text = "{'learning_rate': 0.01, 'batch_size': 8, 'distillation': {'weight': 0.2}}"
    found = setup_from(tmp_path, text, "good_entry")
    assert found == TrainingSetup(0.01, 8, distillation=Distillation(weight=0.2))
    assert setup_from(tmp_path, "{'distillation': None}", "alone_entry").distillation is None
    assert training_setup(None, tmp_path) == TrainingSetup()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "must return a dictionary"),
        ("{'learning_rat': 1}", "must return a dictionary with keys from learning_rate"),
        ("{'learning_rate': 'fast'}", "learning_rate is a number above 0, not 'fast'"),
        ("{'learning_rate': -1.0}", "learning_rate is a number above 0, not -1.0"),
        ("{'learning_rate': float('nan')}", "learning_rate is a number above 0"),
        ("{'batch_size': 0.5}", "batch_size is a whole number from 0, not 0.5"),
        ("{'optimizer': 'adam'}", "optimizer is a function, not 'adam'"),
        ("{'metrics': 'mae'}", "metrics is a list of names and functions, not 'mae'"),
        ("{'metrics': [1]}", "metrics is a list of names and functions, not [1]"),
        ("{'distillation': 'yes'}", "distillation is a dictionary or None, not 'yes'"),
        ("{'distillation': {'temprature': 1}}", "distillation has keys other than"),
        ("{'distillation': {'temperature': -1}}", "temperature is a number above 0, not -1"),
        ("{'distillation': {'weight': 2}}", "weight is a number from 0 to 1, not 2"),
    ],
)
def test_what_cannot_be_is_refused_by_the_entrys_name(tmp_path, text, words):
    name = f"bad_entry_{abs(hash(text))}"
    with pytest.raises(InputError, match=f"{name}:entry: ") as caught:
        setup_from(tmp_path, text, name)
    assert words in caught.value.message


def loss_of_the_users(labels, output):
    return labels["no such label"]


def test_only_what_fails_in_the_users_own_function_is_blamed_on_it():
    def step(x):
        return loss_of_the_users([x], x)

    with pytest.raises(InputError, match="entry's loss failed: TypeError") as error:
        call_users("loss", step, 1, users=loss_of_the_users)
    assert error.value.details[0].startswith(f"{__file__}, line ")

    def elsewhere(labels, output):
        """Never called."""

    made = functools.partial(exec, "1 / 0")
    with pytest.raises(ZeroDivisionError):
        call_users("loss", made, users=np.linalg.norm)


def test_a_line_that_tensorflow_quotes_counts():
    text = f'in user code:\n\n    File "{__file__}", line 7, in loss\n        boom\n'
    make = functools.partial(exec, "raise TypeError(text)", {"text": text})
    with pytest.raises(InputError, match="loss failed: TypeError: in user code") as error:
        call_users("loss", make, users=loss_of_the_users)
    assert error.value.details == (f"{__file__}, line 7",)
