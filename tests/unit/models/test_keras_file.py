"""What a Keras file may declare: no more weights than it holds, bounded tables and batches."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from edgebuild.errors import ModelError
from edgebuild.models.keras_file import load_keras

pytestmark = pytest.mark.keras


@pytest.fixture
def declaring(keras, tmp_path):
    """Save a model of one layer, whose configuration then has other settings than its weights."""

    def make(layer, inputs, suffix="keras", place=-1, **settings):
        path = tmp_path / f"whole.{suffix}"
        keras.Sequential([keras.Input(**inputs), layer]).save(path)
        changed = tmp_path / f"declaring.{suffix}"
        if suffix == "h5":
            import h5py

            shutil.copy(path, changed)
            with h5py.File(changed, "r+") as file:
                text = file.attrs["model_config"]
                file.attrs["model_config"] = _with(text, place, settings)
            return changed
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                new.writestr(
                    name, _with(content, place, settings) if name == "config.json" else content
                )
        return changed

    return make


def _with(text, place, settings):
    config = json.loads(text)
    config["config"]["layers"][place]["config"].update(settings)
    return json.dumps(config)


HUGE = 2**31


@pytest.mark.parametrize(
    ("layer", "inputs", "settings", "weight"),
    [
        (lambda n: n.Dense(3), {"shape": (10,)}, {"units": HUGE}, "10 x 2,147,483,648"),
        (lambda n: n.Dense(3), {"shape": (10,)}, {"units": 2_000_000}, "10 x 2,000,000"),
        (
            lambda n: n.Embedding(5, 2),
            {"shape": (4,), "dtype": "int32"},
            {"input_dim": HUGE},
            "2,147,483,648 x 2",
        ),
        (lambda n: n.GRU(3), {"shape": (4, 2)}, {"units": 10_000_000}, "2 x 30,000,000"),
        (
            lambda n: n.DepthwiseConv2D(3),
            {"shape": (8, 8, 1)},
            {"depth_multiplier": HUGE},
            "3 x 3 x 1 x 2,147,483,648",
        ),
    ],
)
def test_layers_may_not_ask_for_more_weights_than_the_file_holds(
    keras, declaring, layer, inputs, settings, weight
):
    plain = keras.Variable.__init__
    path = declaring(layer(keras.layers), inputs, **settings)
    with pytest.raises(ModelError) as caught:
        load_keras(path, "keras", trust=False)
    assert f"of {weight} values, the file holds" in caught.value.message
    assert keras.Variable.__init__ is plain


def test_an_h5_file_may_not_either(keras, declaring):
    path = declaring(keras.layers.Dense(3), {"shape": (10,)}, "h5", units=HUGE)
    with pytest.raises(ModelError, match="'kernel' of 10 x 2,147,483,648 values, the file holds"):
        load_keras(path, "h5", trust=False)


def test_tables_and_batches_are_bounded(keras, declaring):
    lookup = keras.layers.IntegerLookup(vocabulary=[1, 2], output_mode="one_hot")
    tokens = {"shape": (1,), "dtype": "int64"}
    path = declaring(lookup, tokens, num_oov_indices=2_000_000_000)
    with pytest.raises(ModelError, match="num_oov_indices 2,000,000,000, at most 100,000"):
        load_keras(path, "keras", trust=False)
    states = keras.layers.LSTM(3, stateful=True)
    path = declaring(states, {"batch_shape": (1, 4, 2)}, place=0, batch_shape=[1 << 30, 4, 2])
    with pytest.raises(ModelError, match=r"has batch_shape 1,073,741,824, at most 65,536"):
        load_keras(path, "keras", trust=False)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_what_a_file_holds_may_be_declared(keras, tmp_path, suffix):
    """Weights of half precision, which are kept in two bytes, and states without a value."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((30,)),
            keras.layers.Dense(64, dtype="float16" if suffix == "keras" else None),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )
    model.save(tmp_path / f"m.{suffix}")
    loaded, notes = load_keras(tmp_path / f"m.{suffix}", suffix, trust=False)
    assert loaded.count_params() == model.count_params()
    assert len(notes) == (suffix == "keras")
