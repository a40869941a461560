"""Measurements that survive a kill."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgebuild.compress import blocks, quality
from edgebuild.compress.base import State
from edgebuild.compress.blocks import RemoveBlocks
from edgebuild.compress.kept import Measured, digest, measured
from edgebuild.compress.prune import Prune
from edgebuild.compress.ptq import mixed
from edgebuild.compress.quantize import Quantize
from edgebuild.compress.setup import TrainingSetup
from edgebuild.compress.training import fine_tune


class Killed(BaseException):
    pass


def test_a_hash_is_of_kinds_and_ends_too():
    a = np.arange(6, dtype=np.int32)
    values = [("ab", "c"), ("a", "bc"), ("abc",), (a,), (a.reshape(2, 3),), (a.view(np.float32),)]
    assert len({digest(*value) for value in values}) == len(values)
    assert digest(a.reshape(2, 3).T) == digest(a.reshape(2, 3).T.copy())
    assert digest(np.int64(3)) == digest(np.array(3)) != digest(np.array([3]))
    assert digest(np.zeros((0, 3))) != digest(np.zeros((3, 0)))


def test_figures_are_measured_once(tmp_path):
    figures = iter([0.1 + 0.2, float("inf")])

    def known(deciding="a"):
        return Measured(tmp_path, "loss", deciding)

    assert known().get("x", lambda: next(figures)) == 0.1 + 0.2
    assert known().get("y", lambda: next(figures)) == float("inf")
    assert [known().get(name, lambda: 1.0) for name in "xy"] == [0.1 + 0.2, float("inf")]
    assert known("b").get("x", lambda: 2.0) == 2.0
    alone = Measured(None, "loss", "a")
    assert [alone.get("x", lambda i=i: float(i)) for i in (5, 6)] == [5.0, 5.0]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": "many"}', '{"x": null}', "\x00"])
def test_a_damaged_file_is_measured_again(tmp_path, content):
    (tmp_path / "loss-a.json").write_text(content)
    known = Measured(tmp_path, "loss", "a")
    assert known.get("x", lambda: 3.0) == 3.0
    assert Measured(tmp_path, "loss", "a").get("x", lambda: 4.0) == 3.0


@pytest.mark.keras
def test_figures_are_of_weights_data_and_loss(trained, context, tmp_path):
    def same(left, right):
        measured("loss", State(trained), left).get("x", lambda: 1.0)
        return measured("loss", State(trained), right).get("x", lambda: 2.0) == 1.0

    kept = dataclasses.replace(context, checkpoints=tmp_path / "a")
    assert same(kept, kept)
    few = dataclasses.replace(kept, validation=kept.validation.take(np.arange(5)))
    setup = TrainingSetup(loss=same)
    for other in (few, dataclasses.replace(kept, setup=setup)):
        assert not same(kept, other)


PASSES = [
    pytest.param(
        Prune(0.3, by="macs", epochs=0, sensitivity=1.0), quality, "quality", 2, id="prune"
    ),
    pytest.param(RemoveBlocks(count=1, epochs=0), blocks, "split_loss", 2, id="remove_blocks"),
    pytest.param(Quantize(mixed=0.01, samples=50), mixed, "run_reals", 9, id="mixed"),
]


@pytest.mark.keras
@pytest.mark.parametrize(("step", "module", "name", "dies_at"), PASSES)
def test_a_killed_pass_measures_the_rest(
    trained, context, tmp_path, monkeypatch, step, module, name, dies_at
):
    measure, calls = getattr(module, name), []

    def counted(*arguments, **options):
        if len(calls) == dies_at:
            calls.append("killed")
            raise Killed
        calls.append(name)
        return measure(*arguments, **options)

    kept = dataclasses.replace(context, checkpoints=tmp_path / "kept")
    monkeypatch.setattr(module, name, counted)
    with pytest.raises(Killed):
        step.apply(State(trained), kept)
    after, notes = step.apply(State(trained), kept)
    resumed = len(calls) - dies_at - 1
    calls[:] = ["more"] * (dies_at + 1)
    whole, expected = step.apply(State(trained), context)
    assert notes == expected
    assert after.flatbuffer == whole.flatbuffer
    assert resumed < len(calls) - dies_at - 1
    again = len(calls)
    step.apply(State(trained), kept)
    assert len(calls) - again <= 1  # the original's own outputs


@pytest.mark.keras
def test_a_counter_among_the_weights_can_be_hashed(keras, context, tmp_path):
    """NumPy gives such a weight as a number, not as an array."""
    layers = keras.layers
    scaled = layers.Normalization(axis=None)
    scaled.adapt(context.train.x[0])
    model = keras.Sequential([keras.Input((8, 8, 1)), scaled, layers.Flatten(), layers.Dense(3)])
    other = dataclasses.replace(context, teacher=model, checkpoints=tmp_path)
    assert measured("loss", State(model), other).get("x", lambda: 1.0) == 1.0
    assert fine_tune(State(model), other, epochs=1) is not None


@pytest.mark.keras
def test_what_is_trained_next_does_not_depend_on_what_was_kept(keras, context, tmp_path):
    """Dropout draws its seed when it is built; measuring builds other layers before."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    for _ in range(2):
        y = layers.Dense(16, activation="relu")(layers.Dropout(0.3)(x))
        x = layers.Add()([x, y])
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
    found = []
    for kept in (None, tmp_path, tmp_path):
        keras.utils.set_random_seed(4)
        with_model = dataclasses.replace(context, teacher=model, checkpoints=kept)
        state, _ = RemoveBlocks(count=1, epochs=1).apply(State(model), with_model)
        found.append(state.model.get_weights())
        for trained in tmp_path.glob("*.npz"):
            trained.unlink()
    for left, middle, right in zip(*found, strict=True):
        np.testing.assert_array_equal(left, middle)
        np.testing.assert_array_equal(left, right)
