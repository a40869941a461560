"""What is said of a shipped model's outputs: by labels, and beside the float model's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.judging import judge_outputs
from edgebuild.models.convert import litert_version
from edgebuild.models.data import DataSet
from edgebuild.models.source import open_model
from edgebuild.ops.cases import activation, one_op
from edgebuild.tflite.oracle import run_oracle
from edgebuild.tflite.reader import read_tflite
from edgebuild.tflite.writer import write_tflite
from edgebuild.verification import LiteRt
from tests.small import small_model

MODEL = small_model()
GRAPH = read_tflite(MODEL, name="small", where="small.tflite")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """The model as a file, and 60 images with the classes that TFLite Micro gives them."""
    path = tmp_path_factory.mktemp("labelled") / "small.tflite"
    path.write_bytes(MODEL)
    q = np.random.default_rng(5).integers(-128, 128, (60, 8, 8, 1), dtype=np.int8)
    raw = run_oracle(MODEL, [(image.tobytes(),) for image in q]).outputs
    y = np.array([np.frombuffer(o[0], np.int8).argmax() for o in raw])
    x = (q.astype(np.float32) + 128) / 255
    return open_model(path), x, y


def measured(source, data):
    engine = LiteRt(MODEL)
    return judge_outputs(source, GRAPH, data, engine, reference=engine).accuracy


def test_accuracy(labelled):
    source, x, y = labelled
    right = measured(source, DataSet((x,), y, "x"))
    assert right.samples == 60
    assert right.shipped.value >= 0.95  # LiteRT rounds FULLY_CONNECTED otherwise
    assert right.float_baseline is None  # the model came as int8
    assert right.int8_reference.value == right.shipped.value
    half = y.copy()
    half[:30] = (half[:30] + 1) % 10
    wrong = measured(source, DataSet((x,), half, "x"))
    assert 0.45 <= wrong.shipped.value <= 0.55
    assert wrong.shipped.source == f"{litert_version()} on the host"
    assert str(wrong.shipped.how) == "measured" and wrong.shipped.unit == "ratio"


@dataclass(frozen=True)
class Says:
    """An engine that gives the same outputs whatever it is asked."""

    values: np.ndarray
    label: str = "says"

    def outputs(self, arrays):
        return [self.values]


@pytest.mark.parametrize(
    ("kind", "y", "right"),
    [
        ("LOGISTIC", [0, 0, 1], 1.0),
        ("RELU", [0, 1, 1], 1.0),
        ("RELU", [0, 0, 1], 2 / 3),
        ("RELU", [12, 20, 26], None),
    ],
)
def test_a_single_output_is_cut_by_its_last_operator(tmp_path, kind, y, right):
    """At one half behind a sigmoid; a logit at zero; other labels than 0 and 1 are no classes."""
    tensor = activation((1, 1), 1 / 4, 10)
    model = write_tflite(one_op("m", kind, [tensor], [tensor]).graph)
    (tmp_path / "m.tflite").write_bytes(model)
    source = open_model(tmp_path / "m.tflite")
    data = DataSet((np.zeros((3, 1), np.float32),), np.array(y), "x")
    engine = Says(np.array([[9], [11], [13]], np.int8))  # -0.25, 0.25, 0.75
    found = judge_outputs(source, read_tflite(model), data, engine)
    accuracy = found.accuracy
    assert (accuracy and accuracy.shipped.value) == (right and pytest.approx(right))
    assert (found.regression is None) == (right is not None)


def test_labels_that_fit_nothing_are_refused(labelled):
    source, x, _ = labelled
    data = DataSet((x,), np.linspace(0, 1, 60), "set.npz")
    with pytest.raises(InputError, match=r"set.npz: labels y have fractions, the model has 10"):
        measured(source, data)
