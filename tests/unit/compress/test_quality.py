"""How good a model is: whatever form its inputs and outputs have, and by the user's own metrics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress.base import Context, State, run_pass
from edgebuild.compress.metrics import metric_values
from edgebuild.compress.prune import Prune
from edgebuild.compress.quality import (
    output_quality,
    outputs_kept,
    predict,
    predict_all,
    quality_kept,
)
from edgebuild.compress.quantize import Quantize
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.splits import Split
from edgebuild.errors import InputError
from edgebuild.graph import DType, Graph, Op, Tensor
from edgebuild.models.tf_model import of_keras

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("wide", [4, 6])
def test_inputs_of_a_dictionary_are_in_the_models_order(keras, wide):
    a, b = keras.Input((4,), name="a"), keras.Input((wide,), name="b")
    joined = keras.layers.Concatenate()([keras.layers.Dense(8)(x) for x in (a, b)])
    outputs = keras.layers.Dense(3, activation="softmax")(joined)
    model = keras.Model({"b": b, "a": a}, outputs)
    rng = np.random.default_rng(0)
    x = tuple(rng.normal(size=(64, *t.shape[1:])).astype(np.float32) for t in model.inputs)
    wanted = np.asarray(model({"a": x[0], "b": x[1]}))
    np.testing.assert_array_equal(predict(model, x), wanted)
    split = Split(x, wanted.argmax(axis=1))
    context = Context(split, split, model, TrainingSetup())
    result = run_pass(Prune(0.5, epochs=1), State(model), context)
    assert result.quality[0].value == 1.0 and result.quality[1].value > 0.5


def test_outputs_of_a_dictionary_are_in_the_models_order(keras):
    """Also where there are ten of them, and through the quantized model."""
    inputs = keras.Input((4,))
    named = {f"out{i}": keras.layers.Dense(2 + i)(inputs) for i in (10, 2, 1)}
    model = keras.Model(inputs, named)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    shapes = [(64, *output.shape[1:]) for output in model.outputs]
    assert [output.shape for output in predict_all(model, (x,))] == shapes
    assert [output.shape[::2] for output in of_keras(model).predict([x[:, np.newaxis]])] == shapes
    split = Split((x,), predict(model, (x,)).argmax(axis=1))
    result = run_pass(Quantize(), State(model), Context(split, split, model, TrainingSetup()))
    assert result.quality[0].value == 1.0 and result.quality[1].value > 0.9


def test_what_a_budget_of_similarity_or_error_limits_is_measured_over_all_outputs(keras):
    """The second output's values suffer from a weight that dwarfs the others."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(2, name="a")(inputs), keras.layers.Dense(1, name="b")(inputs)]
    model = keras.Model(inputs, outputs)
    weights = model.get_weights()
    weights[2][:] = [[1.0], [-1.0], [0.5], [4000.0]]
    model.set_weights(weights)
    x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    x[:, 3] = 0.0
    x[0, 3] = 1e-3
    first, second = predict_all(model, (x,))
    split = Split((x,), None, more={1: second + 0.01 * first[:, :1]})
    context = Context(split, split, model, TrainingSetup())
    state = run_pass(Quantize(bias_correction=False), State(model), context).state
    kept = quality_kept(state, split, model)
    assert kept.similarity < 0.95 and kept.error_increase > 1.0
    fine = Split((x,), None)
    assert quality_kept(state, fine, model).error_increase is None


def test_an_outlier_hides_nothing_from_what_budgets_limit():
    """One sample carries the variance of both models' outputs; ours tells no other apart."""
    tensors = [Tensor(i, name, (1, 1), DType.FLOAT32) for i, name in enumerate("xy")]
    graph = Graph("net", (0,), (1,), (Op("NEG", (0,), (1,)),), dict(enumerate(tensors)))
    x = np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)
    y = (x + 0.1 * np.sin(9 * x)).astype(np.float32)
    x[5] = y[5] = 1e5
    ours = np.where(x > 1e3, x, 0)
    kept = outputs_kept([ours], [x], Split((x,), y), graph)
    assert kept.similarity < 0.1 and kept.error_increase > 5


def test_quality_by_labels_is_a_mean_over_outputs():
    """Values by their R2, channel by channel: a channel of small values counts as much."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 2)) * [1000, 0.1] + [5, 3]
    classes = rng.integers(0, 3, 200)
    off = y + np.array([0.0, 0.05]) * np.where(rng.random((200, 1)) < 0.5, 1, -1)
    scores = np.eye(3)[np.where(np.arange(200) < 150, classes, (classes + 1) % 3)]

    def found(outputs, split):
        probable = [False] * len(outputs)
        return output_quality(outputs, split, lambda: pytest.fail("labels suffice"), probable)

    x = (np.zeros((200, 1), np.float32),)
    values = found([off], Split(x, y))
    assert values.measure == "R2"
    assert values.value == pytest.approx(1 - 0.05**2 / y[:, 1].var() / 2, abs=1e-6)
    both = found([scores, off], Split(x, classes, more={1: y}))
    assert both.measure == "accuracy and R2"
    assert both.value == pytest.approx((0.75 + values.value) / 2)
    assert found([off, scores], Split(x, None, more={1: classes})).value == 0.75
    # A channel whose labels are all the same has no variance to explain.
    still = np.stack([y[:, 0], np.ones(200)], axis=1)
    assert found([np.add(still, [0, 9])], Split(x, still)).value == 1.0


def test_the_users_metrics_are_told_before_and_after(trained, context, keras):
    def confidence(labels, outputs):
        return keras.ops.max(outputs, axis=-1)

    metrics = ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2"), confidence]
    setup = dataclasses.replace(context.setup, metrics=metrics)
    context = dataclasses.replace(context, setup=setup)
    for step, state in ((Prune(0.5, epochs=1), State(trained)), (Quantize(), State(trained))):
        for quality in run_pass(step, state, context).quality:
            assert set(quality.metrics) == {"accuracy", "top2", "confidence"}
            assert quality.metrics["accuracy"] == pytest.approx(quality.value)
            assert quality.value <= quality.metrics["top2"] <= 1.0
            assert 1 / 3 < quality.metrics["confidence"] <= 1.0
    unlabelled = dataclasses.replace(context, validation=Split(context.validation.x, None))
    assert run_pass(Quantize(), State(trained), unlabelled).quality[0].metrics == {}


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        (np.array([0, 1, 1, 0]), np.array([[0.2], [0.7], [0.4], [0.1]])),
        (np.array([0, 1, 1, 0]), np.array([[3, 2], [1, 2], [2, 1], [1, 0]])),
        (np.eye(2)[[0, 1, 1, 0]], np.array([[3, 2], [1, 2], [2, 1], [1, 0]])),
    ],
)
def test_accuracy_is_the_one_that_fits(keras, labels, outputs):
    found = metric_values(["acc", "accuracy"], labels, outputs.astype(np.float32))
    assert found == {"acc": 0.75, "accuracy": 0.75}


def test_a_metric_that_cannot_be_is_an_error_before_anything_is_trained(trained, context):
    def broken(labels, outputs):
        raise KeyError("nothing there")

    for metric, words in (("aucc", "no metric 'aucc' is known"), (broken, "metric 'broken' fails")):
        setup = dataclasses.replace(context.setup, metrics=[metric])
        silent = dataclasses.replace(context, setup=setup, progress=lambda _: pytest.fail("late"))
        with pytest.raises(InputError, match=words):
            run_pass(Prune(0.5, epochs=1), State(trained), silent)
