"""What is said of a shipped model's outputs: by labels, and beside the float model's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Op, Tensor
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
    with pytest.raises(InputError, match=r"set.npz: labels y have fractions, but the model has 10"):
        measured(source, data)


@dataclass(frozen=True)
class Outputs:
    """An engine that gives these outputs."""

    values: list
    label: str = "outputs"

    def outputs(self, arrays):
        return self.values


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A float model of one RELU over four values, and 20 samples."""
    tensors = [Tensor(0, "x", (1, 4), DType.FLOAT32), Tensor(1, "y", (1, 4), DType.FLOAT32)]
    graph = Graph("net", (0,), (1,), (Op("RELU", (0,), (1,)),), dict(enumerate(tensors)))
    path = tmp_path_factory.mktemp("real") / "net.tflite"
    path.write_bytes(write_tflite(graph))
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    return open_model(path), read_tflite(path.read_bytes()), x


def judged(real, ours, x=None, **options):
    source, graph, given = real
    data = DataSet((given if x is None else x,), None, "x")
    return judge_outputs(source, graph, data, Outputs([ours]), **options)


def test_an_output_of_another_size_is_named(real):
    found = judged(real, np.zeros((20, 3), np.float32))
    (warning,) = found.gate.warnings
    assert found.gate.passed and found.similarity is None
    assert warning.startswith("output 'y' is not judged: it gave 60 values for 20 samples")
    assert "[1, 4], says 80" in warning


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_in_the_shipped_model_alone_is_lost(real, bad):
    x = real[2]
    ours = np.maximum(x, 0)
    assert judged(real, ours).gate.losses == ()
    ours[7, 2] = bad
    found = judged(real, ours)
    (loss,) = found.gate.losses
    assert not found.gate.passed and loss.kind == "not-finite"
    assert loss.sentence == (
        "output 'y' is NaN or infinite in 1 of 20 samples (the first is sample 7), "
        "where the float model's is finite"
    )
    assert judged(real, ours, gate=False).gate.passed


def test_what_is_no_number_in_the_float_model_is_warned_of(real):
    x = real[2].copy()
    x[3:5, 1] = np.inf
    found = judged(real, np.maximum(x, 0), x)
    (warning,) = found.gate.warnings
    assert found.gate.passed and found.similarity is None
    assert warning.startswith("output 'y' is not compared with the float model's, which is NaN or")
    assert "2 of 20 samples (the first is sample 3)" in warning


@pytest.mark.parametrize("shape", [(12, 3), (4, 5, 3), (12, 1), (4, 5, 1)])
def test_sequences_and_masks_are_gated_by_their_positions(tmp_path, shape):
    """A label for each position; the interval is that of samples, whose positions depend on each
    other."""
    tensors = [Tensor(i, name, (1, *shape), DType.FLOAT32) for i, name in enumerate("xy")]
    graph = Graph("net", (0,), (1,), (Op("RELU", (0,), (1,)),), dict(enumerate(tensors)))
    (tmp_path / "net.tflite").write_bytes(write_tflite(graph))
    x = np.random.default_rng(0).normal(size=(60, *shape)).astype(np.float32)
    ours = np.maximum(x, 0)
    y = ours.argmax(-1) if shape[-1] > 1 else (ours[..., 0] > 0).astype(np.int64)
    source, data = open_model(tmp_path / "net.tflite"), DataSet((x,), y, "x")
    sound = judge_outputs(source, graph, data, Outputs([ours]))
    positions = int(np.prod(shape[:-1]))
    assert sound.accuracy.positions == positions and sound.accuracy.shipped.value == 1.0
    assert sound.gate.passed and sound.gate.losses == ()
    worse = ours.copy()
    worse[:30] = ours[:30, ::-1] if shape[-1] > 1 else 1 - (ours[:30] > 0)
    found = judge_outputs(source, graph, data, Outputs([worse]))
    (loss,) = found.gate.losses
    assert not found.gate.passed and loss.kind == "accuracy-drop"
    assert 0.1 < found.metrics["accuracy_drop"].value < 0.6
    # A few positions of one sample do not tell.
    few = ours.copy()
    few[0] = worse[0]
    assert judge_outputs(source, graph, data, Outputs([few])).gate.losses == ()
