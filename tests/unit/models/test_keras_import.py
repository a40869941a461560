"""Keras without the packages that it only has wrappers for."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.keras

PROGRAM = """
import sys
from edgebuild.models.keras_import import import_keras
import_keras()
import keras, tensorflow
assert "sklearn" not in sys.modules and "matplotlib" not in sys.modules, "hidden no more"
import sklearn, matplotlib.pyplot
import_keras()
assert sys.modules["sklearn"] is sklearn
"""


def test_what_is_not_needed_is_not_imported_and_there_afterwards():
    pytest.importorskip("keras", reason="pip install 'edgebuild[keras]'")
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
