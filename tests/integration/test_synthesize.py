"""``edgebuild synthesize``: inputs from the model alone, and what they are good for."""

from __future__ import annotations

import json

import numpy as np
import pytest

import edgebuild
from edgebuild.cli.main import run
from edgebuild.errors import InputError

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network for pictures of 0 to 255, which nothing but batch normalization tells."""
    keras = pytest.importorskip("keras", reason="pip install 'edgebuild[keras]'")
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 900)
    x = rng.normal(100, 15, (900, 8, 8, 1))
    x[np.arange(900), y * 2] += 80
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    hidden = layers.Conv2D(6, 3, padding="same", use_bias=False)(inputs)
    hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
    hidden = layers.Conv2D(8, 3, strides=2, padding="same")(hidden)
    hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
    outputs = layers.Dense(3, activation="softmax")(layers.Flatten()(hidden))
    network = keras.Model(inputs, outputs)
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(x.clip(0, 255), y, epochs=12, verbose=0)
    folder = tmp_path_factory.mktemp("bright")
    network.save(folder / "bright.keras")
    np.savez(folder / "real.npz", x=x[:300].clip(0, 255).astype(np.float32))
    return folder / "bright.keras"


def test_int8_is_as_near_as_with_real_inputs(model, tmp_path, capsys):
    made = tmp_path / "made.npz"
    arguments = [*("--samples", "300"), *("--range", "0..255"), *("--steps", "40")]
    assert run(["synthesize", str(model), "--out", str(made), *arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == str(made)
    assert found["samples"] == 300
    assert found["off"][1] < found["off"][0]
    with np.load(made) as archive:
        assert archive.files == ["x0"]
        x = archive["x0"]
    assert x.shape == (300, 8, 8, 1)
    assert (x.min() >= 0.0) and (x.max() <= 255.0)
    agreement = {}
    for name, data in (("made", made), ("real", model.parent / "real.npz"), ("noise", "random")):
        report = edgebuild.build(
            model,
            target="cortex-m4",
            data=str(model.parent / "real.npz"),
            train=str(data),
            compress="quantize",
            run="none",
            out=tmp_path / name,
        )
        assert report.similarity is not None
        agreement[name] = report.similarity.outputs[0].value
    assert agreement["made"] > agreement["real"] - 0.03
    assert agreement["noise"] < 0.7 < agreement["made"]


def test_what_it_says(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["synthesize", str(model), "--samples", "20", "--steps", "5"]) == 0
    words = capsys.readouterr().out
    assert "wrote synthetic.npz: 20 samples" in words
    assert "sure of their classes" in words
    first = (tmp_path / "synthetic.npz").read_bytes()
    assert run(["synthesize", str(model), "--samples", "20", "--steps", "5"]) == 0
    assert (tmp_path / "synthetic.npz").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "made.npy"], "inputs are written as .npz"),
        (["--samples", "0"], "samples and steps are at least 1"),
        (["--range", "255..0"], "'255..0' is not a range"),
        (["--range", "bright"], "for example 0..255"),
        (["--out", "."], "inputs are written as .npz"),
        (["--seed", "4294967296"], "seed must be 0 to 4,294,967,295, not 4294967296"),
    ],
)
def test_options_that_cannot_be_right(model, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert run(["synthesize", str(model), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_models_that_tell_nothing(tmp_path, capsys):
    keras = pytest.importorskip("keras", reason="pip install 'edgebuild[keras]'")
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "plain.keras")
    made = tmp_path / "made.npz"
    assert run(["synthesize", str(tmp_path / "plain.keras"), "--out", str(made)]) == 2
    assert "no batch normalization" in capsys.readouterr().err
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).export(tmp_path / "saved", verbose=False)
    assert run(["synthesize", str(tmp_path / "saved"), "--out", str(made)]) == 2
    assert "only be made for a .keras or .h5 model" in capsys.readouterr().err
    assert not made.exists()


def test_what_python_may_ask_for(model, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        edgebuild.synthesize(model, out=tmp_path / "folder.npz")
    with pytest.raises(InputError, match="255 and 0 are no range"):
        edgebuild.synthesize(model, out=tmp_path / "made.npz", limits=(255, 0))
